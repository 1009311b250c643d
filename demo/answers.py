"""What the demo answers: the site's own words where they fit, a tool where one is asked for, else an honest sentence.

answer(body, model) -> Reply      the blocks of one assistant message, and why it stopped
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from demo import phrases
from demo.instances import instance
from demo.models import Model
from demo.prompt import Json, blocks_of, system_blocks
from demo.reading import Brand, Passage, read
from demo.search import Hit, Shelf, shelf, weigh
from demo.tools import calls
from demo.words import language, plain, stems

MOST_WORDS = 90
CLOSE = 0.9  # a second passage is said as well if it scores this share of the first


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `blocks` have the form of a message's content; `thought` is the tokens spent on thinking."""

    blocks: list[Json]
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    stop_details: Json | None = None
    thought: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A block of a search result, with its place in the request."""

    text: str
    result: int
    block: int
    head: Json

    def citation(self) -> Json:
        return {
            "type": "search_result_location",
            "cited_text": self.text,
            "search_result_index": self.result,
            "source": self.head["source"],
            "title": self.head["title"],
            "start_block_index": self.block,
            "end_block_index": self.block + 1,
        }


@dataclass(frozen=True, slots=True)
class Talk:
    """A request, read: who speaks for whom, what was asked, what was looked up."""

    brand: Brand
    prompt: str
    question: str
    earlier: list[str]  # the visitor's messages before it, the latest last
    answered: str  # what was said last
    results: list[Json] = field(default_factory=list)  # tool results that wait for words
    sources: list[Source] = field(default_factory=list)

    @property
    def before(self) -> str:
        """What a short question may refer to: the one before it, and what its answer was about."""
        return " ".join([*self.earlier[-1:], re.split(r"(?<=[.!?])\s", self.answered)[0]])

    @property
    def language(self) -> str:
        before = language(" ".join(self.earlier[-2:]), language(self.prompt[:2000]))
        return language(self.question, before)


def answer(body: Json, model: Model) -> Reply:
    talk = listen(body)
    if schema := ((body.get("output_config") or {}).get("format") or {}).get("schema"):
        return Reply([_text(json.dumps(instance(schema), ensure_ascii=False))])
    if talk.results:
        return Reply(_from_results(talk))
    if uses := calls(body, talk.question, talk.earlier, _answerable(talk)):
        return Reply(uses, "tool_use")
    if talk.sources:
        return Reply(_from_sources(talk))
    return Reply([_text(_say(talk))])


def listen(body: Json) -> Talk:
    messages = body["messages"]
    prompt = "\n\n".join(
        block["text"]
        for block in (*system_blocks(body), *(b for m in messages if m["role"] == "system" for b in blocks_of(m)))
    )
    spoken = [message for message in messages if message["role"] != "system"]
    asked = [text for message in spoken if message["role"] == "user" and (text := _asked(message))]
    said = [text for message in spoken if message["role"] == "assistant" and (text := _spoken(message))]
    last = blocks_of(spoken[-1])
    waiting = [block for block in last if block["type"] == "tool_result"]
    fresh = {id(block) for block in _within(last)}
    sources = [source for source in _sources(messages) if id(source.head) in fresh]
    return Talk(
        _read(prompt), prompt, asked[-1] if asked else "", asked[:-1], said[-1] if said else "", waiting, sources
    )


@lru_cache(maxsize=32)
def _read(prompt: str) -> Brand:
    """Reading a prompt takes longer than answering, and a site's prompt seldom changes."""
    return read(prompt)


def _asked(message: Json) -> str:
    """The visitor's own words: the last text of the message, without what was put around them in tags."""
    texts = [block["text"] for block in blocks_of(message) if block["type"] == "text"]
    for text in reversed(texts):
        if bare := re.sub(r"<([a-z_-]+)\b[^<>]*>.*?</\1>", " ", text, flags=re.S | re.I).strip():
            return bare
    return re.sub(r"<[^<>]*>", " ", texts[-1]).strip() if texts else ""


def _spoken(message: Json) -> str:
    return "".join(block["text"] for block in blocks_of(message) if block["type"] == "text")


def _within(blocks: list[Json]) -> Iterator[Json]:
    for block in blocks:
        yield block
        if block["type"] == "tool_result" and isinstance(block.get("content"), list):
            yield from block["content"]


def _sources(messages: list[Json]) -> Iterator[Source]:
    """Every citable block of the request; results are counted over the whole of it."""
    heads = [b for m in messages if m["role"] == "user" for b in _within(blocks_of(m)) if b["type"] == "search_result"]
    for result, head in enumerate(heads):
        for index, block in enumerate(head["content"]):
            yield Source(block["text"], result, index, head)


def _answerable(talk: Talk) -> bool:
    """Whether the site's pairs of question and answer have it already, or nothing was asked."""
    hits = _hits(talk)
    return bool(phrases.kind(plain(talk.question))) or bool(hits and hits[0].passage.asks)


def _hits(talk: Talk) -> list[Hit]:
    """What answers, without what was said just now, unless that is all there is."""
    hits = shelf(talk.brand.passages).search(weigh(talk.question, talk.before))
    return [hit for hit in hits if _led(hit.passage) not in talk.answered] or hits


def _say(talk: Talk) -> str:
    if _wants_summary(talk):
        return _summary(talk)
    remark = phrases.kind(plain(talk.question))
    if remark == "go on":
        return _rest(talk)
    return REMARKS[remark](talk) if remark else _inform(talk)


def _hello(talk: Talk) -> str:
    tag = talk.language
    asks = [passage.asks for passage in talk.brand.passages if passage.asks][:3]
    greeting = phrases.named(phrases.HELLO[tag], name=talk.brand.name)
    return "\n\n".join([greeting, phrases.FOR_EXAMPLE[tag], _listed(asks)]) if asks else greeting


def _machine(talk: Talk) -> str:
    return phrases.named(phrases.MACHINE[talk.language], name=talk.brand.name)


REMARKS = {
    "hello": _hello,
    "thanks": lambda talk: phrases.WELCOME[talk.language],
    "goodbye": lambda talk: phrases.GOODBYE[talk.language],
    "fine": lambda talk: phrases.FINE[talk.language],
    "machine": _machine,
}


def _inform(talk: Talk) -> str:
    """The best passage, a second one if it is nearly as good and says something else, and where to read on."""
    hits = _hits(talk)
    if not hits:
        return phrases.named(phrases.UNKNOWN[talk.language], contact=talk.brand.contact)
    best = hits[0].passage
    said = [_led(best)]
    if not best.asks and len(hits) > 1 and hits[1].score >= CLOSE * hits[0].score and _adds(hits[1].passage, said):
        said.append(_led(hits[1].passage))
    if best.url and best.title:
        said.append(f"{phrases.MORE[talk.language]} [{best.title.split(':')[0]}]({best.url})")
    if talk.language != "en" and language(best.text, talk.language) == "en":
        said.insert(0, phrases.IN_ENGLISH[talk.language])
    return "\n\n".join(said)


def _led(passage: Passage) -> str:
    """A passage as it is said. A bare list is led in by its heading."""
    text = _shortened(passage.text)
    return f"{passage.title.split(': ')[-1]}:\n\n{text}" if text.startswith("- ") and passage.title else text


def _rest(talk: Talk) -> str:
    """What was cut off the last answer: the answers are always the same, so the rest is known."""
    whole = _say(replace(talk, question=talk.earlier[-1], earlier=talk.earlier[:-1])) if talk.earlier else ""
    left = whole.removeprefix(talk.answered) if talk.answered else whole
    return left if left.strip() and left != whole else _hello(talk)


def _adds(passage: Passage, said: list[str]) -> bool:
    """Whether there is room for it and most of it is new."""
    known, new = set(stems(" ".join(said))), set(stems(passage.text))
    return len(new - known) > len(new) / 2 and _length(said) < MOST_WORDS // 2


def _length(said: list[str]) -> int:
    return len(" ".join(said).split())


def _shortened(text: str) -> str:
    """Whole sentences, as many as a chat bears. A list is left whole."""
    if "\n" in text:
        return text
    out: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"'À-Þ])", text):
        if out and _length(out) + len(sentence.split()) > MOST_WORDS:
            break
        out.append(sentence)
    return " ".join(out)


def _from_results(talk: Talk) -> list[Json]:
    """What the tools found. A search beside another tool adds what it has, and is silent where it has nothing."""
    found = {id(source.head) for source in talk.sources}
    others = [result for result in talk.results if not any(id(block) in found for block in _within([result]))]
    said = dict.fromkeys(_told(result, talk) for result in others)
    cited = _from_sources(talk) if talk.sources else []
    if said and cited:
        cited = [_text("\n\n"), *cited] if any("citations" in block for block in cited) else []
    return [_text("\n\n".join(said)), *cited] if said else cited


def _told(result: Json, talk: Talk) -> str:
    """A tool's result in words: the fields of an object as a list, a text as it begins."""
    if result.get("is_error"):
        return phrases.FAILED[talk.language]
    content = result.get("content") or ""
    text = content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)
    if marked := re.search(r"<([a-z_]+)>\s*(.*?)\s*</\1>", text, re.S):  # what stands around it is for the speaker
        text = marked[2]
    try:
        value = json.loads(text)
    except ValueError:
        value = text.strip()
    lines = list(_fields(value))
    if not lines:
        return phrases.NOTHING[talk.language]
    if isinstance(value, str):  # its first sentence: what follows is as a rule advice for the speaker
        return re.split(r"(?<=[.!?])\s", lines[0])[0]
    return f"{phrases.FOUND[talk.language]}\n\n{_listed(lines)}"


def _fields(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(item, str(key).replace("_", " "))
    elif isinstance(value, list):
        for item in value:
            yield from _fields(item, name)
    elif value not in (None, ""):
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        yield f"{name[:1].upper()}{name[1:]}: {shown}" if name else str(shown)


def _from_sources(talk: Talk) -> list[Json]:
    """Text with citations: each cited passage is a block of its own, as the real API has it."""
    passages = [Passage(source.text, source.head["title"]) for source in talk.sources]
    hits = Shelf(passages).search(weigh(talk.question, talk.before))[:2]
    if not hits:
        return [_text(phrases.named(phrases.UNKNOWN[talk.language], contact=talk.brand.contact))]
    blocks: list[Json] = []
    for hit in hits:
        source = talk.sources[hit.index]
        if blocks and (hit.score < CLOSE * hits[0].score or not _adds(hit.passage, [blocks[0]["text"]])):
            break
        if blocks:
            blocks.append(_text("\n\n"))
        cited = (source.head.get("citations") or {}).get("enabled")
        blocks.append(_text(_shortened(source.text), [source.citation()] if cited else None))
    return blocks


def _wants_summary(talk: Talk) -> bool:
    return bool(re.search(r"\bsummar(y|i[sz]e)\b", f"{talk.prompt[:400]} {talk.question}"[:800], re.I)) and (
        not talk.brand.passages or "summar" in talk.question.lower()
    )


def _summary(talk: Talk) -> str:
    asked = [text for text in (*talk.earlier, talk.question) if "summar" not in text.lower()] or [talk.question]
    return f"{phrases.ASKED[talk.language]}\n\n{_listed([' '.join(text.split())[:200] for text in asked[-8:]])}"


def _listed(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _text(text: str, citations: list[Json] | None = None) -> Json:
    return {"type": "text", "text": text, "citations": citations} if citations else {"type": "text", "text": text}
