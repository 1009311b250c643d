"""The models that the demo knows: their limits and what each refuses.

The figures are those of the real models, so that a request which the demo takes is one that the real API takes.
Where the public word is silent about a refusal (forced tools on Haiku 5.5), the demo refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EFFORTS = ("low", "medium", "high", "xhigh", "max")
THINKING = ("adaptive", "between_tools", "disabled", "enabled")
UP_TO_HIGH = EFFORTS[:3]


@dataclass(frozen=True, slots=True)
class Model:
    """Limits are tokens. `thinking` maps each accepted `thinking.type` to the efforts that go with it."""

    id: str
    name: str
    max_input: int
    max_output: int
    min_cacheable: int
    thinking: Mapping[str, tuple[str, ...]]
    thinks: bool  # unasked
    forced_tools: bool
    bound_thinking: bool  # a thinking block is refused behind any other prefix than its own
    bytes_per_token: float

    def info(self) -> dict[str, Any]:
        """The entry of `GET /v1/models`."""
        types = {name: _supported(name in self.thinking) for name in THINKING}
        return {
            "type": "model",
            "id": self.id,
            "display_name": self.name,
            "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
            "deprecated_at": None,
            "retires_at": None,
            "line": None,
            "max_input_tokens": self.max_input,
            "max_tokens": self.max_output,
            "capabilities": {
                "batch": _supported(False),
                "citations": _supported(True),
                "code_execution": _supported(False),
                "context_management": _supported(False),
                "effort": {"supported": True, **{effort: _supported(True) for effort in EFFORTS}},
                "image_input": _supported(True),
                "pdf_input": _supported(False),
                "server_tools": {
                    **_supported(False),
                    **dict.fromkeys(("code_execution", "web_search"), _supported(False)),
                },
                "structured_outputs": _supported(True),
                "thinking": {"supported": True, "types": types},
            },
        }


def _supported(yes: bool) -> dict[str, bool]:
    return {"supported": yes}


ADAPTIVE = {"adaptive": EFFORTS}
SONNET = {"adaptive": EFFORTS, "between_tools": UP_TO_HIGH}
HAIKU = {"adaptive": EFFORTS, "disabled": UP_TO_HIGH}
OPTIONAL = {"adaptive": EFFORTS, "disabled": EFFORTS, "enabled": EFFORTS}


def _current(id: str, name: str, thinking: Mapping[str, tuple[str, ...]]) -> Model:
    return Model(id, name, 1_000_000, 128_000, 512, thinking, True, False, True, 3.1)


def _earlier(id: str, name: str, window: int, output: int, min_cacheable: int, bytes_per_token: float = 3.1) -> Model:
    return Model(id, name, window, output, min_cacheable, OPTIONAL, False, True, False, bytes_per_token)


MODELS = {
    model.id: model
    for model in (
        _current("claude-fable-5-2", "Claude Fable 5.2", ADAPTIVE),
        _current("claude-mythos-5-2", "Claude Mythos 5.2", ADAPTIVE),
        _current("claude-opus-5-5", "Claude Opus 5.5", ADAPTIVE),
        _current("claude-sonnet-5-5", "Claude Sonnet 5.5", SONNET),
        _current("claude-haiku-5-5", "Claude Haiku 5.5", HAIKU),
        _current("claude-fable-5-1", "Claude Fable 5.1", ADAPTIVE),
        _current("claude-mythos-5-1", "Claude Mythos 5.1", ADAPTIVE),
        _earlier("claude-fable-5", "Claude Fable 5", 1_000_000, 128_000, 512),
        _earlier("claude-mythos-5", "Claude Mythos 5", 1_000_000, 128_000, 512),
        _earlier("claude-opus-5", "Claude Opus 5", 1_000_000, 128_000, 512),
        _earlier("claude-sonnet-5", "Claude Sonnet 5", 1_000_000, 128_000, 1024),
        _earlier("claude-opus-4-8", "Claude Opus 4.8", 1_000_000, 128_000, 1024),
        _earlier("claude-opus-4-7", "Claude Opus 4.7", 1_000_000, 128_000, 2048),
        _earlier("claude-opus-4-6", "Claude Opus 4.6", 1_000_000, 128_000, 4096, 4.0),
        _earlier("claude-sonnet-4-6", "Claude Sonnet 4.6", 1_000_000, 64_000, 1024, 4.0),
        _earlier("claude-opus-4-5", "Claude Opus 4.5", 200_000, 64_000, 4096, 4.0),
        _earlier("claude-sonnet-4-5", "Claude Sonnet 4.5", 200_000, 64_000, 1024, 4.0),
        _earlier("claude-haiku-4-5", "Claude Haiku 4.5", 200_000, 64_000, 4096, 4.0),
    )
}
