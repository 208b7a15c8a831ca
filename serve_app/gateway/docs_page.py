"""The page `/docs`: the OpenAPI document as HTML, written here. It has no script and loads nothing, so it works offline
and under a policy that allows nothing but its own style."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, cast

Schema = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 0 auto; padding: 1rem }
nav a { margin-right: 1rem }
code, pre { font: 0.9em/1.4 ui-monospace, monospace }
pre { overflow-x: auto; padding: 0.5rem; border: 1px solid #8886 }
details { border: 1px solid #8886; border-radius: 4px; margin: 0.3rem 0; padding: 0.3rem 0.6rem }
summary { cursor: pointer }
table { border-collapse: collapse; width: 100%; margin: 0.3rem 0 0.8rem }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 0.6rem 0.2rem 0; border-bottom: 1px solid #8883 }
.method { display: inline-block; min-width: 4rem; font-weight: bold }
.quiet { opacity: 0.75 }
"""
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REFERENCE = "#/components/schemas/"
LIMITS = {
    "default": "default",
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "minLength": "characters at least",
    "maxLength": "characters at most",
    "minItems": "items at least",
    "maxItems": "items at most",
    "pattern": "pattern",
}


def docs_page(document: Schema) -> str:
    """The whole page of an OpenAPI document."""
    title, version = text(document["info"]["title"]), text(document["info"]["version"])
    groups = _by_tag(document)
    links = "".join(f'<a href="#tag-{text(tag)}">{text(tag)}</a>' for tag in groups)
    parts = [
        f"<h1>{title} <span class=quiet>{version}</span></h1>",
        f'<nav>{links}<a href="#schemas">schemas</a><a href="openapi.json">openapi.json</a></nav>',
        "<p>Every request needs an API key, as <code>Authorization: Bearer KEY</code> or <code>X-API-Key: KEY</code>, "
        "unless it says otherwise.</p>",
    ]
    for tag, operations in groups.items():
        parts.append(f'<h2 id="tag-{text(tag)}">{text(tag)}</h2>')
        parts += [_operation(method, path, operation) for method, path, operation in operations]
    parts.append('<h2 id="schemas">schemas</h2>')
    parts += [_component(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}<title>{title}</title><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """A value as text of a page, whatever characters it has."""
    return escape(str(value))


def prose(value: str) -> str:
    """A description: its words between backticks are code, an empty line begins a paragraph."""
    marked = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text(value.strip()))
    return "</p><p>".join(re.split(r"\n\s*\n", marked))


def _by_tag(document: Schema) -> dict[str, list[tuple[str, str, Schema]]]:
    groups: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = next(iter(operation.get("tags", ())), "other")
            groups.setdefault(tag, []).append((method.upper(), path, operation))
    return groups


def _operation(method: str, path: str, operation: Schema) -> str:
    parts = [f"<p>{prose(operation['description'])}</p>"] if operation.get("description") else []
    if operation.get("security") == []:
        parts.append("<p>It needs no key.</p>")
    rows = [
        (f"<code>{text(one['name'])}</code> <span class=quiet>{one['in']}</span>", one["schema"], one)
        for one in operation.get("parameters", ())
    ]
    if rows:
        parts.append(_fields("parameter", rows))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(
            f"<p>Body as <code>{text(kind)}</code>: {_type(content['schema'])}</p>{_properties(content['schema'])}"
        )
        if content.get("example"):
            parts.append(f"<pre>{text(json.dumps(content['example'], indent=2, ensure_ascii=False))}</pre>")
    parts.append(_answers(operation["responses"]))
    head = f"<span class=method>{method}</span> <code>{text(path)}</code> {text(operation.get('summary', ''))}"
    return _folded(f"op-{operation['operationId']}", head, parts)


def _answers(responses: Schema) -> str:
    rows = ""
    for status, answer in responses.items():
        kinds = [
            f"<code>{text(kind)}</code> {_type(content['schema'])}"
            for kind, content in answer.get("content", {}).items()
        ]
        headers = [f"<code>{text(name)}</code>" for name in answer.get("headers", {})]
        what = "<br>".join([*kinds, *(["with " + ", ".join(headers)] if headers else [])])
        rows += f"<tr><td>{text(status)}<td>{prose(answer['description'])}<td>{what}"
    return f"<table><tr><th>answer<th>when<th>what{rows}</table>"


def _component(name: str, schema: Schema) -> str:
    described = [f"<p>{prose(schema['description'])}</p>"] if schema.get("description") else []
    fields = _properties(schema) or f"<p>{_type(schema)}</p>"
    return _folded(f"schema-{name}", f"<code>{text(name)}</code>", [*described, fields])


def _properties(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        (f"<code>{text(name)}</code>{' *' if name in required else ''}", inner, inner)
        for name, inner in schema.get("properties", {}).items()
    ]
    return _fields("field, * required", rows) if rows else ""


def _fields(title: str, rows: Iterable[tuple[str, Schema, Schema]]) -> str:
    lines = "".join(f"<tr><td>{name}<td>{_type(schema)}<td>{_about(schema, one)}" for name, schema, one in rows)
    return f"<table><tr><th>{title}<th>type<th>about{lines}</table>"


def _about(schema: Schema, described: Schema) -> str:
    limits = [f"{word} <code>{text(json.dumps(schema[key]))}</code>" for key, word in LIMITS.items() if key in schema]
    return "; ".join(part for part in (prose(described.get("description", "")), *limits) if part)


def _type(schema: Schema) -> str:
    """A schema in a few words, with links to those that have names."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return f'<a href="#schema-{text(name)}">{text(name)}</a>'
    if "const" in schema:
        return f"<code>{text(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{text(json.dumps(choice))}</code>" for choice in schema["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_type(choice) for choice in schema[key])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(cast(Schema, schema['additionalProperties']))}"
    return text(schema.get("contentMediaType") or schema.get("format") or kind)


def _folded(anchor: str, head: str, parts: Iterable[str]) -> str:
    return f'<details id="{text(anchor)}"><summary>{head}</summary>{"".join(parts)}</details>'
