"""Words as the demo compares them: lower case, without accents, lightly stemmed, without the little ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_LITTLE = """
    a about after all also am an and any are as at be been but by can could did do does doing don for from had
    has have having he her here him his how i if in into is it its just let like ll many may me might more most
    my need no not now of on one only or other our out over please really s she should so some such t tell than
    that the their them then there these they thing this those to too u up us very want was we well were what
    when where which while who why will with would yes you your ve re d m ask give get got know say says look
    looking help something anything der die das den dem ein eine einen einem einer und oder aber ist sind war
    ich du sie er es wir ihr mein dein sein man wie wo wann wer warum welche welcher mit von zu zum zur im auf
    bei fur nicht kein keine kann konnen haben habe hat gibt auch noch nur mir mich bitte le la les l un une des
    de et ou mais est sont je tu il elle nous vous ils mon ma mes ton ta vos votre nos notre que qui quoi quand
    comment pourquoi avec pour dans sur par pas ne se ce cette ces y en au aux avez ai svp mine yours ours
    someone somebody thank habt seid wird werden euch euer ihre faites fait peut peux puis
"""
STOP = frozenset(_LITTLE.split())

# Said one way by visitors and another way by shops.
_SYNONYMS = {
    "allow": "welcome allowed permitted",
    "begin": "began begun start founded history histoire geschichte",
    "child": "kid children daughter son grandchild grandson granddaughter toddler kind kinder enfant enfants",
    "class": "course lesson teach taught learn kurs cours",
    "colour": "color farbe farben couleur couleurs",
    "contact": "email mail phone telephone call reach telefon telephon kontakt",
    "deliver": "deliveri delivery ship shipping post postage send lieferung liefert versand livraison livrez",
    "find": "locat address direction park where adresse anfahrt",
    "gift": "present geschenk cadeau",
    "guarante": "guarantee warranti warranty warrant garantie",
    "old": "age",
    "person": "human staff mensch menschen mitarbeiter personne",
    "open": "hour hours close closed shut geoffnet offen offnungszeiten ouvert ouverts horaires",
    "order": "buy purchase parcel package bestellung commande colis",
    "overseas": "abroad international internat",
    "price": "cost expens cheap cheapest fee charg charge pay much kostet kosten preis preise prix coute coutent",
    "repair": "fix mend broken broke restor reparieren reparatur reparez reparer reparation",
    "return": "refund exchange exchang ruckgabe umtausch retour retourner",
    "stand": "stood",
    "weigh": "weight heavy heavi heaviest light lightest gewicht poids",
    "wind": "windy windi storm stormy vent sturm",
}
SAME = {word: meaning for meaning, said in _SYNONYMS.items() for word in said.split()}

# Said in so many questions that they tell little.
_TELL_LITTLE = "sell make mak made use tak com go best good new work book still stand bring"
WEAK = frozenset(_TELL_LITTLE.split())

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def plain(text: str) -> str:
    """Lower case, without accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def words(text: str) -> list[str]:
    """Every word, small ones too."""
    return [re.split(r"['’]", word)[0] for word in _WORD.findall(plain(text))]


def stems(text: str) -> list[str]:
    """The words that carry the meaning, in the order of the text."""
    return [stem(word) for word in words(text) if word not in STOP and (len(word) > 1 or word.isdigit())]


def stem(word: str) -> str:
    cut = _cut(word)
    return SAME.get(word) or SAME.get(cut) or cut


def _cut(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ied", "edly", "ed", "es", "s", "ly", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            base = word[: -len(ending)]
            return base[:-1] if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "ls" else base
    return word


def overlap(these: Iterable[str], those: Iterable[str]) -> int:
    return len(set(these) & set(those))


LITTLE = {
    tag: frozenset(little.split())
    for tag, little in {
        "de": "der die das und ist nicht ich sie wir wie wann wo was haben kann gibt ein eine fur mit mir "
        "bitte danke hallo guten tag morgen abend moin servus vielen",
        "fr": "le la les est et je vous nous que qui quand comment ou avez une des pour avec pas merci votre "
        "bonjour bonsoir salut",
        "en": "the is are and you do does how what when where can have i a my to of for thanks please your hello hi",
    }.items()
}


def language(text: str, default: str = "en") -> str:
    """Which of the demo's languages a text is in, by its little words."""
    found = set(words(text))
    best = max(LITTLE, key=lambda tag: (len(found & LITTLE[tag]), tag == default))
    return best if found & LITTLE[best] else default
