"""Site files: read with every mistake named by file and line, and written so that reading gives the same site again.

An export stands alone: knowledge that came from a file is written with its text, and keeps the file's name in `file` as
a remark. Where an entry has both, the text counts; reading warns if the file is there and says something else by now.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from parlance.errors import Mistake, SiteFileError
from parlance.site import Site
from parlance.sites import form, knowledge, yamltext
from parlance.sites.rules import TRUSTING, Rules

FILE_BYTES = 16 << 20

_STEPS = re.compile(r"[^.\[\]]+")
_YAML_1_1 = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What files say, in their order, and what their operator had better look at."""

    sites: list[Site] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)


def read(paths: Iterable[str | Path], rules: Rules = TRUSTING) -> Reading:
    """The sites in these files, one each. Raises SiteFileError with all the mistakes of all of them."""
    files = [_File(Path(path), rules) for path in paths]
    mistakes = [mistake for file in files for mistake in file.mistakes] + _twice(files)
    if mistakes:
        raise SiteFileError(mistakes)
    return Reading(
        [file.site for file in files if file.site is not None],
        [warning for file in files for warning in file.warnings],
    )


def write(site: Site) -> str:
    """A site as a site file."""
    out = io.StringIO()
    yaml = YAML()
    yaml.width, yaml.allow_unicode = 1 << 30, True  # never fold: a folded text may lose or gain spaces
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(_styled(form.write(site)), out)
    return out.getvalue()


class _File:
    """One file: its site, or its mistakes."""

    def __init__(self, path: Path, rules: Rules) -> None:
        self.name = str(path)
        self.site: Site | None = None
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []
        self._folder = path.parent
        self._entries: list[int] = []  # which entry of the file a passage comes from: a folder's are many
        self._text = yamltext.Text("")
        try:
            self._text = yamltext.Text(_decoded(path))
        except (OSError, ValueError) as error:
            self.mistakes.append(Mistake(self.name, 1, "", _unreadable(error)))
        else:
            self._read(rules)

    def _read(self, rules: Rules) -> None:
        for line, path, message in self._text.mistakes:
            self.mistakes.append(Mistake(self.name, line, _dotted(path), message))
        if self._text.value is None and self.mistakes:
            return
        self.site, problems = form.read(self._with_texts(self._text.value), rules)
        self._note(problems)
        if self.site is not None:
            self._warn((tuple(_STEPS.findall(where)), message) for where, message in rules.warnings(self.site))

    def _note(self, problems: Iterable[form.Problem]) -> None:
        for path, message in problems:
            mistake = self.at(path, message)
            if mistake not in self.mistakes:
                self.mistakes.append(mistake)
        self.mistakes.sort(key=lambda mistake: mistake.line)

    def _warn(self, problems: Iterable[form.Problem]) -> None:
        self.warnings += [self.at(path, message) for path, message in problems]

    def at(self, path: form.Path, message: str) -> Mistake:
        if path[:1] == ("knowledge",) and len(path) > 1 and int(path[1]) < len(self._entries):
            path = ("knowledge", str(self._entries[int(path[1])]), *path[2:])
        return Mistake(self.name, self._text.line(path), _dotted(path), message)

    def _with_texts(self, value: Any) -> Any:
        """The file's settings, with the texts of the files that its knowledge names."""
        entries = value.get("knowledge") if isinstance(value, Mapping) else None
        if not isinstance(entries, list):
            return value
        passages: list[Any] = []
        for number, entry in enumerate(entries):
            found = self._passages(number, entry)
            self._entries += [number] * len(found)
            passages += found
        return {**value, "knowledge": passages}

    def _passages(self, number: int, entry: Any) -> Sequence[Any]:
        path = ("knowledge", str(number))
        if not isinstance(entry, Mapping) or not isinstance(entry.get("file"), str | None):
            return [entry]
        if "text" in entry:
            self._warn(self._changed(path, entry))
            return [entry]
        if entry.get("file") is None:
            self._note([(path, "has neither `text` nor `file`; give it one of the two")])
            return []
        found, mistakes = knowledge.expand(entry, self._folder)
        self._note([((*path, "file"), mistake) for mistake in mistakes])
        return found

    def _changed(self, path: form.Path, entry: Mapping[str, Any]) -> Iterator[form.Problem]:
        if isinstance(entry.get("file"), str):
            found, _ = knowledge.expand(entry, self._folder)
            if len(found) == 1 and found[0]["text"] != entry["text"]:
                yield (*path, "file"), "the file differs from `text`, and `text` counts; remove one of the two"


def _decoded(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(FILE_BYTES + 1)
    if len(raw) > FILE_BYTES:
        raise ValueError(f"is larger than {FILE_BYTES >> 20} MiB; put long texts into files of their own")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 (byte {error.start}, line {line}); save it as UTF-8") from error


def _unreadable(error: Exception) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _twice(files: Sequence[_File]) -> list[Mistake]:
    """Two files for one site: whichever came last would win."""
    first: dict[str, str] = {}
    return [
        file.at(("key",), f"`{file.site.key}` is the site of {first[file.site.key]} already")
        for file in files
        if file.site is not None and first.setdefault(file.site.key, file.name) != file.name
    ]


def _dotted(path: form.Path) -> str:
    """`("tools", "0", "http", "url")` as `tools[0].http.url`."""
    return "".join(f"[{step}]" if step.isdecimal() else f".{step}" for step in path).lstrip(".")


def _styled(value: Any) -> Any:
    """Long texts as blocks that a person can edit, where a block keeps them as they are; the rest as it comes."""
    if isinstance(value, dict):
        return {_styled(name): _styled(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_styled(each) for each in value]
    if not isinstance(value, str):
        return value
    if _fits_a_block(value):
        return LiteralScalarString(value)
    return DoubleQuotedScalarString(value) if _needs_quotes(value) else value


def _fits_a_block(text: str) -> bool:
    lines = text.split("\n")
    return len(lines) > 1 and all(line == line.rstrip() and line.replace("\t", "").isprintable() for line in lines)


def _needs_quotes(text: str) -> bool:
    """What other readers of YAML, or a block's indentation, could take for something else than this very text."""
    return text.lower() in _YAML_1_1 or not text.isprintable() or text != text.strip()
