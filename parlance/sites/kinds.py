"""The kinds of value in a site file. Each refuses nonsense in words that teach, and writes back what it read."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from parlance import phrases
from parlance.site import Words
from parlance.sites import origins
from parlance.sites.rules import TIERS, rules

SITE_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
SECRET = re.compile(r"\$\{secret:[A-Z][A-Z0-9_]{0,63}\}")
NANO = 10**9

LOOKS_SECRET = re.compile(r"\$\{\s*secret\b[^}]*\}?", re.IGNORECASE)
_DOLLARS = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")


def closest(name: str, known: Iterable[str]) -> str:
    """` (did you mean `...`?)` where something known is near, else nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def nano_usd(value: object) -> int:
    """Dollars as the site file writes them, `"5.00"` or `5`, in nano-dollars. Raises ValueError with a lesson."""
    if isinstance(value, float):
        raise ValueError(f'is read as a binary fraction, and money is exact here: put quotes around it, "{value:.2f}"')
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = _DOLLARS.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError('is an amount of US dollars: digits with at most nine decimals in quotes, such as "5.00"')
    return int(match[1]) * NANO + int((match[2] or "").ljust(9, "0"))


def dollars(nano: int) -> str:
    """The shortest way to write an amount exactly, cents always shown: 5_000_000_000 is `5.00`."""
    whole, fraction = divmod(nano, NANO)
    return f"{whole}.{f'{fraction:09}'.rstrip('0').ljust(2, '0')}"


def malformed_secret(text: str) -> str | None:
    """The first thing in a text that means to be a secret's reference and is none."""
    return next((found[0] for found in LOOKS_SECRET.finditer(text) if not SECRET.fullmatch(found[0])), None)


class _Kind(fields.Field[Any]):
    default_error_messages = {  # noqa: RUF012 - marshmallow's own form of it
        "required": "is missing",
        "null": "is empty: give it a value, or leave the line out",
    }


class Text(_Kind):
    """Well-formed Unicode that is not blank, of at most `most` code points; `pattern` and its `lesson` narrow it."""

    def __init__(
        self,
        most: int = 2000,
        *,
        lines: bool = True,
        blank: bool = False,
        secrets: bool = False,
        pattern: re.Pattern[str] | None = None,
        lesson: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.most, self.lines, self.blank, self.secrets = most, lines, blank, secrets
        self.pattern, self.lesson = pattern, lesson

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(not_text(value))
        if complaint := self.complaint(value):
            raise ValidationError(complaint)
        return value

    def complaint(self, text: str) -> str | None:
        """What is wrong with a text of this kind."""
        if not text.strip() and not self.blank:
            return "is blank: give it words, or leave the line out"
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            return "holds a NUL or half of a surrogate pair, which no text may"
        if len(text) > self.most:
            return f"has {len(text)} characters; at most {self.most} are allowed"
        if not self.lines and "\n" in text:
            return "is one line; take the line break out"
        if self.pattern and not self.pattern.fullmatch(text):
            return f"`{text}` {self.lesson}"
        return self._secret_complaint(text)

    def _secret_complaint(self, text: str) -> str | None:
        if malformed := malformed_secret(text):
            return f"`{malformed}` is not a secret's reference; write ${{secret:NAME}}, NAME in capitals, digits and _"
        if not self.secrets and SECRET.search(text):
            return "a secret is never filled in here; only a tool's url and headers and identity.secret take one"
        return None


class Voiced(Text):
    """A text of the voice: it stands in the prompt's stable part, so nothing in it may ask to change per request."""

    def complaint(self, text: str) -> str | None:
        return super().complaint(text) or rules().volatile(text)


class Passages(Text):
    """A text of the knowledge. What it says about secrets is prose: nothing is ever filled in."""

    def _secret_complaint(self, text: str) -> str | None:
        return None


class SecretName(Text):
    """A secret's reference. What stands there instead may be the secret itself, so it is not repeated."""

    def complaint(self, text: str) -> str | None:
        lesson = "is not a reference; keep the secret elsewhere and write ${secret:NAME}"
        return None if SECRET.fullmatch(text) else lesson


class Choice(Text):
    def __init__(self, *choices: str, **kwargs: Any) -> None:
        super().__init__(100, **kwargs)
        self.choices = choices

    def complaint(self, text: str) -> str | None:
        if text in self.choices:
            return None
        return f"`{text}` is not one of {', '.join(self.choices)}{closest(text, self.choices)}"


class Known(Text):
    """A model tier or an exact model id that exists and has a price."""

    def complaint(self, text: str) -> str | None:
        if rules().models(text) is None:
            tiers = ", ".join(TIERS)
            return f"there is no priced model `{text}`{closest(text, TIERS)}; take a tier ({tiers}) or an exact id"
        return None


class Origin(Text):
    def complaint(self, text: str) -> str | None:
        return super().complaint(text) or origins.mistake(text)


class Address(Text):
    """An absolute web address. `private_http`: plain http only where it stays within the operator's own network."""

    def __init__(self, *, private_http: bool = False, **kwargs: Any) -> None:
        super().__init__(2000, lines=False, **kwargs)
        self.private_http = private_http

    def complaint(self, text: str) -> str | None:
        return super().complaint(text) or self._address_complaint(text)

    def _address_complaint(self, text: str) -> str | None:
        try:
            parts = urlsplit(SECRET.sub("SECRET", text))
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or any(c.isspace() for c in text):
            return f"`{text}` is not a web address; write it whole, https://… and all"
        if parts.username is not None:
            return "holds a user name or password; put them into a header, as ${secret:NAME}"
        if self.private_http and parts.scheme == "http" and not _is_private(host):
            return "would send the visitor's words unencrypted; use https (http is for private addresses)"
        return None


class Whole(_Kind):
    """A whole number within bounds; not `true`, not `5.0`, not `"5"`."""

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least, self.most = least, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise ValidationError(f"is a whole number from {self.least} to {self.most}, without quotes")
        return value


class Seconds(_Kind):
    def __init__(self, least: float, most: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least, self.most = least, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise ValidationError(f"is a number of seconds from {self.least:g} to {self.most:g}, without quotes")
        return float(value)


class Flag(_Kind):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("is `true` or `false`, without quotes")
        return value


class Money(_Kind):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        try:
            return nano_usd(value)
        except ValueError as error:
            raise ValidationError(str(error)) from error

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else dollars(value)


class Block(fields.Nested):
    """Settings within settings."""

    default_error_messages = _Kind.default_error_messages


class Several(_Kind):
    """A list of one kind. `once` names what may not repeat: an entry's setting, or "" for the entry itself."""

    def __init__(
        self, inner: fields.Field[Any], *, least: int = 0, most: int = 200, once: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.inner, self.least, self.most, self.once = inner, least, most, once

    def _bind_to_schema(self, field_name: str, parent: Any) -> None:
        super()._bind_to_schema(field_name, parent)
        self.inner._bind_to_schema(field_name, self)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValidationError("is a list: [one, another], or a line for each that begins with `- `")
        if not self.least <= len(value) <= self.most:
            raise ValidationError(f"has {len(value)} entries; it takes {self.least} to {self.most}")
        entries, mistakes = self._entries(value)
        mistakes = {**self._repeats(value), **mistakes}
        if mistakes:
            raise ValidationError(mistakes)
        return tuple(entries)

    def _entries(self, value: Sequence[Any]) -> tuple[list[Any], dict[int, Any]]:
        entries, mistakes = [], {}
        for number, entry in enumerate(value):
            try:
                entries.append(self.inner.deserialize(entry))
            except ValidationError as error:
                mistakes[number] = error.messages
        return entries, mistakes

    def _repeats(self, value: Sequence[Any]) -> dict[int, Any]:
        seen: dict[str, int] = {}
        repeats: dict[int, Any] = {}
        for number, entry in enumerate(value if self.once is not None else ()):
            name = entry.get(self.once) if self.once and isinstance(entry, Mapping) else entry
            if isinstance(name, str) and seen.setdefault(name, number) != number:
                message = [f"`{name}` is there already, as entry {seen[name] + 1}"]
                repeats[number] = {self.once: message} if self.once else message
        return repeats

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> list[Any]:
        return [self.inner._serialize(entry, attr, obj, **kwargs) for entry in value]


class Asked(_Kind):
    """One question, or the visitor's side of a whole conversation. One question is written back alone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.list = Several(Text(4000), least=1, most=50)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        asked: tuple[str, ...] = self.list.deserialize([value] if isinstance(value, str) else value)
        return asked

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value[0] if len(value) == 1 else list(value)


class Given(_Kind):
    """A mapping that is kept as it is written, checked by a subclass: `mistakes` by name."""

    what = "names with values"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError(f"takes {self.what}")
        if mistakes := self.mistakes(value):
            raise ValidationError(mistakes)
        return value

    def mistakes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return plain(value)


class Fallbacks(Given):
    """The brand's own words by code, each a text or texts by language."""

    what = "codes with the words for each, such as `busy: One moment, please.`"
    words = Text(1000)

    def mistakes(self, given: Mapping[str, Words]) -> dict[str, Any]:
        found = {code: self._code_mistakes(code, words) for code, words in given.items()}
        return {code: mistakes for code, mistakes in found.items() if mistakes}

    def _code_mistakes(self, code: str, words: Any) -> Any:
        if code not in phrases.CODES:
            return [f"there is no such code{closest(code, phrases.CODES)}; there are {', '.join(phrases.CODES)}"]
        if isinstance(words, str):
            complaint = self.words.complaint(words)
            return [complaint] if complaint else None
        if not isinstance(words, Mapping) or not words:
            return ["is a text, or texts by language, such as {en: One moment., de: Einen Moment.}"]
        found = {tag: self._text_complaint(tag, text) for tag, text in words.items()}
        return {tag: [complaint] for tag, complaint in found.items() if complaint}

    def _text_complaint(self, tag: str, text: Any) -> str | None:
        if not LANGUAGE.fullmatch(tag):
            return f"`{tag}` is no language tag; write it like en, de-AT or zh-Hant"
        return self.words.complaint(text) if isinstance(text, str) else not_text(text)


def plain(value: Any) -> Any:
    """Mappings and sequences of any class as the dicts and lists that JSON and YAML write."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def not_text(value: Any) -> str:
    """The lesson for a value that YAML does not read as text."""
    if isinstance(value, Mapping | list | tuple):
        return "is a text, and this is a list or has settings of its own"
    return f'is a text; put quotes around it: "{json.dumps(value)}"'


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal", ".local", ".lan"))
    return address.is_private or address.is_loopback
