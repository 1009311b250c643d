"""The ledger: a row for every call, whatever dies; exact money; and its export."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from demo import Demo
from parlance.claude.models import Price, Usage
from parlance.errors import StoreUnavailable
from parlance.ledger import COLUMNS, LOST, Ledger, Row
from parlance.site import Model
from tests.house import FERN, MOSS, House, until

ROOT = Path(__file__).resolve().parent.parent
ROW = Row("u_1", "2026-11-20T10:00:00.000Z", "fern", "c_1", "t_1", "claude-sonnet-5-5", 1, output_tokens=5)


@pytest.fixture
def ledger(store, tmp_path):
    """`ledger("w_1")` is a worker's, on the folder that all of them share; none writes before it is told to."""
    made = []

    def of(worker: str) -> Ledger:
        made.append(Ledger(store, tmp_path / "spool", worker))
        return made[-1]

    yield of
    for each in made:
        each.stop()


def spools(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "spool").glob("*.jsonl"))


def away(*_):
    raise StoreUnavailable("away")


def test_it_keeps_a_row_as_it_was_recorded(ledger):
    book = ledger("w_1")
    book.record(ROW)
    assert book.waiting == 1
    book.flush()
    assert book.waiting == 0
    (row,) = book.rows("fern")
    assert Row(**row) == ROW
    assert list(row) == list(COLUMNS)
    assert list(book.rows("moss")) == []


def test_it_gives_rows_by_time_from_a_moment_on(ledger):
    book = ledger("w_1")
    times = [
        "2026-11-21T00:00:00.000Z",
        "2026-11-19T23:59:59.999Z",
        "2026-11-20T10:00:00.000Z",
        "2026-11-20T09:00:00.000Z",
    ]
    for i, at in enumerate(times):
        book.record(replace(ROW, call=f"u_{i}", at=at))
    book.flush()
    assert [row["at"] for row in book.rows("fern")] == sorted(times)
    assert [row["at"] for row in book.rows("fern", "2026-11-20")] == sorted(times)[1:]
    assert [row["at"] for row in book.rows("fern", "2026-11-20T10:00:00.000Z")] == sorted(times)[2:]


def test_it_gives_each_of_many_rows_once(ledger):
    book = ledger("w_1")
    for i in range(2500):
        book.record(replace(ROW, call=f"u_{i:05}"))
    book.flush()
    calls = [row["call"] for row in book.rows("fern")]
    assert calls == sorted({f"u_{i:05}" for i in range(2500)})


def test_writing_a_row_twice_changes_nothing(ledger):
    for worker in ("w_1", "w_2"):
        book = ledger(worker)
        book.record(ROW)
        book.flush()
    assert len(list(book.rows("fern"))) == 1


def test_what_a_worker_knew_itself_outranks_what_was_reckoned_for_it(ledger):
    book = ledger("w_1")
    exact = replace(ROW, cost_nano_usd=7, estimated=True, error_class="cancelled")
    lost = replace(ROW, cost_nano_usd=9, estimated=True, error_class=LOST)
    for order in ((exact, lost), (lost, exact)):
        for row in order:
            book.record(replace(row, call=f"u_{order[0].cost_nano_usd}"))
            book.flush()
    assert [row["cost_nano_usd"] for row in book.rows("fern")] == [7, 7]


# -- never lost --------------------------------------------------------------------------------------------------------


def test_a_row_is_on_disk_before_the_store_has_it_and_not_after(ledger, tmp_path):
    book = ledger("w_1")
    book.record(ROW)
    (spool,) = spools(tmp_path)
    assert Row.from_json(spool.read_text()) == ROW
    book.flush()
    assert spool.read_text() == ""
    book.stop()
    assert spools(tmp_path) == []


def test_rows_wait_while_the_store_is_away(ledger, tmp_path, monkeypatch):
    book = ledger("w_1")
    with monkeypatch.context() as outage:
        outage.setattr(book._store, "many", away)
        book.record(ROW)
        with pytest.raises(StoreUnavailable):
            book.flush()
        assert book.waiting == 1
        assert len(spools(tmp_path)[0].read_text().splitlines()) == 1
    book.start()
    until(lambda: not book.waiting)
    assert len(list(book.rows("fern"))) == 1


def test_the_next_worker_writes_what_a_killed_one_left(ledger, store, tmp_path):
    """A process of its own records rows that no store takes, and is killed in the middle of a line."""
    program = f"""
from gevent import monkey; monkey.patch_all()
import signal, os
from pathlib import Path
from parlance.ledger import Ledger, Row
book = Ledger(None, Path({str(tmp_path / "spool")!r}), "w_dead")
for i in range(3):
    book.record(Row(f"u_{{i}}", "2026-11-20T10:00:00.000Z", "fern", "c_1", "t_1", "m", 1, cost_nano_usd=i))
book._file.write('{{"call": "u_half", "at": "2026-')
book._file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", program], cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    book = ledger("w_next")
    book.start()
    until(lambda: not spools(tmp_path))
    assert [(row["call"], row["cost_nano_usd"]) for row in book.rows("fern")] == [("u_0", 0), ("u_1", 1), ("u_2", 2)]


def test_a_living_workers_rows_are_left_to_it(ledger, tmp_path):
    one, other = ledger("w_1"), ledger("w_2")
    one.record(ROW)
    other._adopt()
    assert list(other.rows("fern")) == []
    assert len(spools(tmp_path)) == 1
    one.flush()
    assert len(list(other.rows("fern"))) == 1


def test_a_spool_that_was_taken_for_a_dead_ones_is_made_again(ledger, tmp_path, monkeypatch):
    """Another worker may remove the file in the moment before it is locked."""
    real, removed = fcntl.flock, []

    def late(file, how):
        if not removed:
            removed.append(spools(tmp_path)[0].unlink())
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    ledger("w_1").record(ROW)
    assert removed
    assert Row.from_json(spools(tmp_path)[0].read_text()) == ROW


def test_a_row_of_an_older_release_is_still_read():
    old = {name: value for name, value in json.loads(ROW.to_json()).items() if name != "estimated"}
    assert Row.from_json(json.dumps(old | {"gone": 1})) == ROW


# -- money -------------------------------------------------------------------------------------------------------------


def test_cache_tokens_are_not_counted_twice():
    """The case that others got wrong for years: 3 in, 12,304 written to the cache, 550 out at 3/3.75/15 $ a million."""
    import datetime

    price = Price(datetime.date(2026, 1, 1), None, input=3000, output=15_000, write_5m=3750, write_1h=6000, read=300)
    assert price.cost(Usage(input=3, write_5m=12_304, output=550)) == 54_399_000  # $0.054399


def test_every_answer_is_booked_with_what_the_provider_counted(settings, store):
    with House(settings, store.url) as house:
        ann = house.visitor()
        ann.ask().all()
        ann.ask("And where is the shop?").all()
        calls, rows = list(house.demo.calls), house.rows()
        assert len(rows) == len(calls) == 2
        for call, row in zip(calls, rows, strict=True):
            usage = call.usage
            assert row["upstream_request_id"] == call.id
            assert row["input_tokens"] == usage["input_tokens"]
            assert row["cache_write_5m_tokens"] == usage["cache_creation_input_tokens"]
            assert row["cache_read_tokens"] == usage["cache_read_input_tokens"]
            assert row["output_tokens"] == usage["output_tokens"]
            assert (row["stop_reason"], row["error_class"], row["retries"], row["estimated"]) == (
                "end_turn",
                "",
                0,
                False,
            )
            assert (row["conversation"], row["voice_version"]) == (ann.conversation, 1)
        assert rows[1]["cache_read_tokens"] > 0
        assert rows[0]["cost_nano_usd"] == 2500 * rows[0]["cache_write_5m_tokens"] + 10_000 * rows[0]["output_tokens"]


def test_what_was_cancelled_is_booked_too(settings, store):
    with House(settings, store.url, upstream=Demo(pace_s=0.01)) as house:
        house.demo.script.add(text="word " * 1000)
        ann = house.visitor()
        stream = ann.ask()
        stream.until("text", 3)
        ann.call("POST", f"/v1/turns/{stream.turn}/cancel")
        stream.all()
        (row,) = house.rows()
        assert (row["error_class"], row["estimated"]) == ("cancelled", True)
        assert row["output_tokens"] >= len(stream.text) // 3
        assert row["cost_nano_usd"] > 0


# -- export ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def booked(settings, store):
    """A house whose two sites have three rows between them, and its command line."""
    with House(settings, store.url) as house:
        house.visitor().ask().all()
        house.visitor().ask().all()
        house.services.sites.apply([replace(MOSS, model=Model(tier="cheap"))])
        house.visitor(MOSS).ask().all()
        until(lambda: len(house.rows()) == 2 and len(house.rows(MOSS)) == 1)
        runner = house.app.test_cli_runner()
        yield house, lambda *words: runner.invoke(args=["ledger", "export", *words])


def test_it_exports_a_line_of_json_for_each_row(booked):
    house, run = booked
    lines = [json.loads(line) for line in run().stdout.splitlines()]
    assert lines == house.rows(FERN) + house.rows(MOSS)


def test_it_exports_a_table(booked):
    house, run = booked
    table = list(csv.DictReader(io.StringIO(run("--format", "csv").stdout)))
    assert [row["call"] for row in table] == [row["call"] for row in house.rows(FERN) + house.rows(MOSS)]
    assert tuple(table[0]) == COLUMNS
    assert int(table[0]["cost_nano_usd"]) == house.rows()[0]["cost_nano_usd"]
    assert not [cell for row in table for name, cell in row.items() if cell[:1] in "=+@" and cell]


def test_it_exports_one_site_and_from_a_moment_on(booked):
    house, run = booked
    assert len(run("--site", "moss").stdout.splitlines()) == 1
    second = house.rows()[1]["at"]
    assert [json.loads(line)["at"] for line in run("--site", "fern", "--since", second).stdout.splitlines()] == [second]
    assert len(run("--since", "2020-01-01").stdout.splitlines()) == 3
    assert run("--since", "2100-01-01T00:00:00+02:00").stdout == ""


@pytest.mark.parametrize("words", [("--site", "nosuch"), ("--since", "yesterday"), ("--format", "xml")])
def test_it_says_what_it_cannot_export(booked, words):
    result = booked[1](*words)
    assert result.exit_code != 0
    assert words[1] in result.stderr
    assert "Traceback" not in result.stderr
