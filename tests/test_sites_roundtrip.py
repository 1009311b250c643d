"""Export and apply are each other's reverse: for any site, by way of YAML and by way of the store's JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from parlance import phrases
from parlance.site import (
    Budgets,
    Eval,
    Faq,
    Format,
    Http,
    Identity,
    IpLimits,
    Limits,
    Memory,
    Model,
    Passage,
    Privacy,
    Proactive,
    Redirect,
    Site,
    SiteLimits,
    Theme,
    Tool,
    VisitorLimits,
    Voice,
    Widget,
)
from parlance.sites import form, yamlfile

AWKWARD = [
    *("no", "Yes", "null", "~", "1.0", "0x1F", "2026-01-01", " x", "x ", "a: b", "#x", "|", "'", '"', "\\", "<<"),
    *("a\nb", "a\n\n b\n\n", "\na", " a\nb", "a\tb", "\t\na", "a \nb", "x\x85y", "x\u2028y", "\ufeffx"),
    *("a\r\nb", "a\rb", "\x07", "📚", "ex\u0301", "%x", "@x", "`x`", "? x", "&x", "*x", "{x}", "a\n---\nb"),
    *("---", "\x7f", "...", "long " * 36, "x\x85 " * 60, "line\n" * 30, f"x{120 * ' '}x"),
]
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXT = st.sampled_from(AWKWARD) | st.text(CHARACTERS, min_size=1, max_size=20).filter(str.strip)
LINE = st.sampled_from([text for text in AWKWARD if "\n" not in text and len(text) < 100])
BLANK = st.just("") | TEXT
TAG = st.sampled_from(["en", "de-AT", "no", "zh-Hant", "pt-BR"])
URL = st.sampled_from(["", "https://fern.example", "http://fern.example/a?b=c#d", "https://bücher.example/ü"])
WHOLE = st.integers(1, 50_000)
DOLLARS = st.none() | st.integers(0, 10**16)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(-1e300, 1e300) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=3,
)


def several(inner: st.SearchStrategy, most: int = 2) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.lists(inner, max_size=most).map(tuple)


ASSERTION = st.one_of(
    st.fixed_dictionaries({"not-contains": TEXT}),
    st.fixed_dictionaries({"contains-any": st.lists(TEXT, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"similar": TEXT, "threshold": st.floats(0, 1)}),
    st.fixed_dictionaries({"is-json": st.just(True)}),
    st.fixed_dictionaries({"max-words": WHOLE}),
    st.fixed_dictionaries({"cost": st.just("0.002")}),
)
TOOL = st.builds(
    Tool,
    name=st.sampled_from(["look", "-", "0", "No", "a_b-c"]),
    description=TEXT,
    label=LINE,
    input_schema=st.fixed_dictionaries({"type": st.just("object"), "default": JSON}),
    http=st.builds(
        Http,
        method=st.sampled_from(["GET", "POST"]),
        url=st.sampled_from(["https://api.fern.example/x", "http://localhost:9", "https://a.example/${secret:KEY}"]),
        headers=st.dictionaries(st.sampled_from(["X-A", "Accept"]), st.sampled_from(["", "a", " b", "${secret:K_1}"])),
        timeout_s=st.floats(0.1, 60),
    ),
)
SITE = st.builds(
    Site,
    key=st.sampled_from(["fern", "no", "0", "1e3", "a-b", "0x1"]),
    name=LINE,
    origins=st.lists(
        st.sampled_from(["*", "https://fern.example", "https://*.fern.example", "http://[::1]:*", "https://ü.example"]),
        min_size=1,
        unique=True,
    ).map(tuple),
    locale=TAG,
    model=st.builds(Model, st.sampled_from(["cheap", "claude-x"]), st.sampled_from([(), ("a",), ("a", "b")]), WHOLE),
    voice=st.builds(
        Voice,
        persona=BLANK,
        tone=several(TEXT),
        use=several(TEXT),
        avoid=several(TEXT),
        role=BLANK,
        limits=several(TEXT),
        redirects=several(st.builds(Redirect, TEXT, TEXT)),
        context=BLANK,
        faqs=several(st.builds(Faq, TEXT, TEXT)),
        format=st.builds(Format, st.none() | st.integers(1, 10_000), BLANK, st.booleans()),
    ),
    knowledge=several(st.builds(Passage, LINE, TEXT, URL, st.sampled_from(["", "a/b.md", "no"]))),
    tools=st.lists(TOOL, max_size=2, unique_by=lambda tool: tool.name).map(tuple),
    memory=st.builds(Memory, st.sampled_from(["window", "summary"]), st.integers(500, 500_000)),
    limits=st.builds(
        Limits,
        st.builds(VisitorLimits, WHOLE, WHOLE),
        st.builds(IpLimits, WHOLE),
        st.builds(SiteLimits, WHOLE, WHOLE),
        WHOLE,
    ),
    budgets=st.builds(Budgets, DOLLARS, DOLLARS, DOLLARS),
    fallbacks=st.dictionaries(
        st.sampled_from(phrases.CODES), TEXT | st.dictionaries(TAG, TEXT, min_size=1), max_size=3
    ),
    widget=st.builds(
        Widget,
        title=st.just("") | LINE,
        greeting=BLANK,
        suggestions=several(LINE),
        theme=st.builds(
            Theme,
            st.sampled_from(["#fff", "#00e123"]),
            st.sampled_from(["auto", "light", "dark"]),
            st.sampled_from(["right", "left"]),
        ),
        proactive=st.none() | st.builds(Proactive, TEXT, st.integers(0, 86_400), several(LINE)),
    ),
    identity=st.none() | st.just(Identity("${secret:FERN_IDENTITY}")),
    privacy=st.builds(Privacy, st.integers(1, 3650), st.integers(1, 3600), st.booleans()),
    evals=st.lists(
        st.builds(
            Eval,
            name=LINE,
            ask=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
            expect=st.lists(ASSERTION, min_size=1, max_size=3).map(tuple),
        ),
        max_size=2,
        unique_by=lambda case: case.name,
    ).map(tuple),
)
LEAST = Site(key="fern", name="Fern", origins=("https://fern.example",))


# A whole site is much to make, and more to shrink: a failing example is shown as it was found.
ANY = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export") / "site.yaml"


@ANY
@given(SITE)
@example(LEAST)
def test_it_reads_the_site_that_it_wrote(path: Path, site: Site) -> None:
    text = yamlfile.write(site)
    path.write_text(text, "utf-8", newline="")
    again = yamlfile.read([path]).sites[0]
    assert again == site
    assert form.to_json(again) == form.to_json(site)  # a float is still a float, an order still the same
    assert yamlfile.write(again) == text


@ANY
@given(SITE)
def test_it_reads_the_site_that_it_stored(site: Site) -> None:
    assert form.from_json(form.to_json(site), 3) == replace(site, version=3)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(AWKWARD) | st.text(CHARACTERS, min_size=1))
def test_it_keeps_every_text_to_the_letter(path: Path, text: str) -> None:
    site = replace(LEAST, knowledge=(Passage("A", f"x{text}x"), Passage("B", f"{text}x"), Passage("C", f"x{text}")))
    path.write_text(yamlfile.write(site), "utf-8", newline="")
    assert yamlfile.read([path]).sites[0] == site


def test_it_writes_for_people() -> None:
    site = replace(LEAST, voice=Voice(persona="One.\n\nTwo.\n", tone=("no",)), budgets=Budgets(day=5 * 10**9))
    text = yamlfile.write(site)
    assert "  persona: |\n    One.\n\n    Two.\n" in text
    assert '- "no"' in text
    assert "day_usd: '5.00'" in text
    assert "version" not in text


def test_it_writes_defaults_and_leaves_out_what_is_empty() -> None:
    written = form.write(LEAST)
    assert written["limits"]["visitor"] == {"per_minute": 10, "per_day": 200}
    assert written["model"]["fallback"] == ["cheap"]
    assert not {"tools", "knowledge", "identity", "budgets", "evals", "fallbacks"} & set(written)
    assert "version" not in json.loads(form.to_json(replace(LEAST, version=7)))


def test_it_keeps_an_empty_list_where_the_default_is_a_full_one() -> None:
    assert form.write(replace(LEAST, model=Model(fallback=())))["model"]["fallback"] == []


def test_it_refuses_what_the_store_should_not_hold() -> None:
    with pytest.raises(ValueError, match="is none"):
        form.from_json('{"key": "fern"}')
