"""The few sentences that are the demo's own, by language. Everything else that it says is the site's."""

from __future__ import annotations

import re

HELLO = {
    "en": ("Hello, I'm {name}. What can I do for you?", "Hello! What can I do for you?"),
    "de": ("Hallo, ich bin {name}. Was kann ich für dich tun?", "Hallo! Was kann ich für dich tun?"),
    "fr": ("Bonjour, je suis {name}. Que puis-je faire pour vous ?", "Bonjour ! Que puis-je faire pour vous ?"),
}
FOR_EXAMPLE = {
    "en": "You could ask me, for example:",
    "de": "Frag zum Beispiel:",
    "fr": "Vous pouvez demander, par exemple :",
}
WELCOME = {"en": "You're very welcome.", "de": "Sehr gern.", "fr": "Je vous en prie."}
GOODBYE = {"en": "Goodbye, and come back soon.", "de": "Bis bald!", "fr": "Au revoir, et à bientôt."}
FINE = {
    "en": "Very well, thank you. What would you like to know?",
    "de": "Danke, gut. Was möchtest du wissen?",
    "fr": "Très bien, merci. Que voulez-vous savoir ?",
}
MACHINE = {
    "en": ("I'm {name}, an assistant and not a person.", "I'm an assistant, not a person."),
    "de": ("Ich bin {name}, ein Assistent und kein Mensch.", "Ich bin ein Assistent, kein Mensch."),
    "fr": ("Je suis {name}, un assistant et non une personne.", "Je suis un assistant, pas une personne."),
}
UNKNOWN = {
    "en": (
        "I'm afraid I don't know that, but if you write to {contact}, somebody will.",
        "I'm afraid I don't know that.",
    ),
    "de": ("Das weiß ich leider nicht, aber unter {contact} hilft man dir gern weiter.", "Das weiß ich leider nicht."),
    "fr": ("Je ne sais pas, hélas, mais écrivez à {contact} et l'on vous répondra.", "Je ne sais pas, hélas."),
}
MORE = {"en": "More about it:", "de": "Mehr dazu:", "fr": "Pour en savoir plus :"}
IN_ENGLISH = {"de": "Dazu steht hier, auf Englisch:", "fr": "Voici ce qui est écrit ici, en anglais :"}
FAILED = {
    "en": "I could not look that up just now.",
    "de": "Das konnte ich gerade nicht nachsehen.",
    "fr": "Je n'ai pas pu vérifier cela à l'instant.",
}
FOUND = {"en": "Here is what I found:", "de": "Das habe ich gefunden:", "fr": "Voici ce que j'ai trouvé :"}
NOTHING = {
    "en": "I looked, but found nothing.",
    "de": "Ich habe nachgesehen, aber nichts gefunden.",
    "fr": "J'ai cherché, sans rien trouver.",
}
ASKED = {"en": "The visitor asked:", "de": "Gefragt wurde:", "fr": "Questions posées :"}

_HELLO = (
    "hi|hello|hey|hiya|good (morning|afternoon|evening|day)|hallo|guten (tag|morgen|abend)|moin|servus",
    "bonjour|bonsoir|salut",
)
_THANKS = ("thanks?( you)?|ta|cheers|danke( schon| sehr)?|vielen dank|merci( beaucoup)?",)
_GOODBYE = ("(good)?bye( bye)?|see you( later| soon)?|tschuss|auf wiedersehen|bis bald|au revoir|a bientot",)
_FINE = ("how are you( doing| today)?|wie geht('s| es)?( dir| ihnen)?|(comment )?ca va",)
_MACHINE = (
    "(who|what) are you|are you (an? )?(real |actual )?(human|person|bot|robot|machine|ai)( or .+)?",
    "am i talking to .+|(wer|was) bist du|bist du (ein )?(mensch|bot|roboter)",
    "qui (es-tu|etes-vous)|etes-vous un (humain|robot)",
)
_GO_ON = (
    r"(please )?(go on|continue|carry on|keep going)\b.{0,160}",
    "(bitte )?weiter|mach weiter|continuez?( s'il vous plait)?",
)


def _pattern(alternatives: tuple[str, ...], before: str = "", after: str = "") -> re.Pattern[str]:
    return re.compile(f"{before}({'|'.join(alternatives)}){after}", re.S)


KINDS = (
    ("hello", _pattern(_HELLO, after=r"(\s+\w+)?")),
    ("thanks", _pattern(_THANKS, r"(ok(ay)?|great|perfect|lovely|super)?[\s,!]*(many )?", r"\b.{0,40}")),
    ("goodbye", _pattern(_GOODBYE)),
    ("fine", _pattern(_FINE)),
    ("machine", _pattern(_MACHINE)),
    ("go on", _pattern(_GO_ON)),
)


def kind(text: str) -> str:
    """What sort of remark this is, "" for a question. `text` is plain: lower case, without accents."""
    said = text.strip(" \t\n.!?,;:)('\"¡¿…")
    return next((name for name, pattern in KINDS if pattern.fullmatch(said)), "")


def named(pair: tuple[str, str], **values: str) -> str:
    """The first form if all its values are known, else the second."""
    return pair[0].format(**values) if all(values.values()) else pair[1]
