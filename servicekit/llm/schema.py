"""JSON Schemas for structured output, in the subset that strict decoders take."""

from __future__ import annotations

from typing import Any

# Strict decoders refuse these or differ on them (minLength); the models check them anyway.
_DROPPED = {
    "title", "default", "examples", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "discriminator", "description",
}  # fmt: skip


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every property required, no others allowed, and no keyword that strict decoders refuse."""
    strict: dict[str, Any] = _strict(schema)
    return strict


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(member) for member in node]
    if not isinstance(node, dict):
        return node
    if "const" in node:
        return {"type": node.get("type", "string"), "enum": [node["const"]]}
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    for key in ("properties", "$defs"):
        if isinstance(node.get(key), dict):
            # Their keys are our own names, not keywords.
            out[key] = {name: _strict(member) for name, member in node[key].items()}
    out |= {key: _strict(value) for key, value in out.items() if key not in ("properties", "$defs", "enum", "required")}
    if "oneOf" in out:
        out["anyOf"] = out.pop("oneOf")
    if "properties" in out:
        out |= {"required": list(out["properties"]), "additionalProperties": False}
    return out


def outline(schema: dict[str, Any]) -> str:
    """A strict schema in a few lines of shorthand, for models without structured output: {"a": string, "b": [A]}."""
    definitions: dict[str, Any] = schema.get("$defs", {})
    lines = [f"{name} = {_outlined(node)}" for name, node in definitions.items()]
    return "\n".join([_outlined(schema), *lines])


def _outlined(node: dict[str, Any]) -> str:
    if "$ref" in node:
        return str(node["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in node:
        return " | ".join(_outlined(member) for member in node["anyOf"])
    if "enum" in node:
        return " | ".join(f'"{value}"' for value in node["enum"])
    if node.get("type") == "array":
        return f"[{_outlined(node.get('items', {}))}]"
    if node.get("type") == "object":
        members = (f'"{name}": {_outlined(member)}' for name, member in node.get("properties", {}).items())
        return "{" + ", ".join(members) + "}"
    return str(node.get("type", "any"))
