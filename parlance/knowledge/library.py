"""The libraries of all sites, each searched through an index that this process makes when it is first asked for.

An index belongs to the texts and not to the version: a new tone of voice costs nothing, a new text costs one reading of
the library, in slices between which the worker serves others. How much is kept is bounded over all sites; what was
not asked for the longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gevent
from gevent.lock import BoundedSemaphore

from parlance.knowledge.index import Hit, Index
from parlance.knowledge.split import sections
from parlance.site import Faq, Passage, Site

KEPT_CHARS = 32_000_000  # of text, over all libraries: eight of the largest that a site may have


@dataclass(frozen=True, slots=True)
class _Texts:
    """What an index is made of; equal texts make equal indexes."""

    locale: str
    passages: tuple[Passage, ...]
    faqs: tuple[Faq, ...]

    @classmethod
    def of(cls, site: Site) -> _Texts:
        return cls(site.locale, site.knowledge, site.voice.faqs)

    @property
    def chars(self) -> int:
        return sum(len(each.text) for each in self.passages) + sum(len(each.q) + len(each.a) for each in self.faqs)


@dataclass(frozen=True, slots=True)
class _Kept:
    texts: _Texts
    index: Index


class Shelf:
    """`breathe` is called between the slices of making an index."""

    def __init__(self, kept_chars: int = KEPT_CHARS, breathe: Callable[[], object] = gevent.sleep) -> None:
        self._room = kept_chars
        self._breathe = breathe
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
        self._making = BoundedSemaphore(1)

    def search(self, site: Site, question: str, k: int = 8) -> list[Hit]:
        """The best `k` sections of a site's passages, questions and answers, best first."""
        return self.index(site).search(question, k)

    def best(self, site: Site, question: str, k: int = 3) -> list[Passage]:
        """The same as passages, each named by the headings that it stands below."""
        return [
            Passage(hit.section.heading, hit.section.text, hit.section.url) for hit in self.search(site, question, k)
        ]

    def index(self, site: Site) -> Index:
        """The index of this version of a site. Whoever asks while it is made waits for it; others are not held up."""
        if (kept := self._found(site)) is None:
            with self._making:
                kept = self._found(site) or self._made(site)
        return kept.index

    def _found(self, site: Site) -> _Kept | None:
        place, texts = (site.key, site.version), _Texts.of(site)
        kept = self._kept.get(place)
        if kept is None or kept.texts != texts:
            kept = next((each for each in self._of(site.key) if each.texts == texts), None)
        if kept is not None:
            self._kept[place] = kept
            self._kept.move_to_end(place)
        return kept

    def _of(self, key: str) -> Sequence[_Kept]:
        return [kept for (owner, _), kept in self._kept.items() if owner == key]

    def _made(self, site: Site) -> _Kept:
        texts = _Texts.of(site)
        index = Index.build(sections(texts.passages, texts.faqs), texts.locale, self._breathe)
        kept = self._kept[site.key, site.version] = _Kept(texts, index)
        self._kept.move_to_end((site.key, site.version))
        while len(self._kept) > 1 and self._chars() > self._room:
            self._kept.popitem(last=False)
        return kept

    def _chars(self) -> int:
        return sum({id(kept): kept.texts.chars for kept in self._kept.values()}.values())
