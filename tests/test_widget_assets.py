"""The widget's own door: what it serves, how small, how long it may be kept, and that its files keep the rules."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import brotli
import pytest
from flask import Flask
from flask.testing import FlaskClient

from blueprints.assets import Assets, joined, minified
from blueprints.widget import widget

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "static" / "widget"
SOURCES = {path.relative_to(FOLDER).as_posix(): path.read_text("utf-8") for path in FOLDER.rglob("*.js")}
LANGUAGES = sorted(Path(path).stem for path in SOURCES if path.startswith("words/"))
KB = 1000


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(widget)
    return app.test_client()


@pytest.fixture
def base(client: FlaskClient) -> str:
    """Where the loader says that the modules are."""
    found = re.search(r'"(widget/[0-9a-f]{12}/)"', client.get("/widget.js").text)
    assert found
    return f"/{found[1]}"


def served(client: FlaskClient, path: str, encoding: str = "br") -> bytes:
    response = client.get(path, headers={"Accept-Encoding": encoding})
    assert response.status_code == 200
    return response.data


# -- size --------------------------------------------------------------------------------------------------------------


def test_the_loader_weighs_less_than_3_kb(client: FlaskClient) -> None:
    assert len(served(client, "/widget.js")) < 3 * KB


def test_all_of_a_first_conversation_weighs_less_than_15_kb(client: FlaskClient, base: str) -> None:
    for language in LANGUAGES:
        paths = ("/widget.js", f"{base}panel.js", f"{base}words/{language}.js")
        assert sum(len(served(client, path)) for path in paths) < 15 * KB


def test_these_are_all_the_files_that_a_first_conversation_asks_for(client: FlaskClient, base: str) -> None:
    for path in (f"{base}panel.js", f"{base}words/en.js"):
        assert not re.search(r"\bimport\b", client.get(path).text)


# -- the door ----------------------------------------------------------------------------------------------------------


def test_the_loader_is_for_everyone_and_kept_for_minutes(client: FlaskClient) -> None:
    response = client.get("/widget.js", headers={"Origin": "https://anywhere.example"})
    assert response.mimetype == "text/javascript"
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert "Set-Cookie" not in response.headers


def test_the_modules_are_kept_for_ever(client: FlaskClient, base: str) -> None:
    response = client.get(f"{base}panel.js")
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("br", "br"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, gzip;q=0", None),
        ("identity", None),
        ("", None),
        ("zstd", None),
    ],
)
def test_it_sends_what_the_browser_can_read(client: FlaskClient, accepted: str, encoding: str | None) -> None:
    response = client.get("/widget.js", headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == encoding


def test_every_encoding_holds_the_same_text(client: FlaskClient, base: str) -> None:
    for path in ("/widget.js", f"{base}panel.js", f"{base}words/ar.js"):
        plain = served(client, path, "identity")
        assert brotli.decompress(served(client, path, "br")) == plain
        assert gzip.decompress(served(client, path, "gzip")) == plain


@pytest.mark.parametrize("encoding", ["br", "gzip", "identity"])
def test_what_a_browser_has_is_not_sent_again(client: FlaskClient, encoding: str) -> None:
    first = client.get("/widget.js", headers={"Accept-Encoding": encoding})
    headers = {"Accept-Encoding": encoding, "If-None-Match": first.headers["ETag"]}
    again = client.get("/widget.js", headers=headers)
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Access-Control-Allow-Origin"] == "*"


def test_each_encoding_has_a_tag_of_its_own(client: FlaskClient) -> None:
    tags = {
        client.get("/widget.js", headers={"Accept-Encoding": e}).headers["ETag"] for e in ("br", "gzip", "identity")
    }
    assert len(tags) == 3


@pytest.mark.parametrize(
    "path", ["nothing.js", "api.js", "loader.js", "words/xx.js", "../loader.js", "..%2f..%2fapp.py", "build.d.ts", ""]
)
def test_what_is_no_module_is_not_there(client: FlaskClient, base: str, path: str) -> None:
    assert client.get(base + path).status_code == 404


def test_another_version_is_not_there(client: FlaskClient) -> None:
    assert client.get("/widget/000000000000/panel.js").status_code == 404


def test_nothing_else_may_be_done_to_them(client: FlaskClient) -> None:
    assert client.post("/widget.js").status_code == 405


# -- how they are made -------------------------------------------------------------------------------------------------


def test_the_version_changes_with_any_file(tmp_path: Path) -> None:
    for path, source in SOURCES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(source, "utf-8")
    before = Assets(tmp_path)
    words = tmp_path / "words" / "en.js"
    words.write_text(words.read_text("utf-8").replace("Close the chat", "Shut the chat"), "utf-8")
    after = Assets(tmp_path)
    assert before.version == Assets(FOLDER).version
    assert after.version != before.version
    assert after.loader.etag != before.loader.etag


def test_a_language_without_a_word_for_the_launcher_is_named(tmp_path: Path) -> None:
    for path, source in SOURCES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(source.replace("launcher: 'Discussion'", "launchr: 'Discussion'"), "utf-8")
    with pytest.raises(ValueError, match=r"words/fr\.js has no line"):
        Assets(tmp_path)


def test_modules_are_joined_each_after_what_it_imports() -> None:
    sources = {
        "a.js": "import { b } from './b.js';\nimport { c } from './c.js';\nexport function a() {}\n",
        "b.js": "import { c } from './c.js';\nexport const b = 1;\n",
        "c.js": "export class c {}\n",
    }
    text = joined(sources, "a.js")
    assert text == "const{a}=(()=>{class c {}\nconst b = 1;\nfunction a() {}\n\nreturn{a}})();export{a}"


def test_modules_that_would_clash_are_named() -> None:
    sources = {"a.js": "import { b } from './b.js';\nfunction same() {}\n", "b.js": "async function* same() {}\n"}
    with pytest.raises(ValueError, match=r"b\.js and a\.js both declare same"):
        joined(sources, "a.js")


def test_style_sheets_inside_scripts_are_minified_too() -> None:
    assert minified("const css = /* css */ `\n  a { color: red; /* why */ }\n`;") == "const css=`a{color:red}`"


# -- the rules that the sources keep -----------------------------------------------------------------------------------


FORBIDDEN = r"""
    \.(inner|outer)HTML insertAdjacentHTML createContextualFragment DOMParser document\.write
    \.style\b cssText setAttribute\('style' \beval\b Function\( \.cookie\b sessionStorage indexedDB
"""


@pytest.mark.parametrize("forbidden", FORBIDDEN.split())
def test_no_source_uses(forbidden: str) -> None:
    for path, source in SOURCES.items():
        code = re.sub(r"/\*[\s\S]*?\*/|//.*", "", source)
        assert not re.search(forbidden, code), path


def test_no_address_is_built_in(client: FlaskClient, base: str) -> None:
    for path in ("/widget.js", f"{base}panel.js"):
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", client.get(path).text))
        assert addresses <= {"http://www.w3.org"}  # the namespace of SVG: a name, never asked for


def test_the_loader_names_every_language(client: FlaskClient) -> None:
    text = client.get("/widget.js").text
    for language in LANGUAGES:
        assert re.search(rf'"?\b{language}"?:"', text)


TOKEN = re.compile(r"^ *(--parlance-[\w-]+): (.+?); /\* (.+?) \*/$", re.MULTILINE)


def test_every_theme_token_is_declared_once_with_a_sentence() -> None:
    used = {name for source in SOURCES.values() for name in re.findall(r"--parlance-[\w-]+", source)}
    declared = [name for source in SOURCES.values() for name, _, _ in TOKEN.findall(source)]
    assert sorted(declared) == sorted(used)


def test_the_docs_have_every_theme_token_as_it_is() -> None:
    docs = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    for source in SOURCES.values():
        for name, default, sentence in TOKEN.findall(source):
            assert f"| `{name}` | `{default}` | {sentence} |" in docs


def test_the_docs_have_every_attribute_of_the_script_tag() -> None:
    docs = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    read = re.search(r"const \{ ([\w, ]+) \} = script\.dataset", SOURCES["loader.js"])
    assert read
    assert set(re.findall(r"^\| `data-(\w+)` \|", docs, re.MULTILINE)) == set(read[1].split(", "))
