"""The widget's files as the browser gets them: joined, minified and compressed once, at start, and held in memory.

They are plain ES modules. The panel's are sent as one, in the order of their imports: a dozen small files compress a
sixth worse than one, and ask a dozen times. What a visitor needs only sometimes, such as a language, stays a file of
its own. All live under a folder named by the hash of them all, so they may be cached for ever; the loader, whose
address never changes, names that folder.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import brotli
import minify

LOADER, PANEL = "loader.js", "panel.js"
APART = "words/"  # below here every file is sent by itself
_IMPORT = re.compile(r"^import .* from '\./([\w/]+\.js)';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) ?\*? ?(\w+))", re.MULTILINE)
_DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let) ?\*? ?(\w+)", re.MULTILINE)
_STYLES = re.compile(r"/\* css \*/ `([^`]*)`")
_LAUNCHER = re.compile(r"^  launcher: '([^'\\]+)',$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file in every encoding, by its name in Accept-Encoding; `identity` is the file itself."""

    encodings: Mapping[str, bytes]
    etag: str

    @classmethod
    def of(cls, text: str) -> Asset:
        body = text.encode()
        encodings = {
            "br": brotli.compress(body, mode=brotli.MODE_TEXT, quality=11),
            "gzip": gzip.compress(body, 9, mtime=0),
            "identity": body,
        }
        return cls(encodings, hashlib.sha256(body).hexdigest()[:16])


class Assets:
    """`loader` is what GET /widget.js answers; `modules` are the rest, by their path below `/widget/<version>/`."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.rglob("*.js"))
        sources = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}
        sent = {path: source for path, source in sources.items() if path.startswith(APART)}
        sent[PANEL] = joined(sources, PANEL)
        texts = {path: minified(source) for path, source in sent.items()}
        self.version = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]
        self.modules = {path: Asset.of(text) for path, text in texts.items()}
        self.loader = Asset.of(minified(_filled(sources[LOADER], self.version, _launchers(sources))))


def joined(sources: Mapping[str, str], entry: str) -> str:
    """The module `entry` with all that it imports, as one module that exports what `entry` does.

    A scope of their own lets the minifier shorten the names that the modules share. Raises ValueError where two of
    them declare the same one.
    """
    order = _in_order(sources, entry)
    declared: dict[str, str] = {}
    for path in order:
        for name in _DECLARED.findall(sources[path]):
            if name in declared:
                raise ValueError(
                    f"static/widget/{declared[name]} and {path} both declare {name}: as one module they clash."
                )
            declared[name] = path
    body = "".join(_EXPORT.sub("", _IMPORT.sub("", sources[path])) for path in order)
    exports = ",".join(_EXPORT.findall(sources[entry]))
    return f"const{{{exports}}}=(()=>{{{body}\nreturn{{{exports}}}}})();export{{{exports}}}"


def _in_order(sources: Mapping[str, str], entry: str) -> list[str]:
    """`entry` and what it imports, each after all of its own imports."""
    order: list[str] = []
    for path in _IMPORT.findall(sources[entry]):
        order += [each for each in _in_order(sources, path) if each not in order]
    return [*order, entry]


def minified(source: str) -> str:
    """JavaScript without what only people read, its style sheets (`/* css */` templates) included."""
    styled = _STYLES.sub(lambda match: f"`{minify.string('text/css', match[1])}`", source)
    return str(minify.string("application/javascript", styled))


def _filled(loader: str, version: str, launchers: Mapping[str, str]) -> str:
    """The loader with the two names that static/widget/build.d.ts declares."""
    words = json.dumps(launchers, ensure_ascii=False, separators=(",", ":"))
    return loader.replace("PARLANCE_ASSETS", json.dumps(f"widget/{version}/")).replace("PARLANCE_LANGUAGES", words)


def _launchers(sources: Mapping[str, str]) -> dict[str, str]:
    """The launcher's word by language: the one text that is needed before a language file may be fetched."""
    found = {}
    for path, source in sources.items():
        if path.startswith("words/"):
            word = _LAUNCHER.search(source)
            if word is None:
                raise ValueError(
                    f"static/widget/{path} has no line `  launcher: '…',`: the loader could not name its button."
                )
            found[Path(path).stem] = word[1]
    return found
