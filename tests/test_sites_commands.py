"""`flask sites`: what it prints where, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from flask import Flask

from blueprints import cli
from parlance.errors import StoreUnavailable
from parlance.sites.library import Library
from parlance.sites.rules import Rules
from parlance.store.client import Store
from parlance.voice import lint

FERN = "key: fern\nname: Fern\norigins: [https://fern.example]\n"
RULES = Rules(models={"standard": 8000, "cheap": 8000}.get, volatile=lint.refusal, warnings=lint.warnings)

Run = Callable[..., Result]


class NoStore:
    def do(self, *command: object) -> object:
        raise StoreUnavailable("Redis did not answer")

    many = do


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "fern.yaml"
    path.write_text(FERN)
    return path


@pytest.fixture
def run_on() -> Callable[[object], Run]:
    def on(store: object) -> Run:
        app = Flask(__name__)
        app.extensions["parlance"] = SimpleNamespace(sites=Library(store, RULES))  # type: ignore[arg-type]
        cli.register(app)
        return lambda *words: app.test_cli_runner().invoke(args=["sites", *map(str, words)])

    return on


@pytest.fixture
def run(run_on: Callable[[object], Run], store: Store) -> Run:
    return run_on(store)


def test_it_applies_and_says_what_changed(run: Run, site_file: Path) -> None:
    assert run("apply", site_file).stdout == "fern: created, version 1\n"
    assert run("apply", site_file).stdout == "fern: unchanged, version 1\n"
    site_file.write_text(FERN + "locale: de\nlimits: {message_chars: 99}\n")
    done = run("apply", "-m", "German now", site_file)
    assert (done.stdout, done.exit_code) == ("fern: version 2, changed: locale, limits\n", 0)


def test_it_applies_an_export_without_a_change(run: Run, site_file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\nText.\n")
    site_file.write_text(FERN + "knowledge: [{file: a.md}]\nmodel: {fallback: []}\nvoice: {tone: ['no', '1']}\n")
    run("apply", site_file)
    (tmp_path / "a.md").unlink()
    export = tmp_path / "export.yaml"
    export.write_text(run("export", "fern").stdout)
    assert run("apply", export).stdout == "fern: unchanged, version 1\n"
    assert run("export", "fern").stdout == export.read_text()


def test_it_lists_every_site(run: Run, site_file: Path) -> None:
    run("apply", site_file)
    assert run("list").stdout == "fern\tversion 1\tFern\thttps://fern.example\n"


def test_it_checks_without_a_store(run_on: Callable[[object], Run], site_file: Path) -> None:
    done = run_on(NoStore())("check", site_file)
    assert (done.stdout, done.stderr, done.exit_code) == (f"{site_file}: fern is in order\n", "", 0)


def test_it_names_every_mistake_on_standard_error(
    run_on: Callable[[object], Run], site_file: Path, tmp_path: Path
) -> None:
    site_file.write_text(FERN + "locale: german\nvoice: {persona: 'It is {date}.'}\nmodel: {tier: gpt}\n")
    done = run_on(NoStore())("check", site_file, tmp_path / "none.yaml")
    assert (done.stdout, done.exit_code) == ("", 1)
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in lines] == [
        "fern.yaml:4",
        "fern.yaml:5",
        "fern.yaml:6",
        "none.yaml:1",
        "Error",
    ]
    assert lines[-1] == "Error: 4 mistakes; nothing was applied."


def test_it_applies_nothing_if_one_file_has_a_mistake(run: Run, site_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("key: bad\n")
    assert run("apply", site_file, tmp_path / "bad.yaml").exit_code == 1
    assert run("list").stdout == ""


def test_it_warns_and_goes_on(run: Run, site_file: Path) -> None:
    site_file.write_text(FERN + "voice: {context: Today is Monday.}\n")
    for command in ("check", "apply"):
        done = run(command, site_file)
        assert done.exit_code == 0
        assert f"{site_file}:4: voice.context: `Today is` will be wrong tomorrow" in done.stderr
        assert "(warning)" in done.stderr


def test_it_says_which_sites_there_are_not(run: Run) -> None:
    done = run("export", "fern")
    assert (done.stdout, done.exit_code) == ("", 1)
    assert "there is no site 'fern'" in done.stderr


@pytest.mark.parametrize("words", [("list",), ("export", "fern")])
def test_it_says_that_the_store_is_away(run_on: Callable[[object], Run], words: tuple[str, ...]) -> None:
    done = run_on(NoStore())(*words)
    assert done.exit_code == 1
    assert "Redis did not answer" in done.stderr
    assert "Traceback" not in done.output


def test_it_wants_a_file(run: Run) -> None:
    assert run("apply").exit_code == 2
