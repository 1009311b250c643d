"""Reads a system prompt for what a visitor may be told: pairs of question and answer, passages, a contact, a name.

It knows no layout in particular. FAQs may be written `Q: … A: …`, in tags, or as a line that asks and goes on to
answer; passages are what stands in a titled tag or under a heading; everything else is taken for an instruction
unless it plainly is not one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that may be said. `asks` is the question that it answers, "" for running text."""

    text: str
    title: str = ""
    url: str = ""
    asks: str = ""


@dataclass(frozen=True, slots=True)
class Brand:
    """What the prompt says about who is speaking."""

    name: str
    contact: str
    passages: tuple[Passage, ...]


_TITLED = re.compile(
    r"<(?P<tag>[a-z_-]+)\b(?P<head>[^<>]*\b(?:title|name|source|url)\s*=[^<>]*)>(?P<body>.*?)</(?P=tag)>", re.S | re.I
)
_NESTED = re.compile(
    r"<(?P<tag>passage|document|doc|article|page|source|item)\b[^<>]*>"
    r"\s*(?P<body>(?:(?!</(?P=tag)>).)*?<title>.*?)</(?P=tag)>",
    re.S | re.I,
)
_TAGGED_FAQ = re.compile(
    r"<(?P<q>q|question)\b[^<>]*>(?P<asks>.*?)</(?P=q)>\s*<(?P<a>a|answer)\b[^<>]*>(?P<text>.*?)</(?P=a)>", re.S | re.I
)
_FAQ_ATTRIBUTE = re.compile(
    r"<faq\b[^<>]*\b(?:q|question)\s*=\s*([\"'])(?P<asks>.*?)\1[^<>]*>(?P<text>.*?)</faq>", re.S | re.I
)
_LETTERED_FAQ = re.compile(
    r"^[\s>*#-]*\**(?:Q|Question)\**\s*[:.]\**\s*(?P<asks>[^\n]+)\n[\s>*-]*\**(?:A|Answer)\**\s*[:.]\**\s*"
    r"(?P<text>.+?)(?=\n\s*\n|\n[\s>*#-]*\**(?:Q|Question)\**\s*[:.]|\n\s*</?[a-z]|\Z)",
    re.S | re.M | re.I,
)
_ASKING_LINE = re.compile(r"^[\s>*#-]*(?P<asks>[^\n?]{6,150}\?)[*\s:]*(?:\n+)?(?P<text>[A-Z\"][^\n]{8,})$", re.M)
_ATTRIBUTE = re.compile(r"([a-z_-]+)\s*=\s*([\"'])(.*?)\2", re.S | re.I)
_HEADING = re.compile(r"^#{1,4}\s+(.+)$")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NAME = re.compile(r"\b(?:[Yy]ou are|[Yy]ou're|[Nn]ame:) +(?:called +)?([A-Z][\w’'-]+)")
_INSTRUCTION = re.compile(
    r"\b(you are|you're|your (answers?|repl\w+|role|tone)|never|always|do not|don't|avoid|visitor|assistant|persona|"
    r"tone|answer|passages?|cite|prompt|instructions?|words? at most|say so|speak|write (in|short)|markdown)\b",
    re.I,
)
_FOR_THE_SPEAKER = re.compile(r"\b(you|your|rules?|limits?|style|tone|format|instructions?)\b", re.I)  # a heading


def read(prompt: str) -> Brand:
    """What the demo may say on behalf of the brand whose system prompt this is."""
    rest, found = prompt, []
    for take in (_take_tagged_faqs, _take_lettered_faqs, _take_passages, _take_asking_lines):
        rest, taken = take(rest)
        found += taken
    found += [passage for passage in _paragraphs(rest, "", "") if not _instructs(passage)]
    return Brand(_name(prompt), _contact(rest) or _contact(prompt), tuple(dict.fromkeys(found)))


def _take_tagged_faqs(prompt: str) -> tuple[str, list[Passage]]:
    found = [
        Passage(_clean(match["text"]), asks=_clean(match["asks"]))
        for pattern in (_TAGGED_FAQ, _FAQ_ATTRIBUTE)
        for match in pattern.finditer(prompt)
    ]
    return _FAQ_ATTRIBUTE.sub("", _TAGGED_FAQ.sub("", prompt)), found


def _take_lettered_faqs(prompt: str) -> tuple[str, list[Passage]]:
    found = [Passage(_clean(match["text"]), asks=_clean(match["asks"])) for match in _LETTERED_FAQ.finditer(prompt)]
    return _LETTERED_FAQ.sub("", prompt), found


def _take_asking_lines(prompt: str) -> tuple[str, list[Passage]]:
    matches = [match for match in _ASKING_LINE.finditer(prompt) if not _INSTRUCTION.search(match["asks"])]
    rest = prompt
    for match in matches:
        rest = rest.replace(match[0], "")
    return rest, [Passage(_clean(match["text"]), asks=_clean(match["asks"])) for match in matches]


def _take_passages(prompt: str) -> tuple[str, list[Passage]]:
    found: list[Passage] = []
    for match in _TITLED.finditer(prompt):
        head = {name.lower(): html.unescape(value) for name, _, value in _ATTRIBUTE.findall(match["head"])}
        url = head.get("url") or head.get("source") or head.get("href") or ""
        found += _paragraphs(match["body"], head.get("title") or head.get("name") or "", url)
    rest = _TITLED.sub("", prompt)
    for match in _NESTED.finditer(rest):
        body, title = _inner(match["body"], "title")
        body, url = _inner(body, "url|source|href")
        found += _paragraphs(body, title, url)
    return _NESTED.sub("", rest), found


def _instructs(passage: Passage) -> bool:
    return bool(_INSTRUCTION.search(passage.text) or _FOR_THE_SPEAKER.search(passage.title))


def _inner(body: str, tag: str) -> tuple[str, str]:
    match = re.search(rf"<(?:{tag})>(.*?)</(?:{tag})>", body, re.S | re.I)
    return (body.replace(match[0], ""), _clean(match[1])) if match else (body, "")


def _paragraphs(text: str, title: str, url: str) -> Iterator[Passage]:
    """Paragraphs, each under its nearest heading. A list stays with the line that leads into it."""
    url = url if re.match(r"https?://|/", url) else ""
    under, lead = title, ""
    for part in re.split(r"\n\s*\n", re.sub(r"</?[a-z_-]+\b[^<>]*>", "\n\n", text)):
        lines = [html.unescape(line.rstrip()) for line in part.strip().splitlines()]
        while lines and (heading := _HEADING.match(lines[0].strip())):
            under = heading[1] if not title or heading[1].lower() in title.lower() else f"{title}: {heading[1]}"
            lines = lines[1:]
        body = _joined(lines)
        if body.endswith(":") and "\n" not in body:
            lead = body + "\n\n"
        elif body:
            yield Passage(lead + body if _is_list(body) else body, under, url)
            lead = ""


def _joined(lines: list[str]) -> str:
    """Wrapped lines made one; the items of a list stay apart."""
    out: list[str] = []
    for line in lines:
        if out and not _is_list(line.strip()):
            out[-1] += " " + line.strip()
        else:
            out.append(line.strip())
    return "\n".join(out)


def _is_list(text: str) -> bool:
    return bool(re.match(r"([-*]|\d+[.)])\s", text))


def _clean(text: str) -> str:
    return html.unescape(_joined(text.strip().strip("*").splitlines()))


def _name(prompt: str) -> str:
    match = _NAME.search(prompt)
    return match[1] if match and match[1] not in ("The", "An", "A") else ""


def _contact(prompt: str) -> str:
    match = _EMAIL.search(prompt)
    return match[0] if match else ""
