"""Search: the right section first, in the site's language, whatever the visitor types."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlance.knowledge.index import MATCHES, TERMS, Index
from parlance.knowledge.language import Language, fold, words
from parlance.knowledge.spelling import Spelling
from parlance.knowledge.split import Section

SHOP = [
    Section("Delivery", "Parcels to Norway take twelve working days and cost nineteen pounds."),
    Section("Delivery", "Umbrellas travel in a stiff tube of grey board.", headings=("How we pack",)),
    Section("Mending", "A broken rib costs nine pounds, a new spring twelve. Mending takes ten days."),
    Section("Gift cards", "A gift card is good for three years, in either shop."),
    Section("Gifts", "We wrap every gift in paper. A postcard with your words goes into the box, no other card."),
    Section("Returns", "Send it back within thirty days. Shipping it to us is free, and you get your money back."),
    Section("Visit us", "The café is open from ten, the shop from nine. Sundays it is closed."),
]


@pytest.fixture(scope="module")
def shop() -> Index:
    return Index.build(SHOP, "en")


def best(index: Index, question: str) -> str:
    return index.search(question)[0].section.heading


@pytest.mark.parametrize(
    ("question", "heading"),
    [
        ("How long does a parcel to Norway take?", "Delivery"),
        ("is it packed in a tube", "Delivery › How we pack"),
        ("my umbrella's ribs broke", "Mending"),
        ("How do I return something?", "Returns"),
        ("are you closed on sunday", "Visit us"),
    ],
)
def test_a_question_finds_its_section(shop, question, heading):
    assert best(shop, question) == heading


def test_a_title_weighs_more_than_a_text():
    index = Index.build([Section("Hats", "All about gloves."), Section("Gloves", "All about hats.")], "en")
    assert (best(index, "gloves"), best(index, "hats")) == ("Gloves", "Hats")


def test_words_that_stand_together_count_more_than_words_apart(shop):
    apart = Section("A", "The boundary is far from here. It has a second layer of paint on its other side.")
    together = Section("A", "It is far from here. The boundary layer has a second coat of paint on this side.")
    for order in ([apart, together], [together, apart]):
        assert Index.build([*SHOP, *order], "en").search("boundary layer")[0].section == together
    assert best(shop, "gift card") == "Gift cards"


def test_accents_and_case_do_not_matter(shop):
    assert best(shop, "CAFE") == best(shop, "cafés") == "Visit us"


def test_texts_with_and_without_accents_are_found_by_either():
    index = Index.build([*SHOP, Section("A", "A cafe on the quay."), Section("B", "A café on the hill.")], "en")
    for typed in ("cafe", "café"):
        assert {hit.section.title for hit in index.search(typed)} == {"A", "B", "Visit us"}


@pytest.mark.parametrize("typed", ["parcles", "parcal", "parcl", "parceel", "Norwya", "shippping", "giftcard"])
def test_a_typing_error_is_forgiven(shop, typed):
    assert shop.search(typed), typed


def test_a_word_the_library_knows_is_never_corrected(shop):
    index = Index.build([Section("A", "A rare bird."), *(Section("B", "We care for you.") for _ in range(5))], "en")
    assert [hit.section.title for hit in index.search("rare")] == ["A"]


def test_short_words_and_numbers_are_never_corrected():
    spelling = Spelling({"cat": "cat", "1962": "1962", "shop": "shop"}, {})
    assert [spelling.meant(word) for word in ("cut", "1963", "shpo", "x" * 40)] == [[], [], ["shop"], []]


def test_the_commoner_of_two_corrections_is_taken():
    assert Spelling({"shop": "shop", "ship": "ship"}, {"shop": 1, "ship": 7}).meant("shjp") == ["ship"]


@pytest.mark.parametrize(
    ("locale", "text", "question"),
    [
        ("de", "Größere Bestellungen liefern wir in zwei Tagen.", "wann wird meine groessere bestellung geliefert"),
        ("de-AT", "Die Rückgabe ist kostenlos.", "RUCKGABE"),
        ("fr", "La livraison à l'étranger prend dix jours.", "livraisons etranger"),
        ("es", "Las devoluciones son gratuitas.", "¿Cómo hago una devolución?"),
        ("it", "Le spedizioni costano dodici euro.", "quanto costa la spedizione"),
        ("nl", "Bestellingen worden gratis bezorgd.", "wanneer wordt mijn bestelling bezorgd"),
        ("pt", "As devoluções são gratuitas.", "devolucoes"),
        ("sv", "Leveranserna tar två dagar.", "leverans"),
        ("da", "Leveringen tager to dage.", "levering"),
        ("nb", "Leveringen er gratis.", "levering"),
        ("fi", "Toimitukset ovat ilmaisia.", "toimitus"),
        ("pl", "Zwroty są bezpłatne, łatwe.", "zwrot latwe"),
        ("cs", "Doručení je zdarma.", "doruceni"),
        ("ru", "Доставка занимает два дня.", "сколько стоит доставки"),
        ("uk", "Доставка триває два дні.", "доставка"),
        ("tr", "İade ücretsizdir.", "iade"),
        ("ar", "التوصيل مجاني داخل المدينة.", "هل التَّوصيل مجاني"),
        ("he", "המשלוח חינם.", "המשלוח"),
        ("ja", "傘の修理は無料です。", "修理はいくらですか"),
        ("zh", "雨伞维修免费。", "维修多少钱"),
        ("ko", "우산 수리는 무료입니다.", "수리 비용"),
        ("xx", "Zorblax wibble.", "wibble"),
    ],
)
def test_it_reads_the_languages_of_the_world(locale, text, question):
    other = Section("-", "0815 4711")
    assert [hit.section.text for hit in Index.build([other, Section("-", text)], locale).search(question)] == [text]


def test_stop_words_find_nothing(shop):
    assert shop.search("what is it that you have?") == []


def test_a_question_about_something_else_covers_little(shop):
    known = shop.search("How many days does mending take?")[0]
    other = shop.search("Can your mending drone repair quantum submarines?")
    assert known.covers > 0.6
    assert all(hit.covers < 0.3 for hit in other)
    assert shop.search("quantum submarines") == []


def test_no_more_than_k_are_found_and_best_comes_first(shop):
    hits = shop.search("days pounds shop gift", k=3)
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize(
    "question",
    [
        *("", " ", '"', '" OR "a', "title : parcel", "parcel*", "NEAR(parcel norway)", "parcel AND NOT (", "^parcel"),
        *("'; DROP TABLE section; --", "{title body} : x", "-parcel", "\x00", "\ud800 parcel", "💬"),
        *("a" * 100_000, "parcel " * 9_999),
    ],
)
def test_nothing_that_is_typed_is_syntax(shop, question):
    assert all(hit.section in SHOP for hit in shop.search(question))
    assert bool(shop.search(question)) == ("parcel" in question)


@given(st.text())
def test_any_text_is_a_question(text):
    Index.build(SHOP[:2], "en").search(text)


@given(st.text())
def test_words_have_neither_case_nor_spaces(text):
    for word in words(text):
        assert word.casefold() == word
        assert word.split() == [word]
        assert '"' not in fold(word)


def test_an_empty_library_finds_nothing():
    assert Index.build([], "en").search("anything") == []


def test_a_word_that_is_everywhere_still_finds_the_section_named_by_it():
    everywhere = [Section(f"Page {n}", f"An umbrella, number {n}.") for n in range(MATCHES + 10)]
    index = Index.build([*everywhere, Section("Umbrella", "What it is.")], "en")
    assert best(index, "umbrella") == "Umbrella"
    assert len(index.search("number", k=5)) == 5


def test_of_a_pasted_page_the_rarest_words_are_looked_for():
    filler = [Section("Filler", " ".join(f"common{n}" for n in range(60))) for _ in range(20)]
    index = Index.build([*filler, Section("Needle", "haystack")], "en")
    pasted = " ".join(f"common{n}" for n in range(60)) + " haystack"
    assert len(index._terms(pasted)[0]) == TERMS
    assert best(index, pasted) == "Needle"


def test_what_visitors_say_is_not_remembered(shop):
    before = len(shop._language.forms())
    shop.search("supercalifragilistic parcels")
    assert len(shop._language.forms()) == before


def test_others_may_run_while_a_library_is_read():
    breaths = []
    Index.build((Section("A", f"text {n}") for n in range(100)), "en", lambda: breaths.append(1))
    assert len(breaths) == 4


def test_many_threads_may_search_at_once(shop):
    expected = [shop.search(question) for question in ("parcel norwya", "broken ribs", "gift card")]
    wrong = []

    def ask() -> None:
        for _ in range(30):
            if [shop.search(question) for question in ("parcel norwya", "broken ribs", "gift card")] != expected:
                wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_stemmer_is_each_languages_own():
    assert Language("en").term("deliveries") == Language("en").term("delivery") == "deliveri"
    assert Language("xx").term("deliveries") == "deliveries"
