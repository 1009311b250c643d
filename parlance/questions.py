"""What a turn asks of Claude: the site's voice, what is remembered of the conversation, the models in their order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from parlance import memory
from parlance.budgets import SOFT_TIER, SOFT_TOKENS, worst_case
from parlance.claude.loop import Question
from parlance.claude.models import Catalogue, Model, Usage
from parlance.claude.request import most_output
from parlance.conversations import ASSISTANT, NOTICE, PERSON, VISITOR, Conversations, Message
from parlance.errors import Fenced
from parlance.runner import Task
from parlance.site import Site
from parlance.toolbox import Toolbox
from parlance.voice.render import render

PRICED_S = 60.0


class Questions:
    def __init__(self, conversations: Conversations, models: Catalogue, toolbox: Toolbox) -> None:
        self._conversations, self._models, self._toolbox = conversations, models, toolbox
        self._voices: dict[tuple[str, int], str] = {}
        self._priced: dict[tuple[str, int], float] = {}
        self._sizes: dict[tuple[str, int], int] = {}

    def put(self, site: Site, task: Task) -> Question:
        """The question of a turn. Raises Fenced where its conversation was erased, StoreUnavailable."""
        models, max_tokens = self._means(site, soft=task.record.get("soft") == "1")
        said = self._recall(site, task)
        task.asked = said[-1].text
        return Question(
            system=self._voice(site),
            tries=_tries(said, self._window_tokens(site)),
            models=models,
            max_tokens=max_tokens,
            user=task.record["visitor"],
            deadline=task.deadline,
            allowance=task.allowance,
            tools=self._toolbox.lay_out(site, task),
        )

    def most(self, site: Site, message: object, at: float, *, soft: bool = False) -> int:
        """The most that the first call of a turn may cost whose question is not yet put: with the voice, a memory that
        is full, and the message. Raises UnknownPrice."""
        models, max_tokens = self._means(site, soft)
        remembered = self._window_tokens(site) * memory.BYTES_A_TOKEN
        size = self._stable_size(site) + len(msgspec.json.encode(message)) + remembered
        return worst_case(models[0], size, most_output(models[0], max_tokens), at)

    def check_prices(self, site: Site, at: float) -> None:
        """Raises UnknownPrice where a model that may be asked has no price at `at`. Prices change by the day, so what
        was found is good for a while."""
        version = (site.key, site.version)
        if not 0 <= at - self._priced.get(version, 0.0) < PRICED_S:
            for model in self._means(site, soft=False)[0]:
                model.cost(Usage(), at)
            self._priced[version] = at

    def _stable_size(self, site: Site) -> int:
        """Bytes of what every request of a version begins with: the tools and the voice."""
        version = (site.key, site.version)
        if version not in self._sizes:
            self._sizes = {kept: size for kept, size in self._sizes.items() if kept[0] != site.key}
            self._sizes[version] = len(msgspec.json.encode((self._toolbox.definitions(site), self._voice(site))))
        return self._sizes[version]

    def _means(self, site: Site, soft: bool) -> tuple[list[Model], int]:
        """Who is asked, and for how many tokens at most."""
        first = SOFT_TIER if soft else site.model.tier
        most = min(site.model.max_tokens, SOFT_TOKENS) if soft else site.model.max_tokens
        return self._models.choose(first, site.model.fallback), most

    def _recall(self, site: Site, task: Task) -> list[Message]:
        """What of the conversation is remembered, as far as it may be sent. A window that is full slides here, and
        stays where it slid to; a question that is asked anew may lie before it."""
        conversation, question = task.record["conversation"], task.record["question"]
        recalled = task.remembered or self._conversations.recall(site.key, conversation)
        task.remembered = None  # of the first moment only
        if recalled is None:
            raise Fenced(task.turn)  # erased since
        slid = memory.window(recalled.messages, self._window_tokens(site)).start
        if slid:
            self._conversations.slide(site.key, conversation, recalled.start + slid, site.privacy.retain_days)
        messages = list(recalled.messages[slid:])
        if all(message.id != question for message in messages):
            asked = self._conversations.message(site.key, conversation, question)
            messages += [asked] if asked else []
        return _sayable(messages, question)

    def _window_tokens(self, site: Site) -> int:
        """The site's wish, as far as every model that may be asked has room for it beside voice and answer."""
        room = min(model.context for model in self._models.choose(site.model.tier, site.model.fallback)) // 2
        return min(site.memory.window_tokens, room)

    def _voice(self, site: Site) -> str:
        """The rendered voice of a version: rendered once, so that the prompt's stable part is stable to the letter."""
        version = (site.key, site.version)
        if version not in self._voices:
            self._voices = {kept: text for kept, text in self._voices.items() if kept[0] != site.key}
            self._voices[version] = render(site)
        return self._voices[version]


def _sayable(messages: Sequence[Message], question: str) -> list[Message]:
    """What may be sent to Claude, from a visitor's message to the question: what was said and confirmed; not the
    notices, not an exchange that was refused, not an answer without a word."""
    refused = {message.turn for message in messages if message.role == NOTICE and message.code == "refused"}
    said: list[Message] = []
    for message in messages:
        spoken = message.role in (VISITOR, ASSISTANT, PERSON) and message.text.strip()
        if message.id == question or (spoken and message.turn not in refused):
            said.append(message)
        if message.id == question:
            break
    first = next(i for i, message in enumerate(said) if message.role == VISITOR)
    return said[first:]


def _tries(said: Sequence[Message], window_tokens: int) -> list[Sequence[Message]]:
    """The remembered conversation, then half of it, then the question alone: should Claude find one too long."""
    half = memory.window(said, window_tokens // 2).start
    return [said[start:] for start in dict.fromkeys([0, half, len(said) - 1])]
