"""The sentences that visitors read: whose words, in which language, with what filled in."""

from __future__ import annotations

import re

import pytest

from parlance import errors, phrases

EVENT_CODES = {"overloaded", "unavailable", "refused", "too_long", "interrupted"}


def say(code: str = "rate_limited", language: str | None = "de", **changed: object) -> str:
    given = {"fallbacks": {}, "site_locale": "en", "name": "Fern & Fable", "retry_after": 12}
    return phrases.sentence(code, language=language, **(given | changed))  # type: ignore[arg-type]


def test_it_knows_every_code_of_the_protocol() -> None:
    refusals = {kind.code for kind in errors.Refusal.__subclasses__()}
    assert set(phrases.CODES) == refusals | EVENT_CODES


@pytest.mark.parametrize("language", phrases.LANGUAGES)
def test_it_has_every_sentence_in(language: str) -> None:
    table = phrases._TABLE[language]
    assert set(table) == {"units", "rate_limited_soon", *phrases.CODES}
    assert [unit.count("{n}") for unit in table["units"]] == [1, 1, 1]
    texts = {name: text for name, text in table.items() if name != "units"}
    assert len(set(texts.values())) == len(texts)
    assert {name for name, text in texts.items() if "{wait}" in text} == {"rate_limited"}
    assert {found for text in texts.values() for found in re.findall(r"\{.*?\}", text)} == {"{wait}", "{name}"}


def test_it_has_the_promised_languages() -> None:
    assert " ".join(phrases.LANGUAGES) == "en de fr es it nl pt pl sv da nb fi cs ru uk tr ar he ja zh"


def test_it_says_every_sentence_differently_in_every_language() -> None:
    for code in phrases.CODES:
        said = {say(code, language) for language in phrases.LANGUAGES}
        assert len(said) == len(phrases.LANGUAGES), code


BRAND = {"rate_limited": {"en": "EN {retry_after}", "de": "DE {retry_after}", "pt-BR": "BR"}}


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", "DE 12"),
        ("de-AT", "DE 12"),
        ("DE-at", "DE 12"),
        ("de_CH", "DE 12"),
        ("pt-BR", "BR"),
        ("pt", "EN 12"),  # pt-BR does not serve pt; the site's own locale comes next
        ("fr", "EN 12"),
        (None, "EN 12"),
        ("", "EN 12"),
        ("-", "EN 12"),
    ],
)
def test_it_takes_the_brands_words(language: str | None, expected: str) -> None:
    assert say(language=language, fallbacks=BRAND) == expected


def test_it_takes_a_plain_text_for_every_language() -> None:
    assert say(language="ja", fallbacks={"rate_limited": "Wait."}) == "Wait."


def test_it_takes_the_brands_words_in_the_sites_locale_before_ours() -> None:
    assert say(language="fr", site_locale="de-DE", fallbacks=BRAND) == "DE 12"


def test_it_takes_ours_where_the_brand_has_neither_language() -> None:
    assert say(language="fr", site_locale="es", fallbacks=BRAND) == say(language="fr")
    assert "dans 12 s" in say(language="fr")


def test_it_takes_english_where_nobody_has_the_language() -> None:
    assert say(language="mi", site_locale="mi") == say(language="en")


def test_it_takes_ours_for_a_code_that_the_brand_left_out() -> None:
    assert say("busy", fallbacks=BRAND) == say("busy")


@pytest.mark.parametrize(("language", "same_as"), [("no", "nb"), ("nn-NO", "nb"), ("iw", "he"), ("zh-Hant-TW", "zh")])
def test_it_knows_a_language_by_its_other_names(language: str, same_as: str) -> None:
    assert say(language=language) == say(language=same_as) != say(language="en")


def test_it_serves_norwegian_by_either_name() -> None:
    assert say(language="nb-NO", fallbacks={"rate_limited": {"no": "Vent."}}) == "Vent."


def test_it_fills_in_the_seconds_and_the_name_and_leaves_other_braces() -> None:
    words = {"rate_limited": "{name}: {retry_after}, {retry_after} {when} {} {wait} { name }"}
    assert say(fallbacks=words, name="{retry_after}") == "{retry_after}: 12, 12 {when} {} {wait} { name }"


def test_it_passes_over_words_that_tell_the_seconds_while_nobody_knows_them() -> None:
    known = {"rate_limited": {"de": "Noch {retry_after} s.", "en": "A moment, please."}}
    assert say(fallbacks=known, retry_after=None) == "A moment, please."
    assert say(fallbacks={"rate_limited": "Noch {retry_after} s."}, retry_after=None) == say(retry_after=None)


@pytest.mark.parametrize("language", phrases.LANGUAGES)
def test_it_reads_well_without_the_seconds(language: str) -> None:
    assert not re.search(r"[{}0-9]|None", say(language=language, retry_after=None))


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [(0, "1 s"), (1, "1 s"), (99, "99 s"), (100, "2 min"), (600, "10 min"), (5999, "100 min"), (6000, "2 h")],
)
def test_it_tells_long_waits_in_long_units(seconds: int, wait: str) -> None:
    assert f"again in {wait}." in say(language="en", retry_after=seconds)


def test_it_counts_an_unknown_code_as_unavailable() -> None:
    assert say("teapot") == say("unavailable")
