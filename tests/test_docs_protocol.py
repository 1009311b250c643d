"""docs/protocol.md is whole and true: codes, events, fields and calls are those of the code, and its session works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from flask import Flask
from test_serve import Run, serve  # noqa: F401 - a fixture

from blueprints.schemas import FeedbackSchema, MessageSchema, PageSchema, SessionSchema
from blueprints.visitor import visitor
from parlance import errors, events, phrases

TEXT = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text("utf-8")
SESSION = "\n".join(re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
CALL = re.compile(r"\$CHAT(/v1/[^ ]+)[^\n]* --json '(\{.*?\})'(?= \||$|\))", re.MULTILINE | re.DOTALL)
SCHEMAS = {"sessions": SessionSchema, "messages": MessageSchema, "feedback": FeedbackSchema}


def rows(first: str, after: str = "") -> dict[str, list[str]]:
    """The rows of the first table headed `first` after some words: its other cells by the name in backticks."""
    text = TEXT[TEXT.index(after) :]
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def refusals() -> dict[str, int]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Refusal)]
    return {kind.code: kind.status for kind in kinds}


def bodies() -> list[tuple[str, dict]]:
    """Last word of the path and body, of each call of the session that has one."""
    calls = [(path.rpartition("/")[2], body.replace("'$CONVERSATION'", "c_1")) for path, body in CALL.findall(SESSION)]
    return [(name, json.loads(body)) for name, body in calls]


def test_every_refusal_is_documented_with_its_status_and_no_other():
    assert {code: int(status) for code, (status, *_) in rows("code").items()} == refusals()


def test_every_event_is_documented_and_no_other():
    assert tuple(rows("event")) == events.ALL


def test_every_code_of_the_error_event_is_documented_and_no_other():
    documented = set(rows("code of `error`"))
    spoken = {code for code in phrases.CODES if code not in refusals()} | {"unavailable"}
    assert documented == spoken


def test_every_call_is_documented_and_no_other():
    app = Flask("doors", static_folder=None)
    app.register_blueprint(visitor)
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    documented = {tuple(call.split(" ")) for call in rows("call")}
    assert documented - served == {("GET", "/widget.js"), ("WS", "/v1/live")}
    assert served <= documented


@pytest.mark.parametrize(("heading", "schema"), [("### Sessions", SessionSchema), ("### Messages", MessageSchema)])
def test_every_field_is_documented_and_no_other(heading, schema):
    documented = {name: needed == "needed" for name, (needed, _) in rows("field", heading).items()}
    assert documented == {name: field.required for name, field in schema().fields.items()}
    assert {"url", "title"} == set(PageSchema().fields)


def test_the_bodies_of_the_session_are_accepted_but_for_the_one_that_is_not_to_be():
    faults = [SCHEMAS[name]().validate(body) for name, body in bodies()]
    assert [name for name, _ in bodies()] == ["sessions", "messages", "messages", "feedback", "feedback"]
    assert faults == [{}, {}, {}, {}, {"locale": ["Unknown field."]}]


def test_every_call_of_the_session_has_its_body_checked():
    assert SESSION.count("--json") == len(bodies())


@pytest.mark.skipif(not shutil.which("curl"), reason="the session is one of curl's")
def test_the_session_works_as_it_stands(serve, tmp_path):  # noqa: F811
    run: Run = serve().up()
    script = SESSION.replace("127.0.0.1:8000", f"127.0.0.1:{run.port}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Puddle Lane" in done.stdout
    assert done.stdout.count("event: start") == 1  # not in what came after the first event
    assert done.stdout.count("event: done") == 2
    assert re.search(r'"state": ?"complete"', done.stdout.split("event: done")[-1])
    assert "**You**" in done.stdout
    assert '"code": "invalid_request"' in done.stdout
    assert re.search(r'"messages": ?2', done.stdout)
