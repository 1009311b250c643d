"""The documents are true: links lead somewhere, and every setting, metric and command is written down, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from parlance.observe.metrics import Metrics
from parlance.settings import read

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"^    (\w+): .*# ([A-Z][A-Z_]+)", re.MULTILINE)
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def broken_links(document: Path) -> list[str]:
    """The links of a document that lead nowhere: to no file, to no heading, to no such name in a Python file."""
    found = []
    for words, target in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        path, _, heading = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        if not file.exists():
            found.append(f"{target}: no such file")
        elif heading and heading not in headings(file):
            found.append(f"{target}: no such heading")
        elif file.suffix == ".py" and (name := named(words, file)) and name not in defined(file):
            found.append(f"{target}: defines no {name}")
    return found


def named(words: str, file: Path) -> str | None:
    """What a link like `[turns.begin](../parlance/turns.py)` says the file defines: `begin`. None for a mere path."""
    words = words.strip("`").removesuffix("()")
    if "/" in words or words.endswith(".py") or not FUNCTION.fullmatch(words):
        return None
    return words.removeprefix(file.stem + ".") if words != file.stem else None


def defined(file: Path) -> set[str]:
    """Functions, classes, methods as `Class.method`, and names set at the top of a Python file."""
    names = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def headings(file: Path) -> set[str]:
    """Anchors as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", file.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def table(document: str, first: str) -> dict[str, list[str]]:
    """The rows of the table whose first column is headed `first`: its other cells by the name in backticks."""
    text = (ROOT / "docs" / document).read_text("utf-8")
    rows = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))] for row in rows]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    assert broken_links(document) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "turns.py").write_text("LIMIT = 1\ndef begin(): ...\nclass Turn:\n    def run(self): ...\n")
    (tmp_path / "a.md").write_text("# One & two\n```\n[not](a-link)\n```\n[top](#one--two) [x](https://example.com)")
    good = ("[turns.begin](turns.py)", "[`Turn.run()`](turns.py)", "[the turn, in words](turns.py)", "[a](a.md)")
    (tmp_path / "good.md").write_text(" ".join(good))
    assert broken_links(tmp_path / "a.md") == broken_links(tmp_path / "good.md") == []
    (tmp_path / "bad.md").write_text("[a](gone.py) [turns.end](turns.py) [Turn.stop](turns.py) [b](a.md#three)")
    assert [fault.split(": ")[1] for fault in broken_links(tmp_path / "bad.md")] == [
        "no such file",
        "defines no end",
        "defines no Turn.stop",
        "no such heading",
    ]


def test_every_setting_is_documented_and_no_other():
    source = (ROOT / "parlance" / "settings.py").read_text("utf-8")
    names = {name for _, name in SETTING.findall(source)}
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert names <= strings, "a comment of settings.py names a variable that is not read"
    assert set(table("settings.md", "variable")) == names


def test_every_default_is_documented_as_it_is():
    fields = {name: field for field, name in SETTING.findall((ROOT / "parlance" / "settings.py").read_text("utf-8"))}
    settings = read({})
    for name, (default, *_) in table("settings.md", "variable").items():
        assert default.strip("`") == as_typed(getattr(settings, fields[name])), name


def as_typed(value: object) -> str:
    """A setting as one would write it in the environment."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    return f"{value:g}" if isinstance(value, (bool, float)) else str(value)


def test_every_metric_is_documented_and_no_other_with_its_kind_and_labels():
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, (kind, labels, *_) in table("operating.md", "metric").items()
    }
    metrics = [value for value in vars(Metrics()).values() if hasattr(value, "_labelnames")]
    counted = {
        metric._name + ("_total" if metric._type == "counter" else ""): (metric._type, set(metric._labelnames))
        for metric in metrics
    }
    assert documented == counted


def test_every_command_that_the_readme_gives_is_one_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    given = set(re.findall(r"\bmake ([a-z]+)", "".join(FENCE.findall((ROOT / "README.md").read_text("utf-8")))))
    given |= set(re.findall(r"`make ([a-z]+)`", "".join(path.read_text("utf-8") for path in DOCUMENTS)))
    assert {"run", "test", "check", "bench"} <= given <= targets
