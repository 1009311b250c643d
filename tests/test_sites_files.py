"""Site files: what they say, and every mistake in them with its line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlance.errors import SiteFileError
from parlance.site import Budgets, Http, Passage, Site
from parlance.sites import yamlfile
from parlance.sites.rules import Rules

LEAST = "key: fern\nname: Fern\norigins: [https://fern.example]\n"
TOOL = """tools:
  - name: look
    description: Looks.
    label: Looking
    input_schema: {type: object}
    http: {method: GET, url: https://api.fern.example}
"""

Read = Callable[..., Site]
Refused = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The site in a file that begins with the least there is and goes on with `text`."""

    def read(text: str, least: str = LEAST, rules: Rules | None = None) -> Site:
        path = tmp_path / "site.yaml"
        path.write_text(least + text, "utf-8")
        return yamlfile.read([path], rules or Rules()).sites[0]

    return read


@pytest.fixture
def refused(read: Read, tmp_path: Path) -> Refused:
    """The mistakes of such a file as `line: where: message`."""

    def refused(*args: object, **kwargs: object) -> list[str]:
        with pytest.raises(SiteFileError) as caught:
            read(*args, **kwargs)
        prefix = f"{tmp_path}/site.yaml:"
        assert all(str(mistake).startswith(prefix) for mistake in caught.value.mistakes)
        return [str(mistake).removeprefix(prefix) for mistake in caught.value.mistakes]

    return refused


def test_it_needs_no_more_than_key_name_and_origins(read: Read) -> None:
    assert read("") == Site(key="fern", name="Fern", origins=("https://fern.example",))


def test_it_reads_yaml_1_2(read: Read) -> None:
    site = read("fallbacks: {busy: {no: Vent., en: Wait.}}\nvoice: {persona: yes, role: 2026-01-01, use: [on]}")
    assert site.fallbacks == {"busy": {"no": "Vent.", "en": "Wait."}}
    assert (site.voice.persona, site.voice.role, site.voice.use) == ("yes", "2026-01-01", ("on",))


def test_it_reads_json(read: Read) -> None:
    data = {"key": "fern", "name": "Fern 📚", "origins": ["https://fern.example"], "voice": {"persona": 'a/b"\n'}}
    escaped = json.dumps(data, indent="\t").replace("a/b", "a\\/b")
    assert "\\ud83d" in escaped
    site = read(escaped, least="")
    assert (site.name, site.voice.persona) == ("Fern 📚", 'a/b"\n')


def test_it_reads_a_byte_order_mark_and_windows_lines(read: Read) -> None:
    assert read("", least="\ufeff" + LEAST.replace("\n", "\r\n")).key == "fern"


def test_it_reads_anchors(read: Read) -> None:
    site = read("voice: {tone: &words [warm, brief], use: *words}")
    assert site.voice.tone == site.voice.use == ("warm", "brief")


@pytest.mark.parametrize(
    ("written", "nano"),
    [('"5.00"', 5 * 10**9), ("5", 5 * 10**9), ('"7"', 7 * 10**9), ('"0.000000001"', 1), ("0", 0), ("null", None)],
)
def test_it_counts_money_exactly(read: Read, written: str, nano: int | None) -> None:
    assert read(f"budgets: {{day_usd: {written}}}").budgets == Budgets(day=nano)


def test_it_names_every_mistake_of_every_file_at_once(tmp_path: Path) -> None:
    one, two, good = tmp_path / "one.yaml", tmp_path / "two.yaml", tmp_path / "good.yaml"
    one.write_text("key: One\nname: 11\nvoise: {}\nlimits:\n  visitor:\n    per_day: true\n")
    two.write_text("key: two\nname: [\n")
    good.write_text(LEAST)
    with pytest.raises(SiteFileError) as caught:
        yamlfile.read([one, good, two, tmp_path / "none.yaml"])
    found = [(Path(m.file).name, m.line, m.where, m.message) for m in caught.value.mistakes]
    assert [row[:3] for row in found] == [
        ("one.yaml", 1, "key"),
        ("one.yaml", 1, "origins"),
        ("one.yaml", 2, "name"),
        ("one.yaml", 3, "voise"),
        ("one.yaml", 6, "limits.visitor.per_day"),
        ("two.yaml", 3, ""),
        ("none.yaml", 1, ""),
    ]
    assert "did you mean `voice`?" in found[3][3]
    assert 'put quotes around it: "11"' in found[2][3]


def test_it_refuses_two_files_for_one_site(tmp_path: Path) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        path.write_text("# comment\n" + LEAST)
    with pytest.raises(SiteFileError, match=r"b\.yaml:2: key: `fern` is the site of .*a\.yaml already"):
        yamlfile.read(paths)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        # names
        ("vioce: {}", "4: vioce: there is no such setting (did you mean `voice`?)"),
        ("voice:\n  personna: x", "5: voice.personna: there is no such setting (did you mean `persona`?)"),
        ("name: Fern", "4: name: `name` is set twice; line 2 has it already"),
        ("voice: {role: a, role: b}", "4: voice.role: `role` is set twice"),
        # kinds
        ("voice: warm", "4: voice: takes settings with names"),
        ("voice: {tone: warm}", "4: voice.tone: is a list"),
        ("voice:\n  tone:\n    - warm\n    - 5", '7: voice.tone[1]: is a text; put quotes around it: "5"'),
        ("voice: {persona: true}", 'voice.persona: is a text; put quotes around it: "true"'),
        ("voice: {persona: [a]}", "voice.persona: is a text, and this is a list"),
        ("voice:\n  persona:\n  role: a", "5: voice.persona: is empty"),
        ("voice: {tone: [' ']}", "4: voice.tone[0]: is blank"),
        ('voice: {persona: "\\ud83d"}', "4: voice.persona: holds a NUL or half of a surrogate pair"),
        ('voice: {persona: "a\\0b"}', "4: voice.persona: holds a NUL"),
        ("voice: {format: {links: yes}}", "voice.format.links: is `true` or `false`"),
        ("limits: {message_chars: true}", "limits.message_chars: is a whole number from 1"),
        ('limits: {message_chars: "5"}', "limits.message_chars: is a whole number from 1"),
        ("limits: {message_chars: 5.0}", "limits.message_chars: is a whole number from 1"),
        ("limits: {message_chars: 0}", "limits.message_chars: is a whole number from 1"),
        ("limits: {message_chars: 99999999999999999999999}", "limits.message_chars: is a whole number from 1"),
        ("budgets: {day_usd: 5.5}", 'budgets.day_usd: is read as a binary fraction'),
        ("budgets: {day_usd: true}", "budgets.day_usd: is an amount of US dollars"),
        ('budgets: {day_usd: "-5"}', "budgets.day_usd: is an amount of US dollars"),
        ('budgets: {day_usd: "$5"}', "budgets.day_usd: is an amount of US dollars"),
        ("memory: {strategy: windw}", "memory.strategy: `windw` is not one of window, summary (did you"),
        # the site's own
        ("locale: english", "locale: `english` is no language tag"),
        ("locale: en_GB", "locale: `en_GB` is no language tag"),
        ("widget: {theme: {accent: '#12345'}}", "widget.theme.accent: `#12345` is no colour"),
        ("widget: {title: ''}\nidentity: {secret: hunter2}", "5: identity.secret: is not a reference"),
        ("identity: {secret: '${secret:fern}'}", "identity.secret: is not a reference"),
        ("voice: {persona: 'Key ${secret:FERN}'}", "voice.persona: a secret is never filled in here"),
        ("voice: {persona: '${secret:}'}", "voice.persona: `${secret:}` is not a secret's reference"),
        ("fallbacks: {rate_limitd: Wait.}", "fallbacks.rate_limitd: there is no such code (did you mean `rate_l"),
        ("fallbacks: {busy: {english: Wait.}}", "fallbacks.busy.english: `english` is no language tag"),
        ("fallbacks: {busy: {en: ''}}", "fallbacks.busy.en: is blank"),
        ("fallbacks: {busy: 5}", "fallbacks.busy: is a text, or texts by language"),
        ("knowledge: [{title: A}]", "knowledge[0]: has neither `text` nor `file`"),
        ("knowledge: [{text: A}]", "knowledge[0].title: is missing"),
        ("knowledge: [{title: A, text: B, url: fern.example}]", "[0].url: `fern.example` is not a web address"),
        ("knowledge: [a]", "knowledge[0]: takes settings with names"),
        # evals
        ("evals: [{name: a, ask: b, expect: [{contain: c}]}]", "].contain: there is no such assertion (did you mean"),
        ("evals: [{name: a, ask: b, expect: [{regex: '('}]}]", "evals[0].expect[0].regex: is no regular expression"),
        ("evals: [{name: a, ask: b, expect: [{max-words: many}]}]", "expect[0].max-words: is a whole number above 0"),
        ("evals: [{name: a, ask: b, expect: [{contains-any: c}]}]", "expect[0].contains-any: is a list of texts"),
        ("evals: [{name: a, ask: b, expect: [{not-tool-called: c}]}]", "].not-tool-called: there is no tool `c`"),
        ("evals: [{name: a, ask: b, expect: [{cost: 0.5}]}]", "expect[0].cost: is read as a binary fraction"),
        ("evals: [{name: a, ask: b, expect: [{is-json: {type: 5}}]}]", "expect[0].is-json: is no JSON Schema"),
        ("evals: [{name: a, ask: b, expect: [{contains: c, regex: d}]}]", "expect[0].regex: is one assertion too many"),
        ("evals: [{name: a, ask: b, expect: [{similar: c, threshold: 2}]}]", "`threshold` is a number from 0 to 1"),
        ("evals: [{name: a, ask: b, expect: [{}]}]", "evals[0].expect[0].contains: is missing"),
        ("evals: [{name: a, ask: b, expect: []}]", "evals[0].expect: has 0 entries"),
        ("evals: [{name: a, ask: [], expect: [{contains: c}]}]", "evals[0].ask: has 0 entries"),
        ("evals:\n" + 2 * " - {name: a, ask: b, expect: [{contains: c}]}\n", "6: evals[1].name: `a` is there already"),
        # YAML
        ("voice: !!python/object:os.system {}", "4: voice: `tag:yaml.org,2002:python/object:os.system`: site files"),
        ("limits: {message_chars: !!int 5}", "4: limits.message_chars: `tag:yaml.org,2002:int`: site files hold"),
        ("voice: {persona: !secret x}", "4: voice.persona: `!secret`: site files hold plain values"),
        ("---\nkey: two", "4: a second document begins here"),
        ("voice: *none", "4: there is no `&none` before this `*none`"),
        ("voice: &a [*a]", "4: there is no `&a` before this `*a`"),
        ("? [a, b]\n: c", "4: a name is a text"),
        ("<<: {a: b}", "4: <<: `<<` is not part of YAML 1.2"),
        ("voice:\n\tpersona: x", "5: is not YAML: a tab cannot indent"),
        ("voice: 'x", "is not YAML"),
        ('voice: "\\x"', "4: is not YAML"),
        ("voice: a: b", "4: is not YAML"),
        ("voice: \x07", "4: is not YAML"),
        ("voice: " + "[" * 60 + "]" * 60, "4: nests deeper than 40 levels"),
    ],
)  # fmt: skip
def test_it_refuses(refused: Refused, text: str, mistake: str) -> None:
    mistakes = refused(text)
    assert any(mistake in found for found in mistakes), mistakes


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("look\n", "look up\n", "5: tools[0].name: `look up` is no name for a tool"),
        ("    label: Looking\n", "", "5: tools[0].label: is missing"),
        ("{type: object}", "{type: array}", "8: tools[0].input_schema.type: is `object`"),
        ("{type: object}", "{type: object, properties: 5}", "8: tools[0].input_schema.properties: is no JSON Schema"),
        ("{type: object}", "{type: object, properties: {a: {pattern: '('}}}", "properties.a.pattern: is no JSON"),
        ("{type: object}", "{type: object, properties: {a: {$ref: 'https://e.example'}}}", "leads outside"),
        ("{type: object}", "{type: object, default: .inf}", "JSON has no way to write"),
        ("{type: object}", "nothing", "tools[0].input_schema: takes a JSON Schema"),
        ("GET", "get", "tools[0].http.method: `get` is not one of GET"),
        ("https://api.fern.example", "http://api.fern.example", "[0].http.url: would send the visitor's"),
        ("https://api.fern.example", "http://8.8.8.8", "unencrypted"),
        ("https://api.fern.example", "https://u:p@api.fern.example", "holds a user name or password"),
        ("https://api.fern.example", "ftp://api.fern.example", "is not a web address"),
        ("https://api.fern.example", "https://api.fern.example:99999", "is not a web address"),
        ("https://api.fern.example", "'https://a.example/${secret:bad}'", "is not a secret's reference"),
        ("url:", "timeout_s: 0, url:", "tools[0].http.timeout_s: is a number of seconds from 0.1 to 60"),
        ("url:", "timeout_s: .nan, url:", "tools[0].http.timeout_s: is a number of seconds"),
        ("url:", "headers: {Authorization: Bearer abc}, url:", "headers.Authorization: holds a secret in"),
        ("url:", "headers: {X-Api-Key: abc}, url:", "holds a secret in plain"),
        ("url:", "headers: {'a b': c}, url:", "`a b` is no name of a header"),
        ("url:", "headers: {Host: c}, url:", "is set by Parlance itself"),
        ("url:", "headers: {X-A: 'b', x-a: 'c'}, url:", "is there twice"),
        ("url:", 'headers: {X-A: "b\\nc"}, url:', "holds a character that no header may"),
        ("url:", "headers: {Authorization: 'Bearer ${secret:x}'}, url:", "`${secret:x}` is not a secret's reference"),
    ],
)  # fmt: skip
def test_it_refuses_in_a_tool(refused: Refused, old: str, new: str, mistake: str) -> None:
    assert old in TOOL
    mistakes = refused(TOOL.replace(old, new))
    assert any(mistake in found for found in mistakes), mistakes


def test_it_repeats_no_secret(refused: Refused) -> None:
    mistakes = refused(TOOL.replace("url:", "headers: {Authorization: hunter2}, url:") + "identity: {secret: hunter2}")
    assert len(mistakes) == 2
    assert "hunter2" not in "".join(mistakes)


def test_it_refuses_two_tools_of_one_name(refused: Refused) -> None:
    [mistake] = refused(TOOL + TOOL.removeprefix("tools:\n"))
    assert mistake == "10: tools[1].name: `look` is there already, as entry 1"


@pytest.mark.parametrize(
    "url", ["http://localhost:3000", "http://10.0.0.8/x", "http://[::1]/", "http://orders.internal", "http://orders"]
)
def test_it_allows_plain_http_within_the_own_network(read: Read, url: str) -> None:
    assert read(TOOL.replace("https://api.fern.example", f"'{url}'")).tools[0].http == Http("GET", url)


def test_it_takes_models_that_exist(read: Read, refused: Refused) -> None:
    rules = Rules(models={"standard": 8000, "cheap": 4000}.get)
    assert read("model: {max_tokens: 4000}", rules=rules).model.max_tokens == 4000
    assert refused("model: {max_tokens: 4001}", rules=rules) == [
        "4: model.max_tokens: is 4001, and `cheap` writes at most 4000"
    ]
    [mistake] = refused("model: {tier: standrad}", rules=rules)
    assert "there is no priced model `standrad` (did you mean `standard`?)" in mistake
    assert "model.fallback[1]" in refused("model: {fallback: [cheap, gpt]}", rules=rules)[0]


def test_it_asks_the_lint_about_every_text_of_the_voice(refused: Refused) -> None:
    rules = Rules(volatile=lambda text: "changes" if "{date}" in text else None)
    voice = "voice:\n  persona: '{date}'\n  limits: [a, '{date}']\n  faqs:\n    - {q: b, a: '{date}'}\n"
    assert refused(voice + "widget: {greeting: '{date}'}\nlocale: x", rules=rules) == [
        "5: voice.persona: changes",
        "6: voice.limits[1]: changes",
        "8: voice.faqs[0].a: changes",
        "10: locale: `x` is no language tag; write it like en, de-AT or zh-Hant",
    ]


def test_it_passes_warnings_on_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(LEAST + "voice:\n  faqs:\n    - {q: a, a: b}\n")
    [warning] = yamlfile.read([path], Rules(warnings=lambda site: [("voice.faqs[0].a", "hm")])).warnings
    assert (warning.line, warning.where, warning.message) == (6, "voice.faqs[0].a", "hm")


def test_it_refuses_what_aliases_multiply(refused: Refused) -> None:
    bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert any("grows too large here" in mistake for mistake in refused(bomb))


def test_it_refuses_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"#" * (yamlfile.FILE_BYTES + 1))
    with pytest.raises(SiteFileError, match="is larger than 16 MiB"):
        yamlfile.read([path])


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"---\n...\n", b"[]", b"text", b"5", b"null"])
def test_it_refuses_a_file_without_settings(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(content)
    with pytest.raises(SiteFileError, match=r"site\.yaml:[12]: (the file is empty|takes settings with names)"):
        yamlfile.read([path])


def test_it_refuses_what_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(LEAST.encode() + b"voice: {persona: caf\xe9}")
    with pytest.raises(SiteFileError, match=r"is not UTF-8 \(byte \d+, line 4\)"):
        yamlfile.read([path])


def test_it_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SiteFileError, match="cannot be read: Is a directory"):
        yamlfile.read([tmp_path])


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("\n\t -:{}[]&*!%@'\"|>#,?"), max_size=80))
def test_it_survives_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(LEAST + text, "utf-8", newline="")
    lines: list[int] = []
    try:
        yamlfile.read([path])
    except SiteFileError as error:
        lines = [mistake.line for mistake in error.mistakes]
    assert all(1 <= line <= len(path.read_text("utf-8").splitlines()) + 1 for line in lines)


class TestKnowledge:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "help"
        (folder / "more").mkdir(parents=True)
        (folder / "delivery.md").write_text("Intro\n\n```\n# no heading\n```\n\n# Delivery & post #\n\nWeekdays.\n")
        (folder / "gift-wrapping_notes.txt").write_text("# Not Markdown\r\nFree.\r\n")
        (folder / "more" / "index.html").write_text(
            "<!doctype html><title>The &lt;shop&gt;</title><style>p{}</style><script>if (a<b) x()</script>"
            "<h2>Where</h2><p>In <b>Leeds</b>\nand York.<ul><li>One<li>Two &amp; three</ul>"
        )
        (folder / "picture.png").write_bytes(b"\x89PNG")
        (folder / ".hidden.md").write_text("# Hidden")
        return folder

    def test_it_reads_one_file(self, read: Read) -> None:
        [passage] = read("knowledge: [{file: help/delivery.md, url: https://fern.example/d}]").knowledge
        assert passage.title == "Delivery & post"
        assert passage.text.endswith("Weekdays.\n")
        assert (passage.url, passage.file) == ("https://fern.example/d", "help/delivery.md")

    def test_it_keeps_the_title_that_is_given(self, read: Read) -> None:
        assert read("knowledge: [{title: Post, file: help/delivery.md}]").knowledge[0].title == "Post"

    def test_it_reads_a_folder(self, read: Read) -> None:
        site = read("knowledge: [{title: A, text: B}, {file: help, url: https://fern.example/help/}]")
        assert [(p.title, p.url, p.file) for p in site.knowledge] == [
            ("A", "", ""),
            ("Delivery & post", "https://fern.example/help/delivery", "help/delivery.md"),
            ("Gift wrapping notes", "https://fern.example/help/gift-wrapping_notes", "help/gift-wrapping_notes.txt"),
            ("The <shop>", "https://fern.example/help/more", "help/more/index.html"),
        ]
        assert site.knowledge[2].text == "# Not Markdown\nFree.\n"
        assert site.knowledge[3].text == "## Where\n\nIn Leeds and York.\n\n- One\n- Two & three"

    @pytest.mark.parametrize(
        ("file", "lesson"),
        [
            ("help/none.md", "there is no file or folder `help/none.md`"),
            ("../site.yaml", "leads out of the site file's own folder"),
            ("/etc/passwd", "leads out of the site file's own folder"),
            ("help/../../x", "leads out of the site file's own folder"),
            ("empty", "there is no text in the folder `empty`"),
            ("help/picture.png", "`picture.png` is not UTF-8"),
            ("link.md", "leads out of the site file's own folder"),
            ("outside", "leads out of the site file's own folder"),
            ('"a\\0b"', "NUL"),
            ("x" * 300, "cannot be read"),
            ("blank", "`one.md` holds no text"),
        ],
    )
    def test_it_refuses(self, refused: Refused, folder: Path, file: str, lesson: str) -> None:
        (folder.parent / "empty").mkdir()
        (folder.parent / "blank").mkdir()
        (folder.parent / "blank" / "one.md").write_text(" \n")
        os.symlink("/etc/hostname", folder.parent / "link.md")
        (folder.parent / "outside").mkdir()
        os.symlink("/etc/hostname", folder.parent / "outside" / "host.txt")
        mistakes = refused(f"knowledge:\n  - title: A\n    file: {file}\n")
        assert any(mistake.startswith("6: knowledge[0].file: ") and lesson in mistake for mistake in mistakes), mistakes

    def test_it_names_every_bad_file_of_a_folder_and_the_lines_behind_it(self, refused: Refused, folder: Path) -> None:
        (folder / "a.md").write_text("")
        (folder / "b.md").write_bytes(b"\xff")
        mistakes = refused("knowledge:\n  - file: help\n  - {title: ' ', text: A}\n")
        assert [mistake.split(": ")[:2] for mistake in mistakes] == [
            ["5", "knowledge[0].file"],
            ["5", "knowledge[0].file"],
            ["6", "knowledge[1].title"],
        ]

    def test_it_exports_the_text_with_the_files_name(self, read: Read, tmp_path: Path) -> None:
        site = read("knowledge: [{file: help}]")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "site.yaml").write_text(yamlfile.write(site))
        reading = yamlfile.read([elsewhere / "site.yaml"])
        assert reading.sites == [site]
        assert reading.warnings == []

    def test_it_warns_where_an_exports_file_has_changed(self, read: Read, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "export.yaml").write_text(yamlfile.write(read("knowledge: [{file: help/delivery.md}]")))
        assert yamlfile.read([tmp_path / "export.yaml"]).warnings == []
        (folder / "delivery.md").write_text("# Delivery\n\nNever.")
        [warning] = yamlfile.read([tmp_path / "export.yaml"]).warnings
        assert warning.where == "knowledge[0].file"
        assert "`text` counts" in warning.message

    def test_it_limits_the_whole(self, refused: Refused, folder: Path) -> None:
        for number in range(5):
            (folder / f"{number}.md").write_text("x" * 1_000_000)
        assert "4: knowledge: has 5000" in refused("knowledge: [{file: help}]")[0]

    def test_it_takes_prose_about_secrets_as_prose(self, read: Read) -> None:
        text = "Write ${secret:NAME}."
        assert read(f"knowledge: [{{title: A, text: '{text}'}}]").knowledge == (Passage("A", text),)
