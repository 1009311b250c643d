"""How well and how fast the knowledge of a site is searched: `python -m bench.retrieval`.

Quality is nDCG@10 over all 225 questions of the Cranfield collection, gain 2^g - 1 with g = 4 for the best position
down to 1 for the fourth, the ideal ranking over all judged documents. It is taken twice: with each document as one
section, and with the documents as passages of a site, split as every site's are, each ranking as its best section.

Time is taken on ten thousand sections of 150 words, sewn together from the collection's, and its questions, which are
three times as long as a visitor's. A search is computing and nothing else, so the processor's time is what counts, the
best of three goes: what the machine does beside is not measured.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parlance.knowledge.index import Index
from parlance.knowledge.split import Section, sections
from parlance.site import Passage

CRANFIELD = Path(__file__).resolve().parents[2] / "shared" / "data" / "cranfield" / "docs.json"
SECTIONS, WORDS, GOES = 10_000, 150, 3

Search = Callable[[str], Sequence[str]]  # a question into the ids of documents, best first


@dataclass(frozen=True, slots=True)
class Collection:
    """`gains` are by question, counted from 1, and document."""

    documents: tuple[Passage, ...]  # the address is the document's id
    questions: tuple[str, ...]
    gains: dict[int, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Times:
    build_s: float
    p50_ms: float
    p99_ms: float


def read(path: Path = CRANFIELD) -> Collection:
    documents, questions, judgements = (
        json.loads(path.with_name(name).read_text("utf-8")) for name in ("docs.json", "queries.json", "qrels.json")
    )
    gains: dict[int, dict[str, int]] = {number: {} for number in range(1, len(questions) + 1)}
    for each in judgements:
        gains[int(each["query_num"])][str(each["id"])] = 5 - int(each["position"])
    return Collection(
        tuple(Passage(each["title"], each["body"], str(each["id"])) for each in documents),
        tuple(each["query"] for each in questions),
        gains,
    )


def as_documents(collection: Collection) -> Search:
    """Each document is one section."""
    index = Index.build((Section(each.title, each.text, each.url) for each in collection.documents), "en")
    return lambda question: [hit.section.url for hit in index.search(question, 10)]


def as_a_site(collection: Collection) -> Search:
    """The documents are a site's passages."""
    index = Index.build(sections(collection.documents), "en")
    return lambda question: list(dict.fromkeys(hit.section.url for hit in index.search(question, 30)))[:10]


def ndcg(collection: Collection, search: Search) -> float:
    found = ((search(question), collection.gains[number]) for number, question in enumerate(collection.questions, 1))
    each = [_gained([gains.get(id, 0) for id in ids]) / _gained(sorted(gains.values())[::-1]) for ids, gains in found]
    return sum(each) / len(each)


def _gained(gains: Sequence[int]) -> float:
    return sum((2**gain - 1) / math.log2(place + 2) for place, gain in enumerate(gains[:10]))


def timed(collection: Collection, count: int = SECTIONS) -> Times:
    sewn = list(_sewn(collection, count))
    start = time.thread_time()
    index = Index.build(sewn, "en")
    build_s = time.thread_time() - start
    took = sorted(min(_took(index, question) for _ in range(GOES)) * 1000 for question in collection.questions)
    return Times(build_s, took[len(took) // 2], took[math.ceil(len(took) * 0.99) - 1])


def _sewn(collection: Collection, count: int) -> Sequence[Section]:
    dice = random.Random(1)
    made = []
    for _ in range(count):
        named, *parts = dice.choices(collection.documents, k=4)
        words = " ".join(part.text for part in parts).split()
        at = dice.randrange(max(1, len(words) - WORDS))
        made.append(Section(named.title, " ".join(words[at : at + WORDS])))
    return made


def _took(index: Index, question: str) -> float:
    start = time.thread_time()
    index.search(question)
    return time.thread_time() - start


def main() -> int:
    if not CRANFIELD.exists():
        print(f"There is no Cranfield collection at {CRANFIELD.parent}.", file=sys.stderr)
        return 1
    collection = read()
    times = timed(collection)
    rows = [
        ("nDCG@10, split as a site's knowledge", f"{ndcg(collection, as_a_site(collection)):.4f}", ">= 0.56"),
        ("nDCG@10, whole documents", f"{ndcg(collection, as_documents(collection)):.4f}", ">= 0.56"),
        (f"reading {SECTIONS} sections", f"{times.build_s:.2f} s", "< 5 s"),
        ("a question, median", f"{times.p50_ms:.2f} ms", ""),
        ("a question, 99th percentile", f"{times.p99_ms:.2f} ms", "< 5 ms"),
    ]
    for row in rows:
        print("{:<40}{:>10}   {}".format(*row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
