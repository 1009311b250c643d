"""The least value that a JSON schema accepts: the demo's structured output. It judges nothing."""

from __future__ import annotations

from typing import Any

FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "email": "nobody@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "duration": "PT0S",
}


def instance(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """A value of this schema, with nothing in it that is not required. Booleans are true."""
    root = schema if root is None else root
    if "$ref" in schema:
        return instance(_resolve(schema["$ref"], root), root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return instance(schema[several][0], root)
    return _of_type(schema, root)


def _of_type(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: instance(properties.get(name) or {}, root) for name in schema.get("required") or []}
    if kind == "array":
        return [instance(schema.get("items") or {}, root) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        return FORMATS.get(schema.get("format", ""), "demo")
    return {"integer": schema.get("minimum", 0), "number": schema.get("minimum", 0), "boolean": True}.get(kind)


def _resolve(ref: str, root: dict[str, Any]) -> dict[str, Any]:
    found: Any = root
    for name in ref.removeprefix("#").strip("/").split("/"):
        found = found[name] if name else found
    return dict(found)
