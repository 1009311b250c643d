"""Answers that rest on something: the site's tools, its texts, and an honest word where neither helps.

One house, the demo scripted behind it, and a real service of the site's on a port of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import gevent
import pytest

from parlance.site import Http, Passage, Site, Tool
from parlance.store import keys
from parlance.tools.belt import ROUNDS
from parlance.voice.render import LIBRARY_CHARS
from tests.house import FERN, MOSS, House, Stream, until
from tests.places import Place
from tests.test_budgets import kill

# What tools and texts do does not depend on the store's engine.
pytestmark = pytest.mark.parametrize("redis_url", ["valkey"], indirect=True, scope="session")

NUMBER = {"type": "string", "pattern": "^F[0-9]{6}$"}
SCHEMA = {"type": "object", "properties": {"number": NUMBER}, "required": ["number"], "additionalProperties": False}
LABEL = "Looking up your order"
ORDER = {"number": "F123456"}

FILLER = "\n\n".join(f"Shelf {n} is in the cellar and holds novels of the year {n}." for n in range(2_000))
LIBRARY = (
    Passage("Cellar", FILLER[:LIBRARY_CHARS]),
    Passage("Umbrellas", "We mend umbrellas of any make for twelve pounds.", "https://fern.example/umbrellas"),
    Passage("Parasols", "Parasols are for hire on sunny days."),
)


@pytest.fixture
def service() -> Iterator[Place]:
    """The site's order service."""
    with Place() as place:
        answers(place, {"state": "sent", "carrier": "canal boat"})
        yield place


@pytest.fixture
def fern(service) -> Site:
    """The site, with one tool of its own."""
    order = Http("POST", f"http://{at(service)}/orders", {}, timeout_s=5)
    return replace(FERN, tools=(Tool("lookup_order", "Find an order by its number.", LABEL, SCHEMA, order),))


@pytest.fixture
def settings(settings, service):
    return replace(settings, private_tool_hosts=frozenset({at(service)}))


@pytest.fixture
def house(settings, store, fern):
    with House(settings, store.url, sites=(fern, MOSS)) as house:
        yield house


@pytest.fixture
def ann(house):
    return house.visitor()


@pytest.fixture
def reader(settings, store):
    """A visitor of a site whose texts are too many for the prompt."""
    with House(settings, store.url, sites=(replace(FERN, knowledge=LIBRARY),)) as house:
        yield house.visitor()


def at(place: Place) -> str:
    return f"127.0.0.1:{place.plain.server_port}"


def answers(place: Place, body: object, status: int = 200, type: str = "application/json") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Type: {type}\r\nContent-Length: {len(data)}\r\n\r\n"
    place.says = head.encode() + data


def keeps_waiting(place: Place, seconds: float) -> None:
    def says(heard: bytes) -> Iterator[bytes]:
        gevent.sleep(seconds)
        yield b""

    place.says = says


def uses(tool: str = "lookup_order", id: str = "toolu_1", said: str = "", **given) -> dict:
    """A scripted message of Claude's that says something, perhaps, and uses a tool."""
    use = {"type": "tool_use", "id": id, "name": tool, "input": given or ORDER}
    return {"blocks": [*([{"type": "text", "text": said}] if said else []), use]}


def script(house: House, *entries: dict) -> None:
    for entry in entries:
        house.demo.script.add(**entry)


def bodies(house: House) -> list[dict]:
    return [call.body for call in house.demo.calls]


def result(body: dict) -> dict:
    """The tool's result with which a request ends."""
    (block,) = body["messages"][-1]["content"]
    assert block["type"] == "tool_result", block
    return block


def shown(stream: Stream) -> list[str]:
    """What the visitor saw of the tools."""
    return [event.data["state"] for event in stream.all() if event.name == "tool"]


# -- a tool of the site's own ------------------------------------------------------------------------------------------


def test_a_tool_is_used_and_the_answer_rests_on_it(house, ann, service):
    script(house, uses(said="Let me look."), {"text": "It is on a canal boat."})
    stream = ann.ask("Where is F123456?")
    assert stream.names == ["start", "text", "tool", "text", "done"]
    tools = [event.data for event in stream.seen if event.name == "tool"]
    assert tools == [{"id": "toolu_1", "label": LABEL, "state": state} for state in ("running", "done")]
    assert stream.end.data["text"] == stream.text == "Let me look.\n\nIt is on a canal boat."
    assert stream.end.data["state"] == "complete"
    asked, told = bodies(house)
    assert told["messages"][:-2] == asked["messages"]
    assert told["messages"][-2] == {"role": "assistant", "content": uses(said="Let me look.")["blocks"]}
    assert "canal boat" in result(told)["content"]
    assert "is_error" not in result(told)
    assert b'{"number": "F123456"}' in service.heard[0]
    assert ann.messages()[1]["text"] == stream.text


def test_every_step_is_booked(house, ann):
    script(house, uses(), {"text": "On a boat."})
    ann.ask("Where is F123456?").all()
    rows = house.rows()
    assert sorted(row["stop_reason"] for row in rows) == ["end_turn", "tool_use"]
    assert len({row["call"] for row in rows}) == 2
    assert all(row["cost_nano_usd"] > 0 and not row["error_class"] for row in rows)


def test_the_tools_begin_every_request_and_never_change(house, ann):
    script(house, uses(), {"text": "On a boat."})
    ann.ask("Where is F123456?").all()
    ann.ask("Thank you").all()
    house.visitor().ask("Hello").all()
    assert len(bodies(house)) == 4
    assert len({json.dumps((body["tools"], body["system"])) for body in bodies(house)}) == 1
    for body in bodies(house):
        names = list(body)
        assert names.index("tools") < names.index("system") < names.index("messages")
        assert [tool["name"] for tool in body["tools"]][-1] == "lookup_order"


def test_the_next_turn_is_asked_without_the_tools_words(house, ann):
    script(house, uses(said="Let me look."), {"text": "On a boat."})
    ann.ask("Where is F123456?").all()
    ann.ask("Thank you").all()
    said = [block for message in bodies(house)[-1]["messages"] for block in message["content"]]
    assert {block["type"] for block in said} == {"text"}


def test_a_tools_result_outlives_a_call_that_fails(house, ann, service):
    script(house, uses(said="Let me look."), {"status": 529}, uses(id="toolu_2"), {"text": "On a boat."})
    stream = ann.ask("Where is F123456?")
    assert stream.end.data["text"] == stream.text == "On a boat."
    assert len(service.heard) == 1
    assert "canal boat" in result(bodies(house)[-1])["content"]


def test_a_text_without_a_word_is_not_sent_back(house, ann):
    script(house, uses(said=" \n"), {"text": "On a boat."})
    assert ann.ask("Where is F123456?").end.data["state"] == "complete"
    assert [block["type"] for block in bodies(house)[1]["messages"][-2]["content"]] == ["tool_use"]


BROKEN: dict[str, Callable[[Place], None]] = {
    "a fault": lambda service: answers(service, {"secret": "of the service"}, status=500),
    "a page": lambda service: answers(service, b"<h1>secret</h1>", type="text/html"),
    "no answer in time": lambda service: keeps_waiting(service, 30),
    "a cut": lambda service: setattr(service, "says", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_a_tool_that_fails_is_told_to_claude_and_the_visitor_has_an_answer(house, ann, fern, service, breaks):
    breaks(service)
    (tool,) = fern.tools
    house.services.sites.apply([replace(fern, tools=(replace(tool, http=replace(tool.http, timeout_s=0.3)),))])
    script(house, uses(), {"text": "I could not look that up."})
    stream = ann.ask("Where is F123456?")
    assert stream.end.data["text"] == "I could not look that up."
    assert shown(stream) == ["running", "failed"]
    assert result(bodies(house)[1])["is_error"] is True
    assert "secret" not in json.dumps(bodies(house)[1])


def test_arguments_that_do_not_fit_never_reach_the_service(house, ann, service):
    script(house, uses(number="7"), uses(id="toolu_2"), {"text": "On a boat."})
    stream = ann.ask("Where is 7?")
    assert stream.end.data["text"] == "On a boat."
    wrong, mended = (result(body) for body in bodies(house)[1:])
    assert wrong["is_error"] is True
    assert "`number`" in wrong["content"]
    assert "canal boat" in mended["content"]
    assert shown(stream) == ["running", "done"]
    assert len(service.heard) == 1


def test_tools_without_end_are_ended_and_what_was_said_is_kept(house, ann, service):
    script(house, *(uses(id=f"toolu_{n}", said="Again.", number=f"F{n:06}") for n in range(ROUNDS + 4)))
    stream = ann.ask("Where are they all?")
    assert stream.end.data == {**stream.end.data, "state": "interrupted", "stop_reason": "tool_use"}
    assert stream.end.data["text"] == stream.text == "\n\n".join(["Again."] * (ROUNDS + 2))
    assert len(service.heard) == ROUNDS
    assert len(bodies(house)) == ROUNDS + 2
    assert result(bodies(house)[-1])["is_error"] is True
    assert ann.messages()[1]["text"] == stream.text


def test_a_cancel_is_heard_while_a_tool_runs(house, ann, service):
    keeps_waiting(service, 30)
    script(house, uses(said="Let me look."))
    stream = ann.ask("Where is F123456?")
    stream.until("tool")
    until(lambda: service.heard)
    began = time.monotonic()
    assert ann.call("POST", f"/v1/turns/{stream.turn}/cancel").json["state"] == "cancelled"
    assert time.monotonic() - began < 0.5
    assert stream.end.data == {**stream.end.data, "state": "cancelled", "text": "Let me look."}
    assert shown(stream) == ["running"]
    assert len(bodies(house)) == 1
    assert ann.ask("Well then").end.data["state"] == "complete"


def test_a_worker_that_takes_over_finds_the_tools_result(house, ann, settings, store, fern, service):
    script(house, uses(said="Let me look."), {"first_byte_s": 60.0})
    script(house, uses(id="toolu_2", said="Let me see."), {"text": "On a boat."})
    with House(settings, store.url, upstream=house.demo, sites=(fern, MOSS)) as other:
        stream = ann.ask("Where is F123456?")
        until(lambda: len(bodies(house)) == 2)
        kill(house)
        viewer = ann.at(other).watch(stream.turn)
        assert viewer.end.data["text"] == viewer.text == "Let me see.\n\nOn a boat."
        assert viewer.names == ["start", "text", "tool", "reset", "text", "tool", "text", "done"]
        assert len(service.heard) == 1, "a tool that has run is not run again"
        first, second = (result(body) for body in bodies(house)[1::2])
        assert second == first | {"tool_use_id": "toolu_2"}
        until(lambda: len(other.rows()) == 4)
        assert sorted(row["error_class"] for row in other.rows()) == ["", "", "", "worker_lost"]


# -- the site's texts --------------------------------------------------------------------------------------------------


def test_what_has_no_room_in_the_prompt_is_searched_and_cited(reader):
    stream = reader.ask("Do you mend umbrellas?")
    assert stream.names == ["start", "tool", "text", "source", "done"]
    (source,) = (event.data for event in stream.seen if event.name == "source")
    assert source == {"n": 1, "title": "Umbrellas", "url": "https://fern.example/umbrellas"}
    assert stream.end.data["text"] == stream.text == "We mend umbrellas of any make for twelve pounds. [1]"
    asked, told = bodies(reader.house)
    assert "search_knowledge" in [tool["name"] for tool in asked["tools"]]
    assert "twelve pounds" not in json.dumps(asked)
    assert "twelve pounds" in json.dumps(result(told))
    assert reader.messages()[1]["sources"] == [source]


def test_a_cited_answer_is_replayed_from_every_id(reader):
    first = reader.ask("Do you mend umbrellas?")
    first.all()
    for event in first.seen:
        rest = reader.watch(first.turn, event.id)
        rest.all()
        after = first.raw.index(b"\n\n", first.raw.index(f"id: {event.id}\n".encode())) + 2
        assert rest.raw == first.raw[after:]


def test_a_cited_answer_is_told_again_when_its_journal_is_gone(reader, store):
    message = reader.message("Do you mend umbrellas?")
    first = reader.send(given={"json": message})
    first.all()
    store.do("DEL", keys.events("fern", first.turn))
    again = reader.send(given={"json": message})
    assert again.names == ["start", "text", "source", "done"]
    assert (again.end.data, again.text) == (first.end.data, first.text)
    assert [event.data for event in again.seen if event.name == "source"] == reader.messages()[1]["sources"]


def test_a_source_without_an_address_has_none(reader):
    stream = reader.ask("Are parasols for hire on sunny days?")
    assert [event.data for event in stream.all() if event.name == "source"] == [{"n": 1, "title": "Parasols"}]


def test_a_library_that_fits_is_not_searched(house, ann):
    ann.ask("Do you mend umbrellas?").all()
    assert "search_knowledge" not in [tool["name"] for tool in bodies(house)[0]["tools"]]


CITED = {"type": "search_result_location", "source": "https://fern.example/u", "title": "Umbrellas", "cited_text": "x"}


def test_a_cancelled_answer_keeps_its_sources(house, ann):
    cited = {"type": "text", "text": "Twelve pounds.", "citations": [CITED]}
    script(house, {"blocks": [cited, {"type": "text", "text": " and" * 500}], "pace_s": 0.02})
    stream = ann.ask("Do you mend umbrellas?")
    stream.until("source")
    ann.call("POST", f"/v1/turns/{stream.turn}/cancel")
    assert stream.end.data["state"] == "cancelled"
    assert stream.text.startswith("Twelve pounds. [1]")
    assert ann.messages()[1]["sources"] == [{"n": 1, "title": "Umbrellas", "url": "https://fern.example/u"}]


def test_an_answer_that_starts_again_forgets_its_sources(house, ann):
    cited = {"type": "text", "text": "Twelve pounds.", "citations": [CITED]}
    again = {**cited, "citations": [{**CITED, "source": "https://fern.example/v", "title": "Visit"}]}
    script(house, {"blocks": [cited, {"type": "text", "text": " And more."}], "after": 4, "cut": "end"})
    script(house, {"blocks": [again]})
    stream = ann.ask("Do you mend umbrellas?")
    assert stream.names == ["start", "text", "source", "text", "reset", "text", "source", "done"]
    assert stream.end.data["text"] == stream.text == "Twelve pounds. [1]"
    assert ann.messages()[1]["sources"] == [{"n": 1, "title": "Visit", "url": "https://fern.example/v"}]


def test_where_no_model_answers_the_sites_texts_do(reader):
    script(reader.house, {"status": 529, "times": None})
    error = reader.ask("Do you mend umbrellas?").end
    assert (error.name, error.data["code"]) == ("error", "overloaded")
    text = "We mend umbrellas of any make for twelve pounds."
    assert error.data["passages"][0] == {"title": "Umbrellas", "url": "https://fern.example/umbrellas", "text": text}


def test_a_site_without_texts_has_no_passages(house):
    script(house, {"status": 529, "times": None})
    error = house.visitor(MOSS).ask("Do you mend umbrellas?").end
    assert (error.name, "passages" in error.data) == ("error", False)


# -- what the visitor leaves -------------------------------------------------------------------------------------------


def test_a_question_that_the_texts_do_not_cover_is_kept_until_its_visitor_is_erased(house, ann):
    unanswered = house.services.unanswered
    ann.ask("Do you gift-wrap?").all()
    ann.ask("Is there room for a zeppelin?").all()
    until(lambda: unanswered.latest("fern"))
    (kept,) = unanswered.latest("fern")
    assert (kept.text, kept.visitor, kept.conversation) == ("Is there room for a zeppelin?", ann.id, ann.conversation)
    assert kept.message == ann.messages()[2]["id"]
    assert ann.call("DELETE", "/v1/visitor").json["erased"]["left"] == 1
    assert unanswered.latest("fern") == []


LEAD = {"name": "Ann", "email": "ann@example.com", "words": "Call me."}


def test_a_message_that_was_left_is_exported_and_erased(house, ann):
    script(house, uses("leave_message", **LEAD), {"text": "Passed on."})
    assert ann.ask().end.data["text"] == "Passed on."
    export = house.app.test_cli_runner().invoke(args=["leads", "export", "--site", "fern"])
    assert json.loads(export.output) == {**json.loads(export.output), **LEAD, "visitor": ann.id}
    assert ann.call("DELETE", "/v1/visitor").json["erased"]["left"] == 1
    assert house.services.leads.entries("fern") == []


def test_a_wish_for_a_person_and_replies_to_choose_from_are_shown(house, ann):
    script(house, uses("ask_for_person", reason="She is upset."), uses("suggest_replies", "toolu_2", replies=["Yes"]))
    script(house, {"text": "Somebody has been asked."})
    stream = ann.ask()
    told = {event.name: event.data for event in stream.all()}
    assert told["handoff"] == {"state": "asked"}
    assert told["suggestions"] == {"replies": ["Yes"]}
    assert [wish["reason"] for wish in house.services.wishes.entries("fern")] == ["She is upset."]
