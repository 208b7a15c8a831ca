"""JSON schemas that replies are held to, checked before any engine sees them: a bad one is the caller's error.

Replies are held to them token by token by llguidance (https://github.com/guidance-ai/llguidance), here and inside vLLM.
It refuses what it cannot keep instead of leaving it out, fetches nothing that a `$ref` names, and has bounds for most
that could go wrong; those it lacks are here.
"""

import functools
import json
import subprocess
import sys
from typing import Any, cast

from ..errors import InvalidInput, ModelUnavailable

LONGEST = 64 * 1024  # characters of a schema as JSON
DEEPEST = 32  # levels
MOST_ITEMS = 10_000  # summed over a schema's arrays: each costs llguidance memory and time in advance
LONGEST_TRIAL_S = 20  # on a busy machine; of the processor's time it has a second
TRIAL = """
import contextlib, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with contextlib.suppress(ValueError):  # macOS takes none
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from llguidance import LLMatcher
wrong = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(sys.stdin.read()))
sys.stdout.buffer.write(wrong.encode())
"""
COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")
# One space after a comma or a colon, or none. With more as it likes, a weak model may write nothing else for ever.
COMPACT = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
SPACED = {**COMPACT, "item_separator": ", ", "key_separator": ": "}  # for a llguidance whose separators are no patterns


def grammar(schema: dict[str, Any], field: str) -> str:
    """The schema as llguidance's grammar, which also says how JSON is laid out. Takes up to seconds: not on a loop.

    Args:
        field: the argument it came with, for the error.

    Raises:
        InvalidInput: it is no JSON schema, is too large, allows nothing, or asks for what cannot be kept.
    """
    try:
        import llguidance
    except ImportError as error:
        raise ModelUnavailable(f"llguidance cannot be imported ({error})") from None
    written = text(schema, field)
    if wrong := _wrong(written):
        raise InvalidInput(field, f"cannot be kept as a JSON schema: {wrong}")
    return llguidance.LLMatcher.grammar_from_json_schema(written)


@functools.lru_cache(256)
def _wrong(written: str) -> str:
    """Why llguidance does not take this schema; empty if it does.

    It is tried in a process of its own: some take minutes, such as many patterns for one text, and nothing else stops
    them.
    """
    try:
        command = [sys.executable, "-P", "-c", TRIAL]
        tried = subprocess.run(command, input=written.encode(), capture_output=True, timeout=LONGEST_TRIAL_S)
    except subprocess.TimeoutExpired:  # nothing to keep in mind: it had less than its second
        raise ModelUnavailable("the machine is too busy to try a schema") from None
    if tried.returncode < 0:  # at a limit
        return "it is too complex"
    if tried.returncode > 0:
        raise ModelUnavailable(f"a schema cannot be tried: {tried.stderr.decode(errors='replace')[-300:]}")
    return (tried.stdout.decode(errors="replace").strip().splitlines() or [""])[0][:300]


def text(schema: dict[str, Any], field: str, layout: dict[str, Any] = COMPACT) -> str:
    """The schema as JSON with the layout in it, within the bounds.

    Raises:
        InvalidInput: it is no JSON, or beyond them.
    """
    items = _measured(schema, field)
    if not items <= MOST_ITEMS:  # also true for NaN
        raise InvalidInput(field, f"counts up to {items:g} items or properties; {MOST_ITEMS} are the most")
    try:
        written = json.dumps({**schema, "x-guidance": layout}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(field, f"is no JSON: {error}") from None
    if len(written) > LONGEST:
        raise InvalidInput(field, f"is {len(written)} characters long; {LONGEST} are the most")
    return written


def _measured(schema: object, field: str) -> float:
    """How many items its counts add up to."""
    items, level = 0.0, [schema]
    for _ in range(DEEPEST):
        below: list[object] = []
        for part in level:
            if isinstance(part, dict):
                part = cast(dict[object, object], part)
                items += sum(max(n, 0) for key, n in part.items() if key in COUNTS and isinstance(n, int | float))
                below += part.values()
            elif isinstance(part, list):
                below += cast(list[object], part)
        if not below:
            return items
        level = below
    raise InvalidInput(field, f"has more than {DEEPEST} levels")
