"""docs/sites.md and docs/voice.md say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from parlance import phrases
from parlance.sites import form, kinds, knowledge, yamlfile
from parlance.sites.assertions import ASSERTIONS
from parlance.sites.library import FRESH_S
from parlance.sites.toolkinds import Headers, JsonSchema
from parlance.voice.render import LIBRARY_CHARS

DOCS = Path(__file__).parent.parent / "docs"
SITES = (DOCS / "sites.md").read_text("utf-8")
VOICE = (DOCS / "voice.md").read_text("utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| (.*?) ?\| (.+?) \| .+ \|$", re.MULTILINE)


def settings(of: Any = form.SiteForm, before: str = "") -> Iterator[tuple[str, str, str]]:
    """Every setting of the form: dotted name, default and what it takes, as the table has them."""
    defaults = {each.name: each for each in fields(of.makes)}
    for name, field in of._declared_fields.items():
        inner = field.inner if isinstance(field, kinds.Several) else field
        if isinstance(inner, kinds.Block):
            yield from settings(inner.nested, f"{before}{name}{'' if inner is field else '[]'}.")
        else:
            yield f"{before}{name}", default(field, defaults[field.attribute or name]), takes(field)


def default(field: Any, value: Field[Any]) -> str:
    if field.required:
        return "*needed*"
    if value.default in (MISSING, None, "", ()):
        return ""
    return f"`{_shown(value.default)}`"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def takes(field: Any) -> str:
    match field:
        case kinds.Whole() | kinds.Seconds():
            return f"{field.least} to {field.most}"
        case kinds.Choice():
            return ", ".join(f"`{choice}`" for choice in field.choices)
        case kinds.Flag():
            return "`true` or `false`"
        case kinds.Money():
            return "money"
        case kinds.Asked():
            return "text or list"
        case kinds.Several():
            return "list"
        case kinds.Fallbacks() | Headers() | JsonSchema():
            return "settings"
    return "text"


def test_the_table_has_every_setting_with_its_default_and_range() -> None:
    assert ROW.findall(SITES) == list(settings())


def test_every_code_language_and_assertion_is_listed() -> None:
    section = {name: text for name, _, text in (part.partition("\n") for part in SITES.split("## "))}
    codes = section["Fallbacks"].split("The codes:")[1].split("\n\n")[0]
    assert re.findall(r"`(\w+)`", codes) == list(phrases.CODES)
    ours = section["Fallbacks"].split("languages: `")[1].split("\n\n")[0]
    assert re.findall(r"\w{2}(?=`)", ours) == list(phrases.LANGUAGES)
    names = section["Evals"].split("the name:")[1].split("\n\n")[0]
    assert re.findall(r"`([\w-]+)`", names) == list(ASSERTIONS)


def test_the_figures_are_those_of_the_code() -> None:
    assert f"{yamlfile.FILE_BYTES >> 20} MiB" in " ".join(SITES.split())
    assert f"A file may have {knowledge.FILE_BYTES >> 20} MiB" in " ".join(SITES.split())
    assert f"{form.KNOWLEDGE_CHARS:,}\ncharacters" in SITES
    assert {2.0: "within two seconds"}[FRESH_S] in SITES
    assert f"{LIBRARY_CHARS:,} characters" in " ".join(VOICE.split())


def test_the_least_site_is_one(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", SITES, re.DOTALL)[0])
    assert yamlfile.read([path]).sites[0].key == "fern"


def test_the_fallbacks_that_it_shows_are_good(tmp_path: Path) -> None:
    least, fallbacks = re.findall(r"```yaml\n(.*?)```", SITES, re.DOTALL)
    path = tmp_path / "site.yaml"
    path.write_text(least + fallbacks)
    assert set(yamlfile.read([path]).sites[0].fallbacks) == {"rate_limited", "budget_exhausted"}
