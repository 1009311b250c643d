"""A text, taken apart along its headings into sections that can be found and quoted by themselves.

Pure. A section stays below one heading and says so in its `headings`, keeps paragraphs, lists, tables and code
whole where they fit, and has the length that a reader takes in at once. What is longer than a section may be is parted
at the next smaller joint: between lines (each part of a table repeats its head, each part of code its fence), between
sentences, and between words only in the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from parlance.site import Faq, Passage

TARGET = 160  # words; a section closes when the next paragraph would lead past it
MOST = 400  # words that no section exceeds: about 512 tokens, the usual bound of a passage
FEW = 40  # words; a last piece of fewer joins the one before it
MOST_CHARS = 3000  # the same bound for scripts without spaces, and for words without end

_FRONT = re.compile(r"\A---[ \t]*\n(?=[\w-]+:).*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.{,200}?)(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_NO_TITLE = re.compile(r"\s*(?:[-*+•>|]|\d{1,9}[.)])|.{201}")  # what an underline makes no heading of
_RULE = re.compile(r"[\s:|]*-[\s:|-]*$")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][)\"'”’»])\s+|(?<=[。！？])")
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*_`]+")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a passage. `title` is the passage's, `headings` those that the part stands below, outermost first."""

    title: str
    text: str
    url: str = ""
    headings: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """What the section is called: `Delivery › Abroad`."""
        return " › ".join((self.title, *self.headings))


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that belong together: a paragraph, a list, a table, a piece of code."""

    lines: tuple[str, ...]
    headings: tuple[str, ...]


def sections(passages: Iterable[Passage], faqs: Iterable[Faq] = ()) -> Iterator[Section]:
    """All that a site knows, section by section: its passages, then its questions and answers, one section each."""
    for passage in passages:
        yield from split(passage)
    for faq in faqs:
        yield Section(faq.q.strip(), faq.a.strip())


def split(passage: Passage) -> Iterator[Section]:
    """The sections of one passage, in order; none of a blank one."""
    lines = _FRONT.sub("", passage.text.expandtabs(4)).splitlines()
    title = passage.title.strip().casefold()
    for headings, blocks in groupby(_blocks(lines), key=lambda block: block.headings):
        below = tuple(heading for heading in headings if heading.casefold() != title)
        for text in _packed(blocks):
            yield Section(passage.title, text, passage.url, below)


# ---- lines to blocks ----


def _blocks(lines: Iterable[str]) -> Iterator[_Block]:
    reading = _Reading()
    for line in lines:
        yield from reading.line(line.rstrip())
    yield from reading.close()


class _Reading:
    """Where a reader of Markdown is: below which headings, inside a fence or not, and in which block."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []
        self._held: list[str] = []
        self._fence = ""

    def line(self, line: str) -> Iterator[_Block]:
        """Takes the next line; gives the blocks that it ends."""
        fence = _FENCE.match(line)
        if self._fence:
            self._held.append(line)
            if fence and fence[1].startswith(self._fence):
                yield from self.close()
        elif fence:
            yield from self.close()
            self._fence = fence[1]
            self._held.append(line)
        elif heading := _HEADING.match(line):
            yield from self.close()
            self._enter(len(heading[1]), heading[2])
        elif (under := _UNDERLINE.match(line)) and len(self._held) == 1 and not _NO_TITLE.match(self._held[0]):
            self._enter(1 if under[1][0] == "=" else 2, self._held.pop())
        elif line:
            self._held.append(line)
        else:
            yield from self.close()

    def close(self) -> Iterator[_Block]:
        """Ends the block that is being read, if there is one."""
        if self._held:
            yield _Block(tuple(self._held), tuple(words for _, words in self._path if words))
        self._held, self._fence = [], ""

    def _enter(self, level: int, heading: str) -> None:
        words = _MARKUP.sub(lambda found: found[1] or "", heading).strip()
        self._path = [each for each in self._path if each[0] < level] + [(level, words)]


# ---- blocks to the texts of sections ----


def _packed(blocks: Iterable[_Block]) -> list[str]:
    """What stands below one heading, in texts of about the target; what ends in a colon stays with what follows."""
    texts: list[str] = []
    for part in (part for block in blocks for part in _parted(block)):
        together = _size(texts[-1]) + _size(part) if texts else MOST + 1
        if together <= (MOST if texts and texts[-1].endswith(":") else TARGET):
            texts[-1] += "\n\n" + part
        else:
            texts.append(part)
    if len(texts) > 1 and _size(texts[-1]) < FEW and _size(texts[-2]) + _size(texts[-1]) <= MOST:
        last = texts.pop()
        texts[-1] += "\n\n" + last
    return texts


def _parted(block: _Block) -> Iterator[str]:
    """The block's text; in parts, each with the same frame, if it is longer than a section may be."""
    text = "\n".join(block.lines)
    if _size(text) <= MOST:
        yield text
        return
    first, lines, last = _framed(block.lines)
    room = TARGET - _size("\n".join((*first, *last)))
    for part in _filled((piece for line in lines for piece in _pieces(line, room)), room):
        yield "\n".join((*first, *part, *last))


def _framed(lines: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """What each part of a block must begin with, the lines to part, and what each part must end with."""
    if fence := _FENCE.match(lines[0]):
        inner = lines[1:-1] if len(lines) > 1 and _FENCE.match(lines[-1]) else lines[1:]
        return (lines[0][:80],), inner, (fence[1],)
    if len(lines) > 2 and _RULE.match(lines[1]) and _size("\n".join(lines[:2])) <= TARGET // 2:
        return lines[:2], lines[2:], ()
    return (), lines, ()


def _filled(pieces: Iterable[str], room: int) -> Iterator[list[str]]:
    held: list[str] = []
    for piece in pieces:
        if held and _size("\n".join((*held, piece))) > room:
            yield held
            held = []
        held.append(piece)
    if held:
        yield held


def _pieces(line: str, room: int) -> Iterator[str]:
    """A line, or if it is too long its sentences, or their words, or what there is of a word without end."""
    if _size(line) <= room:
        yield line
        return
    for sentence in _SENTENCE_END.split(line):
        if _size(sentence) <= room:
            yield sentence
        else:
            parts = (word[at : at + room] for word in sentence.split() for at in range(0, len(word), room))
            yield from (" ".join(words) for words in _filled(parts, room))


def _size(text: str) -> int:
    """Words; of a text in long words or without spaces, what its characters amount to."""
    return max(len(text.split()), -(-len(text) * MOST // MOST_CHARS))
