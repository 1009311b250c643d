"""What the Messages API refuses before it answers. Each check is a sentence; the first that fails is the answer.

The messages are worded as the real ones where those are known, since programs match on some of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from demo.errors import ApiError, invalid
from demo.instances import instance
from demo.models import EFFORTS, MODELS, Model
from demo.prompt import Json, binding, blocks_of, mark_of, system_blocks

VERSION = "2026-10-21"
MAX_MARKS = 4
MARKS = ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral", "ttl": "1h"})
MAX_BODY_BYTES = 32 * 1024 * 1024

COUNTED = {
    "messages", "model", "cache_control", "output_config", "speed", "system", "thinking", "tool_choice", "tools",
    "user_profile_id", "workspace_id",
}  # fmt: skip
CREATED = COUNTED | {
    "max_tokens", "container", "diagnostics", "inference_geo", "metadata", "service_tier", "stop_sequences", "stream",
}  # fmt: skip
SAMPLING = ("temperature", "top_p", "top_k")
TOOL_FIELDS = {
    "name", "description", "input_schema", "type", "cache_control", "strict", "input_examples", "eager_input_streaming",
    "defer_loading", "allowed_callers",
}  # fmt: skip
BLOCKS = {
    "system": {"text"},
    "user": {"text", "image", "document", "search_result", "tool_result", "container_upload"},
    "assistant": {"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"},
}


def check_version(version: str | None) -> None:
    if not version:
        raise invalid("anthropic-version: header is required")
    if version != VERSION:
        raise invalid(f'anthropic-version: "{version}" is not a valid version; use "{VERSION}"')


def check_count(body: Json) -> Model:
    """Everything that holds for count_tokens and for messages alike."""
    _only(body, COUNTED, "")
    return _check_prompt(body)


def check_message(body: Json, paused: bool = False) -> Model:
    """`paused`: the last message is an answer that stopped with pause_turn, which may be sent back as it is."""
    _only(body, CREATED, "")
    model = _check_prompt(body, paused)
    _check_max_tokens(body, model)
    _check_small_print(body)
    return model


def check_length(count: int, model: Model) -> None:
    if count > model.max_input:
        raise invalid(f"prompt is too long: {count} tokens > {model.max_input} maximum")


def _check_prompt(body: Json, paused: bool = False) -> Model:
    model = _check_model(body)
    _check_tools(body)
    _check_tool_choice(body, model)
    _check_system(body)
    _check_messages(body, paused)
    _check_tool_results(body["messages"])
    _check_thinking(body, model)
    _check_bound_thinking(body, model)
    _check_output(body)
    _check_marks(body)
    return model


def _check_model(body: Json) -> Model:
    model = _required(body, "model", str)
    if model not in MODELS:
        raise ApiError(404, f"model: {model}")
    return MODELS[model]


def _check_max_tokens(body: Json, model: Model) -> None:
    count = _required(body, "max_tokens", int)
    if count < 0:
        raise invalid("max_tokens: must be greater than or equal to 0")
    if count > model.max_output:
        raise invalid(
            f"max_tokens: {count} > {model.max_output}, "
            f"which is the maximum allowed number of output tokens for {model.id}"
        )


def _check_small_print(body: Json) -> None:
    _optional(body, "stream", bool)
    metadata = _optional(body, "metadata", dict) or {}
    _only(metadata, {"user_id"}, "metadata.")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise invalid("service_tier: Input should be 'auto' or 'standard_only'")
    for index, stop in enumerate(_optional(body, "stop_sequences", list) or []):
        if not isinstance(stop, str) or not stop.strip():
            raise invalid(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")


def _check_tools(body: Json) -> None:
    tools = _optional(body, "tools", list) or []
    for index, tool in enumerate(tools):
        where = f"tools.{index}"
        _object(tool, where)
        _only(tool, TOOL_FIELDS, f"{where}.custom.")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", _required(tool, "name", str, f"{where}.custom.")):
            raise invalid(f"{where}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        _check_input_schema(_required(tool, "input_schema", dict, f"{where}.custom."), f"{where}.custom.input_schema.")
    if len({tool["name"] for tool in tools}) < len(tools):
        raise invalid("tools: Tool names must be unique.")


def _check_input_schema(schema: Json, where: str) -> None:
    if schema.get("type") != "object":
        raise invalid(f"{where}type: Input should be 'object'")
    properties = _optional(schema, "properties", dict, where) or {}
    for name, known in properties.items():
        _object(known, f"{where}properties.{name}")
        _optional(known, "enum", list, f"{where}properties.{name}.")
        _optional(known, "pattern", str, f"{where}properties.{name}.")
    if not all(isinstance(name, str) for name in _optional(schema, "required", list, where) or []):
        raise invalid(f"{where}required: Input should be a list of strings")


def _check_tool_choice(body: Json, model: Model) -> None:
    choice = _optional(body, "tool_choice", dict)
    if choice is None:
        return
    if not body.get("tools"):
        raise invalid("tool_choice: may only be specified while providing tools")
    kind = choice.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise invalid(f"tool_choice: Input tag '{kind}' does not match any of: 'auto', 'any', 'tool', 'none'")
    if kind in ("any", "tool") and not model.forced_tools:
        raise invalid(f"tool_choice: type '{kind}' is not supported for {model.id}; use 'auto' or 'none'")
    if kind == "tool" and choice.get("name") not in {tool["name"] for tool in body["tools"]}:
        raise invalid(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def _check_system(body: Json) -> None:
    if "system" in body and not isinstance(body["system"], str | list):
        raise invalid("system: Input should be a valid string or list")
    if body.get("system") == "":
        return  # an empty string is no system prompt at all
    for index, block in enumerate(system_blocks(body)):
        _check_block(block, "system", f"system.{index}")


def _check_messages(body: Json, paused: bool) -> None:
    messages = _required(body, "messages", list)
    if not messages:
        raise invalid("messages: at least one message is required")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}")
    if messages[0]["role"] != "user":
        raise invalid('messages: first message must use the "user" role')
    if messages[-1]["role"] == "assistant" and not paused:
        raise invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _check_message(message: Any, where: str) -> None:
    _object(message, where)
    _only(message, {"role", "content"}, f"{where}.")
    role = _required(message, "role", str, f"{where}.")
    if role not in BLOCKS:
        raise invalid(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
    content = message.get("content")
    if not isinstance(content, str | list):
        raise invalid(f"{where}.content: Input should be a valid string or list")
    if not content:
        raise invalid(f"{where}: {role} messages must have non-empty content")
    for index, block in enumerate(blocks_of(message)):
        _check_block(block, role, f"{where}.content.{index}")


def _check_block(block: Any, role: str, where: str) -> None:
    _object(block, where)
    kind = _required(block, "type", str, f"{where}.")
    if role == "assistant" and kind == "document":
        raise invalid(f"{where}: `document` blocks are not permitted in `assistant` messages")
    if kind not in BLOCKS[role]:
        raise invalid(
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            + ", ".join(f"'{name}'" for name in sorted(BLOCKS[role]))
        )
    if kind in FORMS:
        FORMS[kind](block, role, where)


def _check_text(block: Json, role: str, where: str) -> None:
    text = _required(block, "text", str, f"{where}.text.")
    if not text:
        raise invalid(f"{where.split('.')[0]}: text content blocks must be non-empty")
    if not text.strip():
        raise invalid(f"{where.split('.')[0]}: text content blocks must contain non-whitespace text")
    _only(block, {"type", "text", "cache_control", "citations"}, f"{where}.text.")
    if role != "assistant" and block.get("citations"):
        raise invalid(f"{where}.text.citations: citations are not permitted on text blocks in `{role}` messages")


def _check_thinking_block(block: Json, role: str, where: str) -> None:
    _required(block, "thinking", str, f"{where}.thinking.")
    _required(block, "signature", str, f"{where}.thinking.")
    _only(block, {"type", "thinking", "signature"}, f"{where}.thinking.")


def _check_tool_use(block: Json, role: str, where: str) -> None:
    _required(block, "id", str, f"{where}.tool_use.")
    _required(block, "name", str, f"{where}.tool_use.")
    _required(block, "input", dict, f"{where}.tool_use.")
    _only(block, {"type", "id", "name", "input", "caller", "toolset_name", "cache_control"}, f"{where}.tool_use.")


def _check_tool_result(block: Json, role: str, where: str) -> None:
    _required(block, "tool_use_id", str, f"{where}.tool_result.")
    _optional(block, "is_error", bool, f"{where}.tool_result.")
    _only(
        block, {"type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"}, f"{where}.tool_result."
    )
    content = block.get("content") or []
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid(f"{where}.tool_result.content: Input should be a valid string or list")
    for index, inner in enumerate(content):
        place = f"{where}.tool_result.content.{index}"
        _object(inner, place)
        if _required(inner, "type", str, f"{place}.") not in ("text", "image", "search_result", "document"):
            raise invalid(f"{place}: Input tag '{inner.get('type')}' does not match any of the expected tags")
        if inner["type"] in FORMS:
            FORMS[inner["type"]](inner, role, place)


def _check_search_result(block: Json, role: str, where: str) -> None:
    _required(block, "source", str, f"{where}.search_result.")
    _required(block, "title", str, f"{where}.search_result.")
    _only(block, {"type", "source", "title", "content", "citations", "cache_control"}, f"{where}.search_result.")
    content = _required(block, "content", list, f"{where}.search_result.")
    if not content:
        raise invalid(f"{where}.search_result.content: at least one text block is required")
    for index, text in enumerate(content):
        _object(text, f"{where}.search_result.content.{index}")
        _check_text(text, role, f"{where}.search_result.content.{index}")


FORMS = {
    "text": _check_text,
    "thinking": _check_thinking_block,
    "tool_use": _check_tool_use,
    "tool_result": _check_tool_result,
    "search_result": _check_search_result,
}


def _check_tool_results(messages: list[Json]) -> None:
    """Every tool_use is answered in the next message, first of all, and nothing else is."""
    spoken = [(index, message) for index, message in enumerate(messages) if message["role"] != "system"]
    asked: list[str] = []
    for index, message in spoken:
        answered = _check_answers(message, index, asked)
        if missing := [id for id in asked if id not in answered]:
            raise invalid(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block "
                "in the next message."
            )
        asked = [block["id"] for block in blocks_of(message) if block["type"] == "tool_use"]
    ids = [block["id"] for message in messages for block in blocks_of(message) if block["type"] == "tool_use"]
    if len(set(ids)) < len(ids):
        raise invalid("messages: `tool_use` ids must be unique")


def _check_answers(message: Json, index: int, asked: list[str]) -> set[str]:
    """The ids that this message answers. Results stand before everything else in it."""
    blocks = blocks_of(message)
    answered: set[str] = set()
    for at, block in enumerate(blocks):
        if block["type"] != "tool_result":
            continue
        id = block["tool_use_id"]
        if id not in asked:
            raise invalid(
                f"messages.{index}.content.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if id in answered:
            raise invalid(f"messages.{index}.content.{at}: each tool_use must have a single result; {id} has several")
        answered.add(id)
    order = [block["type"] == "tool_result" for block in blocks]
    if (False, True) in pairwise(order):
        raise invalid(f"messages.{index}: `tool_result` blocks must come first in the message's content")
    return answered


def _check_thinking(body: Json, model: Model) -> None:
    effort = (_optional(body, "output_config", dict) or {}).get("effort")
    if effort is not None and effort not in EFFORTS:
        raise invalid(f"output_config.effort: Input should be {', '.join(repr(name) for name in EFFORTS)}")
    thinking = _optional(body, "thinking", dict)
    if thinking is None:
        return
    kind = _required(thinking, "type", str, "thinking.")
    if kind not in model.thinking:
        accepted = ", ".join(f'"{name}"' for name in model.thinking)
        raise invalid(f'thinking.type: "{kind}" is not supported for {model.id}. Accepted: {accepted}')
    if effort is not None and effort not in model.thinking[kind]:
        raise invalid(f'thinking.type: "{kind}" does not go with output_config.effort "{effort}" on {model.id}')
    if thinking.get("display") not in (None, "omitted", "summarized"):
        raise invalid("thinking.display: Input should be 'summarized' or 'omitted'")
    if kind != "enabled":
        return
    budget = _required(thinking, "budget_tokens", int, "thinking.")
    if budget < 1024 or budget >= body.get("max_tokens", budget + 1):
        raise invalid("thinking.budget_tokens: must be at least 1024 and less than `max_tokens`")


def _check_bound_thinking(body: Json, model: Model) -> None:
    """A thinking block belongs to the prefix that it was thought behind."""
    if not model.bound_thinking:
        return
    for index, message in enumerate(body["messages"]):
        for at, block in enumerate(blocks_of(message)):
            if block["type"] == "thinking" and block["signature"] != binding(body, index, model):
                raise invalid(
                    f"messages.{index}.content.{at}: Invalid `signature` in `thinking` block. "
                    "The block is bound to a different conversation."
                )


def _check_output(body: Json) -> None:
    config = body.get("output_config") or {}
    _only(config, {"effort", "format"}, "output_config.")
    format = _optional(config, "format", dict, "output_config.")
    if format is None:
        return
    if format.get("type") != "json_schema" or not isinstance(format.get("schema"), dict):
        raise invalid("output_config.format: Input should be {'type': 'json_schema', 'schema': {...}}")
    try:
        instance(format["schema"])
    except (TypeError, AttributeError, LookupError, RecursionError) as error:
        raise invalid("output_config.format.schema: The schema is recursive or not valid") from error
    for schema in _objects(format["schema"]):
        if schema.get("additionalProperties") is not False:
            raise invalid(
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
            )
    if any((block.get("citations") or {}).get("enabled") for block in _sources(body)):
        raise invalid("output_config.format: citations are not supported together with structured outputs")


def _objects(schema: Any) -> Iterator[Json]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


def _sources(body: Json) -> Iterator[Json]:
    for block in _every_block(body):
        if block["type"] in ("search_result", "document"):
            yield block


def _every_block(body: Json) -> Iterator[Json]:
    """Blocks of the messages, those within tool results too."""
    for message in body["messages"]:
        for block in blocks_of(message):
            yield block
            if block["type"] == "tool_result" and isinstance(block.get("content"), list):
                yield from block["content"]


def _check_marks(body: Json) -> None:
    marked = [*(body.get("tools") or []), *system_blocks(body), *_every_block(body), body]
    marks = [block for block in marked if block.get("cache_control") is not None]
    for block in marks:
        if block["cache_control"] not in MARKS:
            raise invalid("cache_control: Input should be {'type': 'ephemeral'} with an optional ttl of '5m' or '1h'")
    if len(marks) > MAX_MARKS:
        raise invalid(f"A maximum of {MAX_MARKS} blocks with cache_control may be provided. Found {len(marks)}.")
    if ("5m", "1h") in pairwise(mark_of(block) for block in marks):
        raise invalid("cache_control: a ttl='1h' block must not come after a ttl='5m' block")


def _only(value: Json, allowed: set[str], where: str) -> None:
    for name in value:
        if name in SAMPLING and not where:
            raise invalid(f"{name}: sampling parameters are not supported on API version {VERSION}")
        if name not in allowed:
            raise invalid(f"{where}{name}: Extra inputs are not permitted")


def _object(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise invalid(f"{where}: Input should be an object")


def _required(value: Json, name: str, kind: type, where: str = "") -> Any:
    if value.get(name) is None:
        raise invalid(f"{where}{name}: Field required")
    return _optional(value, name, kind, where)


def _optional(value: Json, name: str, kind: type, where: str = "") -> Any:
    found = value.get(name)
    if found is not None and (not isinstance(found, kind) or (kind is int and isinstance(found, bool))):
        raise invalid(f"{where}{name}: Input should be a valid {_word(kind)}")
    return found


def _word(kind: type) -> str:
    return {str: "string", int: "integer", bool: "boolean", list: "list", dict: "dictionary"}[kind]
