"""A request's prompt as the cache sees it: tools, then system, then messages, laid out as one row of blocks.

Each block knows its tokens, its mark (`cache_control`) and the digest of everything up to its end. The same layout is
counted by `count_tokens`, billed in `usage` and looked up in the cache, so that the three can never disagree.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from demo.models import Model

Json = dict[str, Any]

IMAGE_TOKENS = 1500
FRAME_TOKENS = 3  # what a role, a tool or a block costs beside its text


@dataclass(frozen=True, slots=True)
class Block:
    tokens: int
    mark: str | None  # the ttl of its cache_control: "5m", "1h" or None
    digest: bytes  # of the whole prefix that ends here


def tokens(text: str, model: Model) -> int:
    """An approximation, but always the same one: the tokenizer of the real models is not public."""
    return math.ceil(len(text.encode()) / model.bytes_per_token)


def layout(body: Json, model: Model) -> list[Block]:
    """The row of blocks of a request that has passed the checks."""
    row: list[Block] = []
    chain = hashlib.sha256(model.id.encode()).digest()
    for tier, role, block in _blocks(body):
        chain = hashlib.sha256(chain + _canonical([tier, role, unmarked(block)])).digest()
        row.append(Block(_cost(block, model), mark_of(block), chain))
    if automatic := mark_of(body):  # a mark on the whole request stands on its last block
        row[-1] = Block(row[-1].tokens, automatic, row[-1].digest)
    return row


def total(row: list[Block]) -> int:
    return sum(block.tokens for block in row)


def binding(body: Json, index: int, model: Model) -> str:
    """The signature of a thinking block in message `index`: it holds for this model and this very prefix only."""
    prefix = [body.get("system"), body.get("tools"), [[m["role"], blocks_of(m)] for m in body["messages"][:index]]]
    return "Eq" + hashlib.sha256(model.id.encode() + _canonical(unmarked(prefix))).hexdigest()


def blocks_of(message: Json) -> list[Json]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def system_blocks(body: Json) -> list[Json]:
    system = body.get("system") or []
    return [{"type": "text", "text": system}] if isinstance(system, str) else system


def mark_of(block: Json) -> str | None:
    mark = block.get("cache_control")
    return (mark.get("ttl") or "5m") if mark else None


def unmarked(value: Any) -> Any:
    """The same without marks: a mark that moves on does not change the prompt."""
    if isinstance(value, dict):
        return {name: unmarked(item) for name, item in value.items() if name != "cache_control"}
    return [unmarked(item) for item in value] if isinstance(value, list) else value


def _blocks(body: Json) -> Iterator[tuple[Any, str, Json]]:
    for tool in body.get("tools") or []:
        yield "tools", "", tool
    for block in system_blocks(body):
        yield "system", "", block
    # A change of these keeps the tools and the system cached, and loses the messages.
    tier = ["messages", body.get("tool_choice"), body.get("thinking")]
    for message in body["messages"]:
        for block in blocks_of(message):
            yield tier, message["role"], block


def _cost(block: Json, model: Model) -> int:
    if block.get("type") == "image":
        return IMAGE_TOKENS
    return FRAME_TOKENS + tokens("".join(_texts(unmarked(block))), model)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a block, whatever its kind. Signatures cost nothing."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in ("signature", "type"):
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
