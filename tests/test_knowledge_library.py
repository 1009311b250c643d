"""Libraries of sites: an index for each, made once, kept within bounds; and what they could not answer."""

from __future__ import annotations

from dataclasses import replace

import gevent
import pytest

from parlance.knowledge.index import Hit
from parlance.knowledge.library import Shelf
from parlance.knowledge.split import Section
from parlance.knowledge.unanswered import KEPT, TEXT_CHARS, Found, Unanswered, UnansweredQuestions
from parlance.site import Faq, Passage, Site, Voice
from parlance.store import keys
from parlance.store.client import Store

FERN = Site(
    "fern",
    "Fern & Fable",
    ("https://fern.example",),
    voice=Voice(faqs=(Faq("Do you gift-wrap?", "Yes, free, at either shop."),)),
    knowledge=(
        Passage(
            "Delivery",
            "# Delivery\n\nWe post daily.\n\n## Abroad\n\nNorway takes twelve days.",
            "https://fern.example/d",
        ),
        Passage("Visit", "Leeds and York, open nine to six."),
    ),
    version=1,
)
DAY_MS = 86_400_000


def made(shelf: Shelf, site: Site) -> bool:
    """Whether asking for this site made an index."""
    before = {id(kept.index) for kept in shelf._kept.values()}
    return id(shelf.index(site)) not in before


def test_the_best_passages_carry_their_headings_and_address():
    assert Shelf().best(FERN, "how long to norway?") == [
        Passage("Delivery › Abroad", "Norway takes twelve days.", "https://fern.example/d")
    ]


def test_questions_and_answers_are_found_too():
    assert Shelf().best(FERN, "gift wrapping")[0].text == "Yes, free, at either shop."


def test_a_site_without_knowledge_has_an_answer_too():
    assert Shelf().best(Site("bare", "Bare", ()), "anything") == []


def test_an_index_is_made_once_a_text():
    shelf = Shelf()
    assert made(shelf, FERN)
    assert not made(shelf, FERN)
    assert not made(shelf, replace(FERN, version=2, name="Another name"))
    assert made(shelf, replace(FERN, version=3, knowledge=FERN.knowledge[:1]))
    assert made(shelf, replace(FERN, version=4, locale="de"))
    assert not made(shelf, FERN)


def test_a_draft_with_a_versions_number_but_other_texts_is_read_anew():
    shelf = Shelf()
    shelf.index(FERN)
    draft = replace(FERN, knowledge=(Passage("Delivery", "Norway takes three days."),))
    assert shelf.best(draft, "norway")[0].text == "Norway takes three days."
    assert shelf.best(FERN, "norway")[0].text == "Norway takes twelve days."


def test_sites_do_not_see_each_others_texts():
    shelf = Shelf()
    other = replace(FERN, key="other", knowledge=(Passage("Delivery", "We never post."),), voice=Voice())
    assert [passage.text for passage in shelf.best(other, "norway twelve days")] == []
    assert shelf.best(FERN, "norway")


def test_what_was_not_asked_for_the_longest_goes_first():
    shelf = Shelf(kept_chars=300)
    sites = [replace(FERN, key=f"s{n}", knowledge=(Passage("A", f"Word {n}. " * 14),), voice=Voice()) for n in range(3)]
    shelf.index(sites[0])
    shelf.index(sites[1])
    assert not made(shelf, sites[0])
    shelf.index(sites[2])
    assert not made(shelf, sites[0])
    assert made(shelf, sites[1])


def test_a_library_beyond_the_bound_is_kept_while_it_is_the_latest():
    shelf = Shelf(kept_chars=1)
    assert made(shelf, FERN)
    assert not made(shelf, FERN)


def test_many_who_ask_at_once_wait_for_one_index_while_others_run():
    others = []
    large = replace(FERN, knowledge=tuple(Passage(f"P{n}", f"Umbrella number {n}.") for n in range(500)))
    shelf = Shelf()
    asking = [gevent.spawn(shelf.index, large) for _ in range(5)]
    running = gevent.spawn(lambda: [others.append(gevent.sleep(0)) for _ in range(10)])
    gevent.joinall(asking, raise_error=True)
    assert len({id(each.value) for each in asking}) == 1
    assert running.ready()
    assert len(others) == 10


# ---- what could not be answered ----


@pytest.fixture
def questions(store: Store) -> UnansweredQuestions:
    store.many([("HSET", keys.visitor("fern", visitor), "created", "now") for visitor in ("v_1", "v_2")])
    return UnansweredQuestions(store)


def asked(number: int = 1, visitor: str = "v_1", at: int = 0) -> Unanswered:
    hit = Hit(Section("Delivery", "…", "https://fern.example/d", ("Abroad",)), 2.5, 0.21)
    found = (Found.of(hit),)
    return Unanswered(at or number, visitor, "c_1", f"m_{number}", f"Größe {number}?", "de", ("größe",), found)


def test_a_question_is_kept_with_what_was_searched_and_found(questions):
    questions.record("fern", asked(), retain_days=30)
    assert questions.latest("fern") == [asked()]
    assert questions.latest("fern")[0].found == (Found("Delivery › Abroad", "https://fern.example/d", 0.21),)
    assert questions.latest("other") == []


def test_the_newest_come_first_a_page_at_a_time(questions):
    for number in (1, 2, 3):
        questions.record("fern", asked(number), 30)
    assert [each.message for each in questions.latest("fern", count=2)] == ["m_3", "m_2"]
    assert [each.message for each in questions.latest("fern", count=2, skip=2)] == ["m_1"]


def test_no_more_than_the_bound_are_kept(questions, store):
    store.many([("ZADD", keys.unanswered("fern"), n, asked(n).to_json()) for n in range(1, KEPT + 1)])
    questions.record("fern", asked(KEPT + 1), 30)
    assert store.do("ZCARD", keys.unanswered("fern")) == KEPT
    assert questions.latest("fern", count=1, skip=KEPT - 1)[0].message == "m_2"


def test_they_go_when_the_site_stops_retaining_them(questions, store):
    questions.record("fern", asked(1, at=DAY_MS), 2)
    questions.record("fern", asked(2, at=3 * DAY_MS), 2)
    assert len(questions.latest("fern")) == 2
    questions.record("fern", asked(3, at=3 * DAY_MS + 1), 2)
    assert [each.message for each in questions.latest("fern")] == ["m_3", "m_2"]
    assert 0 < store.do("PTTL", keys.unanswered("fern")) <= 2 * DAY_MS


def test_a_visitor_who_is_forgotten_leaves_none(questions):
    for number, visitor in ((1, "v_1"), (2, "v_2"), (3, "v_1")):
        questions.record("fern", asked(number, visitor), 30)
    assert questions.erase("fern", "v_1") == 2
    assert [each.visitor for each in questions.latest("fern")] == ["v_2"]
    assert questions.erase("fern", "v_1") == 0


def test_a_question_that_comes_after_the_erasure_is_not_kept(questions):
    questions.record("fern", asked(visitor="v_gone"), 30)
    assert questions.latest("fern") == []


def test_a_long_question_is_cut(questions):
    questions.record("fern", replace(asked(), text="x" * 9000), 30)
    assert questions.latest("fern")[0].text == "x" * TEXT_CHARS
