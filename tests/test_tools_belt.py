"""The tools of a turn: offered, checked, run together, shown, recorded, and never run twice for one call."""

from __future__ import annotations

import json
from dataclasses import replace

import gevent
import pytest

from parlance.tools.belt import AT_ONCE, ROUNDS, Belt, call_key
from parlance.tools.tool import Context, Result, Tool
from tests.places import Place

CONTEXT = Context("fern", "t_1", "c_1", "v_1", locale="de-AT")
SCHEMA = {
    "type": "object",
    "properties": {
        "number": {"type": "string", "pattern": "^F[0-9]{6}$"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "integer"}}}},
    },
    "required": ["number"],
    "additionalProperties": False,
}


class Bench:
    """A belt with one tool, `look`, that does what `does` says; and all that can be seen of it."""

    def __init__(self) -> None:
        self.calls: list[dict] = []
        self.contexts: list[Context] = []
        self.told: list[tuple[str, dict]] = []
        self.kept: dict[str, str] = {}
        self.does = lambda arguments: Result(f"found {arguments['number']}")
        self.label: object = "Looking"
        self.belt = self.another()

    def another(self) -> Belt:
        """As another worker would make it, that takes the turn over."""
        look = Tool("look", "Looks.", self.label, SCHEMA, self._run)
        return Belt([look], tell=lambda *event: self.told.append(event), recall=self._recall, remember=self._remember)

    def _run(self, arguments, context) -> Result:
        self.calls.append(dict(arguments))
        self.contexts.append(context)
        return self.does(arguments)

    def _recall(self, place: str) -> Result | None:
        return Result.from_json(self.kept[place]) if place in self.kept else None

    def _remember(self, place: str, result: Result) -> None:
        self.kept[place] = result.to_json()

    def call(self, *arguments, name: str = "look", belt: Belt | None = None, context: Context = CONTEXT) -> list[dict]:
        uses = [{"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": a} for n, a in enumerate(arguments)]
        return (belt or self.belt).call(uses, context)

    @property
    def states(self) -> list[str]:
        return [data["state"] for event, data in self.told if event == "tool"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


F1, F2 = {"number": "F000001"}, {"number": "F000002"}


# ---- it works ----


def test_it_offers_its_tools_in_a_stable_order_and_form():
    tools = [Tool(name, name, "", SCHEMA, lambda a, c: Result("")) for name in ("b", "a", "c")]
    definitions = Belt(tools, tell=print).definitions()
    assert [each["name"] for each in definitions] == ["b", "a", "c"]
    assert definitions[0] == {"name": "b", "description": "b", "input_schema": SCHEMA}
    assert json.dumps(definitions) == json.dumps(Belt(tools, tell=print).definitions())


def test_a_sites_own_tool_takes_the_place_of_ours():
    ours, theirs = (Tool("look", words, "", SCHEMA, lambda a, c: Result("")) for words in ("ours", "theirs"))
    assert [each["description"] for each in Belt([ours, theirs], tell=print).definitions()] == ["theirs"]


def test_it_answers_every_call_in_its_place(bench):
    assert bench.call(F1, {"number": "wrong"}, F2)[::2] == [
        {"type": "tool_result", "tool_use_id": "toolu_0", "content": "found F000001"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "found F000002"},
    ]


def test_it_passes_over_blocks_that_are_no_calls(bench):
    blocks = [{"type": "text", "text": "Let me look."}, {"type": "tool_use", "id": "x", "name": "look", "input": F1}]
    assert [each["tool_use_id"] for each in bench.belt.call(blocks, CONTEXT)] == ["x"]


def test_calls_that_come_together_run_together(bench):
    running: set[str] = set()
    met = gevent.event.Event()

    def meets(arguments):
        running.add(arguments["number"])
        if len(running) == 2:
            met.set()
        return Result("met" if met.wait(2) else "alone")

    bench.does = meets
    assert [each["content"] for each in bench.call(F1, F2)] == ["met", "met"]


def test_the_visitor_sees_what_is_being_done_in_words(bench):
    bench.label = {"en": "Looking", "de": "Ich sehe nach"}
    bench.call(F1, belt=bench.another())
    shown = {"id": "toolu_0", "label": "Ich sehe nach"}
    assert bench.told == [("tool", {**shown, "state": "running"}), ("tool", {**shown, "state": "done"})]
    assert "F000001" not in json.dumps(bench.told)


def test_a_tool_without_a_label_runs_unseen(bench):
    bench.label = ""
    bench.call(F1, belt=bench.another())
    assert bench.told == []
    assert len(bench.calls) == 1


def test_what_a_tool_shows_is_shown(bench):
    bench.does = lambda arguments: Result("ok", shows=(("suggestions", {"replies": ["Yes"]}),))
    bench.call(F1)
    assert bench.told[-1] == ("suggestions", {"replies": ["Yes"]})


# ---- faults ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"number": "12"}, "`number`: '12' does not match"),
        ({"number": 12}, "`number`: 12 is not of type 'string'"),
        ({}, "'number' is a required property"),
        ({**F1, "colour": "red"}, "'colour' was unexpected"),
        ({**F1, "items": [{"sku": 1}, {"sku": "x"}]}, "`items[1].sku`: 'x' is not of type 'integer'"),
        ("F000001", "not an object"),
        (None, "not an object"),
        ({"number": "x" * 20_000}, "more than"),
    ],
)
def test_arguments_that_do_not_fit_go_back_to_be_mended(bench, arguments, words):
    (result,) = bench.call(arguments)
    assert result["is_error"] is True
    assert words in result["content"]
    assert "call again" in result["content"]
    assert bench.calls == bench.told == []
    assert not bench.kept


def test_a_long_value_is_not_repeated(bench):
    (result,) = bench.call({"number": "x" * 5000})
    assert len(result["content"]) < 400


def test_a_schema_that_points_elsewhere_is_never_fetched(bench):
    with Place() as place:
        elsewhere = f"http://127.0.0.1:{place.plain.server_port}/schema.json"
        schema = {"type": "object", "properties": {"a": {"$ref": elsewhere}}}
        (result,) = bench.call({"a": 1}, belt=Belt([Tool("look", "", "", schema, bench._run)], tell=print))
    assert result["is_error"]
    assert bench.calls == place.heard == []


def test_an_unknown_tool_is_answered_with_those_there_are(bench):
    (result,) = bench.call({}, name="delete_everything")
    assert result["is_error"]
    assert "look" in result["content"]


def test_a_tool_that_breaks_fails_alone_and_tells_nothing_of_why(bench):
    def breaks(arguments):
        if arguments == F1:
            raise RuntimeError("password=hunter2")
        return Result("fine")

    bench.does = breaks
    broken, fine = bench.call(F1, F2)
    assert broken["is_error"]
    assert "hunter2" not in json.dumps([broken, bench.told])
    assert fine["content"] == "fine"
    assert sorted(bench.states) == ["done", "failed", "running", "running"]


def test_what_the_record_raises_comes_out(bench):
    class Lost(Exception): ...

    def loses(place, result):
        raise Lost

    bench._remember = loses
    with pytest.raises(Lost):
        bench.call(F1, belt=bench.another())
    assert bench.states == ["running"]


def test_there_is_an_end_to_rounds(bench):
    for n in range(ROUNDS):
        assert not bench.belt.spent
        bench.call({"number": f"F{n:06}"})
    assert bench.belt.spent
    (result,) = bench.call(F1)
    assert result["is_error"]
    assert len(bench.calls) == ROUNDS


def test_there_is_an_end_to_calls_in_one_round(bench):
    results = bench.call(*({"number": f"F{n:06}"} for n in range(AT_ONCE + 2)))
    assert [each.get("is_error", False) for each in results] == [False] * AT_ONCE + [True] * 2
    assert len(bench.calls) == AT_ONCE


def test_who_stops_the_turn_stops_its_calls(bench):
    ended = []

    def waits(arguments):
        try:
            gevent.sleep(5)
        finally:
            ended.append(arguments["number"])
        return Result("")

    bench.does = waits
    turn = gevent.spawn(bench.call, F1, F2)
    while len(bench.calls) < 2:
        gevent.sleep(0)
    turn.kill()
    gevent.sleep(0)
    assert sorted(ended) == ["F000001", "F000002"]
    assert not bench.kept


# ---- one call, once ----


def test_a_call_is_known_by_turn_tool_and_arguments_in_any_order(bench):
    bench.call({"number": "F000001", "items": []})
    (context,) = bench.contexts
    assert context == replace(CONTEXT, call=call_key("t_1", "look", {"items": [], "number": "F000001"}))
    assert len({call_key(*of) for of in [("t", "a", F1), ("u", "a", F1), ("t", "b", F1), ("t", "a", F2)]}) == 4


def test_the_same_call_twice_in_one_round_runs_once(bench):
    bench.does = lambda arguments: gevent.sleep(0.01) or Result("found")
    first, second = bench.call(F1, dict(F1))
    assert first["content"] == second["content"]
    assert [first["tool_use_id"], second["tool_use_id"]] == ["toolu_0", "toolu_1"]
    assert len(bench.calls) == 1


def test_who_takes_the_turn_over_uses_the_recorded_result(bench):
    bench.does = lambda arguments: Result([{"type": "search_result"}], shows=(("handoff", {"state": "asked"}),))
    first = bench.call(F1)
    bench.told.clear()
    assert bench.call(F1, belt=bench.another()) == first
    assert len(bench.calls) == 1
    assert [event for event, _ in bench.told] == ["tool", "handoff"]
    assert bench.states == ["done"]


def test_another_turn_runs_it_anew(bench):
    bench.call(F1)
    bench.call(F1, context=replace(CONTEXT, turn="t_2"))
    assert len(bench.calls) == 2


def test_a_failed_call_may_be_tried_again_and_a_takeover_goes_the_same_way(bench):
    outcomes = [Result.failed("Busy."), Result("found")]
    bench.does = lambda arguments: outcomes[len(bench.calls) - 1]
    went = [bench.call(F1)[0]["content"], bench.call(F1)[0]["content"]]
    assert went[1] == "found"
    assert len({context.call for context in bench.contexts}) == 1  # one Idempotency-Key for both
    taken_over = bench.another()
    assert [bench.call(F1, belt=taken_over)[0]["content"] for _ in went] == went
    assert len(bench.calls) == 2
