"""The form of a site: from the mappings that YAML, JSON and the store hold to `parlance.site.Site`, and back.

Defaults stand in `parlance.site` alone: a setting that is not given is not passed on. Whatever is wrong is found at
once, each mistake with its path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, ClassVar

from marshmallow import EXCLUDE, Schema, ValidationError, post_dump, post_load, validates_schema
from marshmallow.experimental.context import Context

from parlance import site
from parlance.site import Site
from parlance.sites.assertions import Assertion
from parlance.sites.kinds import (
    COLOUR,
    LANGUAGE,
    SITE_KEY,
    TOOL_NAME,
    Address,
    Asked,
    Block,
    Choice,
    Fallbacks,
    Flag,
    Known,
    Money,
    Origin,
    Passages,
    Seconds,
    SecretName,
    Several,
    Text,
    Voiced,
    Whole,
    closest,
)
from parlance.sites.rules import TRUSTING, Rules, rules
from parlance.sites.toolkinds import Headers, JsonSchema

KNOWLEDGE_CHARS = 4_000_000

Path = tuple[str, ...]
Problem = tuple[Path, str]


class Form(Schema):
    """Named settings of which all are known. `makes` is the value that they make."""

    makes: ClassVar[type[Any]]
    error_messages = {"type": "takes settings with names: `name: value`, one a line"}  # noqa: RUF012 - marshmallow's

    class Meta:
        unknown = EXCLUDE  # `all_known` names each, with what may have been meant

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def all_known(self, data: Any, original: Any, **_: Any) -> None:
        strangers = [name for name in original if name not in self.fields] if isinstance(original, Mapping) else []
        if strangers:
            raise ValidationError({name: [self._stranger(name)] for name in strangers})

    def _stranger(self, name: str) -> str:
        return f"there is no such setting{closest(str(name), self.fields)}; here may stand {', '.join(self.fields)}"

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Any:
        return self.makes(**data)

    @post_dump
    def leave_out_the_empty(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """What holds nothing is not written, except an empty list where the default is a full one."""
        full = {each.name for each in fields(self.makes) if each.default not in ((), MISSING)}
        return {
            name: value
            for name, value in data.items()
            if value not in (None, "", [], {}) or (value == [] and name in full)
        }


class ModelForm(Form):
    makes = site.Model
    tier = Known()
    fallback = Several(Known(), most=5, once="")
    max_tokens = Whole(1, 1_000_000)

    @validates_schema
    def speaks_so_long(self, data: dict[str, Any], **_: Any) -> None:
        model = site.Model(**data)
        for name in (model.tier, *model.fallback):
            most = rules().models(name)
            if most is not None and model.max_tokens > most:
                raise ValidationError({"max_tokens": [f"is {model.max_tokens}, and `{name}` writes at most {most}"]})


class RedirectForm(Form):
    makes = site.Redirect
    when = Voiced(500, required=True)
    to = Voiced(500, required=True)


class FaqForm(Form):
    makes = site.Faq
    q = Voiced(500, required=True)
    a = Voiced(4000, required=True)


class FormatForm(Form):
    makes = site.Format
    max_words = Whole(1, 10_000, allow_none=True)
    style = Voiced(500, blank=True)
    links = Flag()


class VoiceForm(Form):
    makes = site.Voice
    persona = Voiced(8000, blank=True)
    tone = Several(Voiced(200))
    use = Several(Voiced(200))
    avoid = Several(Voiced(200))
    role = Voiced(8000, blank=True)
    limits = Several(Voiced(1000))
    redirects = Several(Block(RedirectForm))
    context = Voiced(20_000, blank=True)
    faqs = Several(Block(FaqForm), most=500)
    format = Block(FormatForm)


class PassageForm(Form):
    """`file` is a remark here: whoever reads site files has put its content into `text` (`sites/knowledge.py`)."""

    makes = site.Passage
    title = Passages(300, lines=False, required=True)
    url = Address()
    file = Passages(500, lines=False)
    text = Passages(KNOWLEDGE_CHARS, required=True)


class HttpForm(Form):
    makes = site.Http
    method = Choice("GET", "POST", "PUT", "PATCH", "DELETE", required=True)
    url = Address(private_http=True, secrets=True, required=True)
    headers = Headers()
    timeout_s = Seconds(0.1, 60)


class ToolForm(Form):
    makes = site.Tool
    name = Text(
        pattern=TOOL_NAME, lesson="is no name for a tool: up to 64 letters, digits, _ and -", lines=False, required=True
    )
    description = Text(4000, required=True)
    label = Text(200, lines=False, required=True)
    input_schema = JsonSchema(required=True)
    http = Block(HttpForm, required=True)


class MemoryForm(Form):
    makes = site.Memory
    strategy = Choice("window", "summary")
    window_tokens = Whole(500, 500_000)


class VisitorLimitsForm(Form):
    makes = site.VisitorLimits
    per_minute = Whole(1, 100_000)
    per_day = Whole(1, 10_000_000)


class IpLimitsForm(Form):
    makes = site.IpLimits
    per_minute = Whole(1, 1_000_000)


class SiteLimitsForm(Form):
    makes = site.SiteLimits
    per_minute = Whole(1, 10_000_000)
    concurrent = Whole(1, 1_000_000)


class LimitsForm(Form):
    makes = site.Limits
    visitor = Block(VisitorLimitsForm)
    ip = Block(IpLimitsForm)
    site = Block(SiteLimitsForm)
    message_chars = Whole(1, 60_000)


class BudgetsForm(Form):
    makes = site.Budgets
    day_usd = Money(attribute="day", allow_none=True)
    month_usd = Money(attribute="month", allow_none=True)
    visitor_day_usd = Money(attribute="visitor_day", allow_none=True)


class ThemeForm(Form):
    makes = site.Theme
    accent = Text(pattern=COLOUR, lesson="is no colour; write it like #2f6f4e, in quotes")
    scheme = Choice("auto", "light", "dark")
    position = Choice("right", "left")


class ProactiveForm(Form):
    makes = site.Proactive
    text = Text(300, required=True)
    after_seconds = Whole(0, 86_400)
    pages = Several(Text(500, lines=False))


class WidgetForm(Form):
    makes = site.Widget
    title = Text(100, lines=False, blank=True)
    greeting = Text(1000, blank=True)
    suggestions = Several(Text(200, lines=False), most=12)
    theme = Block(ThemeForm)
    proactive = Block(ProactiveForm, allow_none=True)


class IdentityForm(Form):
    makes = site.Identity
    secret = SecretName(required=True)


class PrivacyForm(Form):
    makes = site.Privacy
    retain_days = Whole(1, 3650)
    unwatched_seconds = Whole(1, 3600)
    page_context = Flag()


class EvalForm(Form):
    makes = site.Eval
    name = Text(200, lines=False, required=True)
    ask = Asked(required=True)
    expect = Several(Assertion(), least=1, most=50, required=True)


class SiteForm(Form):
    makes = Site
    key = Text(
        pattern=SITE_KEY,
        lesson="is no site key: up to 63 small letters, digits and -, the first no -",
        required=True,
    )
    name = Text(100, lines=False, required=True)
    origins = Several(Origin(300, lines=False), least=1, once="", required=True)
    locale = Text(pattern=LANGUAGE, lesson="is no language tag; write it like en, de-AT or zh-Hant")
    model = Block(ModelForm)
    voice = Block(VoiceForm)
    knowledge = Several(Block(PassageForm), most=2000)
    tools = Several(Block(ToolForm), most=64, once="name")
    memory = Block(MemoryForm)
    limits = Block(LimitsForm)
    budgets = Block(BudgetsForm)
    fallbacks = Fallbacks()
    widget = Block(WidgetForm)
    identity = Block(IdentityForm, allow_none=True)
    privacy = Block(PrivacyForm)
    evals = Several(Block(EvalForm), most=500, once="name")

    @validates_schema(skip_on_field_errors=False)
    def evals_call_tools_that_exist(self, data: dict[str, Any], **_: Any) -> None:
        tools = {tool.name for tool in data.get("tools", ())}
        found = {
            number: {"expect": mistakes}
            for number, case in enumerate(data.get("evals", ()))
            if (mistakes := _unknown_tools(case, tools))
        }
        if found:
            raise ValidationError({"evals": found})

    @validates_schema(skip_on_field_errors=False)
    def knowledge_fits(self, data: dict[str, Any], **_: Any) -> None:
        total = sum(len(passage.text) for passage in data.get("knowledge", ()))
        if total > KNOWLEDGE_CHARS:
            raise ValidationError({"knowledge": [f"has {total} characters together; {KNOWLEDGE_CHARS} are allowed"]})


_FORM = SiteForm()


def read(data: Any, known: Rules = TRUSTING) -> tuple[Site | None, list[Problem]]:
    """The site that `data`, a site file as plain values, describes; or else every problem with it."""
    with Context(known):
        try:
            made: Site = _FORM.load(data)
        except ValidationError as error:
            return None, list(_problems(error.messages))
    return made, []


def write(value: Site) -> dict[str, Any]:
    """The site file's form of a site: every setting that has a value, its defaults written out, in the form's order."""
    written: dict[str, Any] = _FORM.dump(value)
    return written


def to_json(value: Site) -> str:
    """A site as the store keeps it, without its version. Equal sites give equal bytes."""
    return json.dumps(write(value), ensure_ascii=False, separators=(",", ":"))


def from_json(text: str | bytes, version: int = 0) -> Site:
    """The reverse of `to_json`. Raises ValueError if the store holds something that is no site."""
    made, problems = read(json.loads(text))
    if made is None:
        raise ValueError(f"the store holds a site that is none: {problems[0]}")
    return replace(made, version=version)


def _unknown_tools(case: site.Eval, tools: set[str]) -> dict[int, Any]:
    return {
        number: {name: [f"there is no tool `{wanted}`{closest(wanted, tools)}"]}
        for number, assertion in enumerate(case.expect)
        for name, wanted in assertion.items()
        if name.endswith("tool-called") and wanted not in tools
    }


def _problems(messages: Any, path: Path = ()) -> Iterator[Problem]:
    """marshmallow's tree of messages, flat."""
    if isinstance(messages, Mapping):
        for name, below in messages.items():
            yield from _problems(below, path if name == "_schema" else (*path, str(name)))
    else:
        for message in messages:
            yield path, str(message)
