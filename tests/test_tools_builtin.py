"""The tools that every site has: what they keep, what they show, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from flask import Flask

from blueprints import cli
from parlance import phrases
from parlance.errors import SiteNotFound, StoreUnavailable
from parlance.store import keys
from parlance.tools import ask_for_person, leave_message, search, suggest_replies
from parlance.tools.inbox import Inbox
from parlance.tools.leave_message import COLUMNS
from parlance.tools.schema import complaints
from parlance.tools.tool import LABELS, Context, Result, Tool

CONTEXT = Context("fern", "t_1", "c_1", "v_1", at="2026-11-20T15:00:00.000Z", call="k1")
ADA = {"name": "Ada Green", "email": "ada@example.org", "words": "Please call me back."}


@dataclass
class Passage:
    title: str
    url: str
    text: str


@pytest.fixture
def leads(store) -> Inbox:
    store.do("HSET", keys.visitor("fern", "v_1"), "created", "x")
    store.do("HSET", keys.visitor("fern", "v_10"), "created", "x")
    return Inbox(store, keys.leads)


def every_tool() -> list[Tool]:
    return [
        search.tool(lambda question, k: []),
        leave_message.tool(None),
        ask_for_person.tool(None),
        suggest_replies.tool(),
    ]


# ---- all of them ----


def test_they_are_all_of_one_shape():
    for tool in every_tool():
        assert tool.input_schema["additionalProperties"] is False
        assert set(tool.input_schema["required"]) == set(tool.input_schema["properties"])
        assert len(tool.description) > 80
    assert len({tool.name for tool in every_tool()}) == 4


def test_their_labels_speak_every_language_of_the_phrases():
    assert set(LABELS) == {search.NAME, leave_message.NAME, ask_for_person.NAME}
    for words in LABELS.values():
        assert tuple(words) == phrases.LANGUAGES
        assert all(text.strip() for text in words.values())


def test_a_label_of_no_known_language_is_english():
    assert search.tool(lambda question, k: []).label_for("tlh") == "Looking it up"


def test_a_result_survives_its_record():
    result = Result([{"type": "text", "text": "é"}], True, (("handoff", {"state": "asked"}),))
    assert Result.from_json(result.to_json()) == result


# ---- search_knowledge ----


def test_search_gives_passages_that_can_be_cited():
    asked = []

    def find(question, k):
        asked.append((question, k))
        return [Passage("Delivery", "https://fern.example/delivery", "Two days."), Passage("Care", "", "Keep dry.")]

    result = search.tool(find).run({"question": "how long?"}, CONTEXT)
    assert asked == [("how long?", search.PASSAGES)]
    assert result.content[0] == {
        "type": "search_result",
        "source": "https://fern.example/delivery",
        "title": "Delivery",
        "content": [{"type": "text", "text": "Two days."}],
        "citations": {"enabled": True},
    }
    assert result.content[1]["source"] == "knowledge:Care"


def test_search_that_finds_nothing_says_so():
    result = search.tool(lambda question, k: []).run({"question": "x"}, CONTEXT)
    assert "No passage" in result.content
    assert not result.is_error


# ---- leave_message ----


def test_a_message_is_kept_with_whose_it_is(leads):
    result = leave_message.tool(leads).run({**ADA, "name": " Ada \n Green "}, CONTEXT)
    assert not result.is_error
    (lead,) = leads.entries("fern")
    assert lead == {**ADA, "at": CONTEXT.at, "visitor": "v_1", "conversation": "c_1", "turn": "t_1"}
    assert set(lead) == set(COLUMNS)


def test_the_same_call_again_keeps_one_message(leads):
    for _ in range(2):
        leave_message.tool(leads).run(ADA, CONTEXT)
    assert len(leads.entries("fern")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "ada"},
        {"email": "ada@example"},
        {"email": "ada@@example.org"},
        {"email": "ada @example.org"},
        {"email": "ada@example.org, eve@example.org"},
        {"email": "ada@example.org\nBcc: eve@example.org"},
        {"email": "<ada@example.org>"},
        {"email": "a" * 250 + "@example.org"},
        {"name": "  "},
        {"name": "x" * 201},
        {"words": "\n"},
        {"words": "x" * 4001},
        {"phone": "123"},
    ],
)
def test_a_message_that_nobody_could_answer_is_mended_first(wrong):
    assert not complaints(leave_message.SCHEMA, ADA)
    assert complaints(leave_message.SCHEMA, {**ADA, **wrong})


def test_a_visitor_who_was_erased_meanwhile_leaves_nothing(leads, store):
    store.do("DEL", keys.visitor("fern", "v_1"))
    assert leave_message.tool(leads).run(ADA, CONTEXT).is_error
    assert store.do("HLEN", keys.leads("fern")) == 0


def test_an_erasure_takes_that_visitors_messages_only(leads):
    leads.keep("fern", "v_1", "a", {"at": "1"})
    leads.keep("fern", "v_1", "b", {"at": "2"})
    leads.keep("fern", "v_10", "a", {"at": "3"})
    assert leads.erase("fern", "v_1") == 2
    assert [entry["at"] for entry in leads.entries("fern")] == ["3"]
    assert leads.erase("fern", "v_1") == 0


# ---- ask_for_person ----


def test_a_wish_for_a_person_is_kept_with_its_reason_and_shown(store):
    store.do("HSET", keys.visitor("fern", "v_1"), "created", "x")
    wishes = Inbox(store, keys.wishes)
    result = ask_for_person.tool(wishes).run({"reason": "Wants a refund."}, CONTEXT)
    assert result.shows == (("handoff", {"state": "asked"}),)
    ask_for_person.tool(wishes).run({"reason": "Is upset."}, CONTEXT)
    (wish,) = wishes.entries("fern")
    assert (wish["reason"], wish["conversation"]) == ("Is upset.", "c_1")


def test_a_wish_that_cannot_be_kept_is_not_shown_as_granted(store):
    result = ask_for_person.tool(Inbox(store, keys.wishes)).run({"reason": "x"}, CONTEXT)
    assert result.is_error
    assert result.shows == ()


# ---- suggest_replies ----


def test_suggested_replies_are_shown():
    result = suggest_replies.tool().run({"replies": ["Yes,\nplease", "No"]}, CONTEXT)
    assert result.shows == (("suggestions", {"replies": ["Yes, please", "No"]}),)


@pytest.mark.parametrize("replies", [[], ["a"] * 2, list("abcde"), [" "], ["x" * 61], "yes"])
def test_suggestions_that_are_none_are_mended_first(replies):
    assert complaints(suggest_replies.SCHEMA, {"replies": replies})


# ---- flask leads ----

Run = Callable[..., object]


@pytest.fixture
def run(leads) -> Run:
    def get(key):
        if key != "fern":
            raise SiteNotFound(f"there is no site {key}")

    app = Flask(__name__)
    app.extensions["parlance"] = SimpleNamespace(leads=leads, sites=SimpleNamespace(get=get))
    cli.register(app)
    return lambda *words: app.test_cli_runner().invoke(args=["leads", *words])


def keep(leads: Inbox, id: str, **lead: str) -> None:
    leads.keep("fern", "v_1", id, {"at": CONTEXT.at, **ADA, "visitor": "v_1", **lead})


def test_it_exports_lines_of_json_oldest_first(run, leads):
    keep(leads, "b", at="2026-11-21T00:00:00.000Z", name="Bo")
    keep(leads, "a", at="2026-11-20T00:00:00.000Z", words="Grüße\nund mehr")
    lines = [json.loads(line) for line in run("export", "--site", "fern").stdout.splitlines()]
    assert [line["name"] for line in lines] == ["Ada Green", "Bo"]
    assert lines[0]["words"] == "Grüße\nund mehr"


def test_it_exports_a_table_that_no_spreadsheet_takes_for_formulas(run, leads):
    keep(leads, "a", name='=HYPERLINK("https://evil.example")', words="@SUM(A1)\n-2", email="+a@example.org")
    rows = list(csv.reader(io.StringIO(run("export", "--site", "fern", "--format", "csv").stdout)))
    assert rows[0] == list(COLUMNS)
    assert rows[1][1:4] == ['\'=HYPERLINK("https://evil.example")', "'+a@example.org", "'@SUM(A1)\n-2"]


def test_it_exports_since_a_time_and_forgets_before_one(run, leads):
    for day in ("19", "20", "21"):
        keep(leads, day, at=f"2026-11-{day}T12:00:00.000Z", name=day)
    assert [lead["name"] for lead in leads.entries("fern", "2026-11-20")] == ["20", "21"]
    assert run("export", "--site", "fern", "--since", "2026-11-20T12:00:01Z").stdout.count("\n") == 1
    assert run("forget", "--site", "fern", "--before", "2026-11-21").stdout == "2 forgotten\n"
    assert [lead["name"] for lead in leads.entries("fern")] == ["21"]


@pytest.mark.parametrize(
    "words", [("export", "--site", "gone"), ("export",), ("export", "--site", "fern", "--since", "x")]
)
def test_it_refuses_in_plain_words(run, words):
    done = run(*words)
    assert done.exit_code != 0
    assert "Traceback" not in done.output
    assert done.stderr


def test_it_says_when_the_store_is_away(run, leads, monkeypatch):
    def away(*command):
        raise StoreUnavailable("Redis did not answer")

    monkeypatch.setattr(leads._store, "do", away)
    done = run("export", "--site", "fern")
    assert done.exit_code == 1
    assert "Is the server running" in done.stderr


def test_a_thousand_messages_and_more_are_all_there(leads):
    for n in range(1200):
        leads.keep("fern", "v_1", str(n), {"at": f"{n:05}"})
    assert [entry["at"] for entry in leads.entries("fern")] == [f"{n:05}" for n in range(1200)]


def test_it_works_on_a_cluster(cluster_store):
    cluster_store.do("HSET", keys.visitor("fern", "v_1"), "created", "x")
    leads = Inbox(cluster_store, keys.leads)
    leave_message.tool(leads).run(ADA, CONTEXT)
    assert len(leads.entries("fern")) == 1
    assert leads.erase("fern", "v_1") == 1
