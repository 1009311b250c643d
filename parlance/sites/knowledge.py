"""The texts beside a site file: a file, or all files of a folder, as entries with their text.

Markdown and plain text are taken as they stand, HTML as its text with headings and list items marked as in Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

KINDS = (".md", ".txt", ".html")
FILE_BYTES = 4 << 20

_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def expand(entry: Mapping[str, Any], folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The passages that an entry with `file` stands for, and what is wrong; `folder` is the site file's own."""
    try:
        path = _beside(str(entry["file"]), folder)
        if path.is_file():
            return _all([(entry, path)])
        if not path.is_dir():
            return [], [f"there is no file or folder `{entry['file']}` beside the site file"]
        found = list(_texts(path, folder))
    except (OSError, ValueError) as error:
        return [], [_lesson(error)]
    if not found:
        kinds = ", ".join("*" + kind for kind in KINDS)
        return [], [f"there is no text in the folder `{entry['file']}`; it takes {kinds}"]
    return _all([(_of_a_folder(entry, each, path, folder), each) for each in found])


def read(path: Path) -> tuple[str, str]:
    """Title and text of one file."""
    text = _decoded(path)
    if path.suffix.lower() in (".html", ".htm"):
        page = _Page(text)
        return page.title or _first_heading(page.text) or _spoken(path), page.text
    return (_first_heading(text) if path.suffix.lower() == ".md" else "") or _spoken(path), text


def _beside(name: str, folder: Path) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"`{name}` leads out of the site file's own folder; keep its texts beside it")
    return path


def _texts(path: Path, folder: Path) -> Iterator[Path]:
    for each in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in each.relative_to(path).parts)
        if each.suffix.lower() in KINDS and each.is_file() and not hidden:
            yield _beside(str(each), folder)


def _all(files: Sequence[tuple[Mapping[str, Any], Path]]) -> tuple[list[dict[str, Any]], list[str]]:
    passages, mistakes = [], []
    for entry, path in files:
        try:
            passages.append(_passage(entry, path))
        except (OSError, ValueError) as error:
            mistakes.append(_lesson(error))
    return passages, mistakes


def _passage(entry: Mapping[str, Any], path: Path) -> dict[str, Any]:
    title, text = read(path)
    if not text.strip():
        raise ValueError(f"`{path.name}` holds no text")
    return {"title": title, **entry, "text": text}


def _of_a_folder(entry: Mapping[str, Any], path: Path, below: Path, folder: Path) -> dict[str, Any]:
    """The entry as if it named this one file: its own address, and its own title behind the folder's."""
    own = {**entry, "file": path.relative_to(folder.resolve()).as_posix()}
    if "url" in entry:
        own["url"] = _address(entry["url"], path.relative_to(below))
    if "title" in entry:
        own["title"] = f"{entry['title']}: {_spoken(path)}"
    return own


def _lesson(error: Exception) -> str:
    return f"`{error.filename}` cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _address(base: Any, below: Path) -> Any:
    """Where a folder's file is published: its name below the base address, Markdown and text without their ending."""
    if not isinstance(base, str):
        return base
    page = below if below.suffix.lower() == ".html" else below.with_suffix("")
    path = page.parent.as_posix() if page.stem == "index" else page.as_posix()
    return base.rstrip("/") + ("" if path == "." else "/" + path.replace(" ", "%20"))


def _decoded(path: Path) -> str:
    if path.stat().st_size > FILE_BYTES:
        raise ValueError(f"`{path.name}` is larger than {FILE_BYTES >> 20} MiB; split it")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path.name}` is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _first_heading(text: str) -> str:
    found = _HEADING.search(_FENCED.sub("", text))
    return found[1].strip()[:300] if found else ""


def _spoken(path: Path) -> str:
    """`delivery-and-returns.md` is called "Delivery and returns"."""
    words = re.sub(r"[-_\s]+", " ", path.stem).strip() or path.name
    return words[:1].upper() + words[1:]


class _Page(HTMLParser):
    """The text that a reader of a page sees."""

    _SILENT = frozenset({"script", "style", "noscript", "template", "svg", "title", "iframe", "object"})
    _INLINE = frozenset(
        {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "dfn", "em", "i", "kbd", "mark", "q", "s", "samp"}
        | {"small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr"}
    )
    _HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self._silent: list[str] = []
        self._words: list[str] = []
        self._title: list[str] = []
        self.feed(html)
        self.close()
        self.title = " ".join("".join(self._title).split())[:300]
        lines = (" ".join(line.split()) for line in "".join(self._words).split("\n"))
        self.text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._SILENT:
            self._silent.append(tag)
        elif tag in self._HEADINGS:
            self._words.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag == "li":
            self._words.append("\n- ")
        elif tag not in self._INLINE:
            self._words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            while self._silent.pop() != tag:
                pass
        elif tag in self._HEADINGS:
            self._words.append("\n\n")
        elif tag not in self._INLINE:
            self._words.append("\n")

    def handle_data(self, data: str) -> None:
        if "title" in self._silent:
            self._title.append(data)
        elif not self._silent:
            self._words.append(data.replace("\n", " "))
