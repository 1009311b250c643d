"""A site as a value: everything that its operator can set, frozen. The names are those of the site file.

`sites/` reads these from YAML and keeps them in the store; everyone else takes them as arguments. Money is in
nano-dollars (10**-9 USD), times in seconds, lengths of text in code points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A text, or texts by language tag: {"en": "...", "de": "..."}.
Words = str | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Model:
    tier: str = "standard"  # reasoning | standard | cheap, or an exact model id
    fallback: tuple[str, ...] = ("cheap",)
    max_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class Redirect:
    when: str
    to: str


@dataclass(frozen=True, slots=True)
class Faq:
    q: str
    a: str


@dataclass(frozen=True, slots=True)
class Format:
    max_words: int | None = None
    style: str = ""
    links: bool = True


@dataclass(frozen=True, slots=True)
class Voice:
    persona: str = ""
    tone: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    role: str = ""
    limits: tuple[str, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    context: str = ""
    faqs: tuple[Faq, ...] = ()
    format: Format = Format()


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of the site's own: inline, or read from a file or a file of a folder. `url` is its public address.

    `file` is what the site file said, so that an export can say it again; `text` is always the whole text.
    """

    title: str
    text: str
    url: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Http:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    label: str
    input_schema: Mapping[str, Any]
    http: Http


@dataclass(frozen=True, slots=True)
class Memory:
    strategy: str = "window"  # window | summary
    window_tokens: int = 6000


@dataclass(frozen=True, slots=True)
class VisitorLimits:
    per_minute: int = 10
    per_day: int = 200


@dataclass(frozen=True, slots=True)
class IpLimits:
    per_minute: int = 60


@dataclass(frozen=True, slots=True)
class SiteLimits:
    per_minute: int = 600
    concurrent: int = 100


@dataclass(frozen=True, slots=True)
class Limits:
    visitor: VisitorLimits = VisitorLimits()
    ip: IpLimits = IpLimits()
    site: SiteLimits = SiteLimits()
    message_chars: int = 4000


@dataclass(frozen=True, slots=True)
class Budgets:
    """Nano-dollars; None is no budget of that kind. The site file writes dollars: `day_usd: "5.00"`."""

    day: int | None = None
    month: int | None = None
    visitor_day: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is one: without, nothing has to be held."""
        return any(budget is not None for budget in (self.day, self.month, self.visitor_day))


@dataclass(frozen=True, slots=True)
class Theme:
    accent: str = "#2f5fd0"
    scheme: str = "auto"  # auto | light | dark
    position: str = "right"  # right | left


@dataclass(frozen=True, slots=True)
class Proactive:
    text: str
    after_seconds: int = 20
    pages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Widget:
    title: str = ""  # "" shows the site's name
    greeting: str = ""
    suggestions: tuple[str, ...] = ()
    theme: Theme = Theme()
    proactive: Proactive | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    secret: str  # `${secret:NAME}`: a reference, never the secret


@dataclass(frozen=True, slots=True)
class Privacy:
    retain_days: int = 30
    unwatched_seconds: int = 30
    page_context: bool = True


@dataclass(frozen=True, slots=True)
class Eval:
    name: str
    ask: tuple[str, ...]  # one question, or the visitor's side of a conversation
    expect: tuple[Mapping[str, Any], ...]  # [{"contains": "11"}, {"not-contains": "as an AI"}]


@dataclass(frozen=True, slots=True)
class Site:
    key: str
    name: str
    origins: tuple[str, ...]
    locale: str = "en"
    model: Model = Model()
    voice: Voice = Voice()
    knowledge: tuple[Passage, ...] = ()
    tools: tuple[Tool, ...] = ()
    memory: Memory = Memory()
    limits: Limits = Limits()
    budgets: Budgets = Budgets()
    fallbacks: Mapping[str, Words] = field(default_factory=dict)  # by error code
    widget: Widget = Widget()
    identity: Identity | None = None
    privacy: Privacy = Privacy()
    evals: tuple[Eval, ...] = field(default=())
    version: int = 0  # of the published voice; the store counts it up, the file does not hold it
