"""JSON schemas that have brought constrained decoders down, or might: wrong, endless, vast, or impossible ones."""

from typing import Any


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def doubling(levels: int) -> dict[str, Any]:
    """Each level refers to the next one twice: written out it would be beyond any memory."""
    kinds: dict[str, Any] = {f"d{levels}": {"type": "integer"}}
    for level in range(levels):
        below = {"$ref": f"#/$defs/d{level + 1}"}
        kinds[f"d{level}"] = {"type": "object", "properties": {"a": below, "b": below}, "required": ["a", "b"]}
    return {"$defs": kinds, "$ref": "#/$defs/d0"}


ITSELF: dict[str, Any] = {"type": "object"}
ITSELF["properties"] = {"again": ITSELF}  # no JSON at all

ODD: dict[str, dict[str, Any]] = {
    "anything": {},
    "unknown type": {"type": "strin"},
    "type of another type": {"type": 3},
    "no type": {"type": []},
    "nothing fits": {"type": "integer", "minimum": 5, "maximum": 3},
    "not": {"not": {}},
    "itself": {"$ref": "#"},
    "endless": {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]},
    "tree": {
        "$defs": {"t": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}},
        "$ref": "#/$defs/t",
    },
    "reference to the network": {"$ref": "http://127.0.0.1:9/schema.json"},
    "reference to a file": {"$ref": "file:///etc/hostname"},
    "reference to nothing": {"$ref": "#/$defs/nothing"},
    "costly pattern": {"type": "string", "pattern": "^(a+)+b$"},
    "vast pattern": {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"},
    "patterns at once": {"type": "string", "allOf": [{"pattern": f"(a|b)*a(a|b){{{i}}}"} for i in range(10, 110)]},
    "broken pattern": {"type": "string", "pattern": "("},
    "lookahead": {"type": "string", "pattern": "(?=a)b"},
    "many values": {"enum": [f"value {i}" for i in range(20_000)]},
    "many properties": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(5_000)}},
    "long text": {"type": "string", "minLength": 10**9},
    "vast array": {"type": "array", "items": {"type": "string"}, "minItems": 10**7, "maxItems": 10**8},
    "endless number": {"type": "array", "items": {"type": "string"}, "maxItems": float("inf")},
    "vast object": {"type": "object", "minProperties": 10**9},
    "arrays of arrays": {
        "type": "array",
        "minItems": 3_000,
        "items": {"type": "array", "minItems": 3_000, "items": {"type": "integer"}},
    },
    "deep": nested(12),
    "too deep": nested(500),
    "deeper than Python goes": nested(5_000),
    "doubling": doubling(14),
    "many ways": {
        "allOf": [
            {"anyOf": [{"properties": {f"a{i}": {"type": "string"}}}, {"properties": {f"b{i}": {"type": "string"}}}]}
            for i in range(20)
        ]
    },
    "properties of another type": {"properties": [1]},
    "required of another type": {"type": "object", "required": "a"},
    "NUL": {"const": "\x00"},
    "half a character": {"const": "\ud800"},
    "bytes": {"const": b"x"},
    "not a number": {"const": float("nan")},
    "keys that are no text": {"properties": {(1, 2): {}}},
    "it holds itself": ITSELF,
    "large number": {"type": "integer", "minimum": 10**40},
    "unknown format": {"type": "string", "format": "nonesuch"},
    "what is not kept": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
    "another's options": {"enum": ["a"], "x-guidance": {"lenient": True, "whitespace_pattern": "("}},
}
