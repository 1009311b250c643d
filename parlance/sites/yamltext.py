"""YAML 1.2 read into plain values, with the line of everything.

Made of ruamel.yaml's events and not of its loaders: those stop at the first mistake, read what YAML 1.1 meant when a
`%YAML` line asks for it, and copy aliases without a limit. The values are those of the core schema: `no` is a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError

Path = tuple[str, ...]

DEPTH = 40
WEIGHT = 40_000_000  # an entry weighs 200 and its characters; a site's texts fit, what aliases multiply does not
NODE = 200

_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"(?:null|Null|NULL|~|)"), lambda text: None),
    (re.compile(r"(?:true|True|TRUE)"), lambda text: True),
    (re.compile(r"(?:false|False|FALSE)"), lambda text: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"0o[0-7]{1,20}"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,15}"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)"), lambda text: float(text.replace(".", "", 1))),
    (re.compile(r"\.(?:nan|NaN|NAN)"), lambda text: float("nan")),
)
_TAGS = frozenset("tag:yaml.org,2002:" + kind for kind in ("str", "map", "seq"))
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_BROKEN = re.compile("[\0\ud800-\udfff]")


class Text:
    """One YAML document, read: its `value`, the `lines` of its paths, its `mistakes` as (line, path, message)."""

    def __init__(self, text: str) -> None:
        self.value: Any = None
        self.lines: dict[Path, int] = {}
        self.mistakes: list[tuple[int, Path, str]] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._weight = 0
        self._events: Iterator[Any] = iter(())
        try:
            self._read(text)
        except _Stop as stop:
            self.mistakes.append((stop.line, (), str(stop)))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.mistakes.append((mark.line + 1 if mark else 1, (), _syntax(error)))
        except (YAMLError, ValueError, OverflowError) as error:
            line = text.count("\n", 0, getattr(error, "position", 0)) + 1
            self.mistakes.append((line, (), f"is not YAML: {str(error).splitlines()[0]}"))

    def line(self, path: Path) -> int:
        """The line of a path, or of the nearest thing around it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def _read(self, text: str) -> None:
        self._events = iter(YAML(typ="safe", pure=True).parse(text))
        for event in self._events:
            if isinstance(event, ev.DocumentStartEvent):
                break
        else:
            raise _Stop(1, "the file is empty")
        self.value = self._node(next(self._events), ())
        next(self._events)
        if isinstance(following := next(self._events), ev.DocumentStartEvent):
            raise _Stop(_line(following), "a second document begins here; a site file holds one site")

    def _node(self, event: Any, path: Path) -> Any:
        self.lines.setdefault(path, _line(event))
        if len(path) > DEPTH:
            raise _Stop(_line(event), f"nests deeper than {DEPTH} levels")
        if isinstance(event, ev.AliasEvent):
            return self._alias(event)
        before = self._weight
        value = self._content(event, path)
        self._weigh(event, NODE)
        if event.anchor:
            self._anchors[event.anchor] = value, self._weight - before
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise _Stop(_line(event), f"there is no `&{event.anchor}` before this `*{event.anchor}`")
        value, weight = self._anchors[event.anchor]
        self._weigh(event, weight)
        return value

    def _weigh(self, event: Any, weight: int) -> None:
        self._weight += weight
        if self._weight > WEIGHT:
            raise _Stop(_line(event), "the file grows too large here; put long texts into files of their own")

    def _content(self, event: Any, path: Path) -> Any:
        if event.tag is not None and str(event.tag) not in _TAGS:
            self._mistake(event, path, f"`{event.tag}`: site files hold plain values, no tags")
        if isinstance(event, ev.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, ev.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path)

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), ev.MappingEndEvent):
            name = self._name(event, path)
            here = (*path, name)
            if name in found:
                self._mistake(event, here, f"`{name}` is set twice; line {self.lines[here]} has it already")
            self.lines.setdefault(here, _line(event))
            value = self._node(next(self._events), here)
            found.setdefault(name, value)
        return found

    def _name(self, event: Any, path: Path) -> str:
        if not isinstance(event, ev.ScalarEvent):
            raise _Stop(_line(event), "a name is a text; quote it if it begins with one of { [ * &")
        if event.value == "<<" and event.implicit[0]:
            self._mistake(event, (*path, "<<"), "`<<` is not part of YAML 1.2; write the settings out")
        return self._whole(event, path)

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), ev.SequenceEndEvent):
            found.append(self._node(event, (*path, str(len(found)))))
        return found

    def _scalar(self, event: Any, path: Path) -> Any:
        text = self._whole(event, path)
        self._weigh(event, len(text))
        if not event.implicit[0]:
            return text
        return next((read(text) for pattern, read in _CORE if pattern.fullmatch(text)), text)

    def _whole(self, event: Any, path: Path) -> str:
        """A scalar's text. JSON escapes what lies beyond U+FFFF as two halves, which belong together."""
        text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), str(event.value))
        if _BROKEN.search(text):
            self._mistake(event, path, "holds a NUL or half of a surrogate pair, which no text may")
            return _BROKEN.sub("\ufffd", text)
        return text

    def _mistake(self, event: Any, path: Path, message: str) -> None:
        self.mistakes.append((_line(event), path, message))


class _Stop(Exception):
    """Something after which the rest of a file makes no sense."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _syntax(error: MarkedYAMLError) -> str:
    if "\\t" in repr(error.problem):
        return "is not YAML: a tab cannot indent; use spaces"
    context = f" {error.context}," if error.context else ""
    return f"is not YAML:{context} {error.problem or 'it breaks off here'}"
