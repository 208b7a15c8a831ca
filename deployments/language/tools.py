"""Tools of the caller: how they are checked, how a prompt tells them, and calls that a model is made to write.

A call that is forced is JSON held to a schema, so any weights can make one. How a model writes one of its own accord is
its training's: that takes a parser for it, which the engine has or has not.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, cast

from ..capabilities import Message, Tool, ToolCall
from ..errors import InvalidInput

CHOICES = ("auto", "required", "none")
MOST_TOOLS = 128
MOST_CALLS = 8  # in one reply that is made to call
OPEN = {"additionalProperties", "unevaluatedProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"}
NO_JSON = (ValueError, RecursionError)  # RecursionError: deeper than Python reads
INTRODUCTION = "You can call these tools. A call is JSON with `name` and `arguments`."


def checked_tools(tools: Sequence[Tool] | None, choice: str | None) -> tuple[tuple[Tool, ...], str]:
    """The tools a model may call, and `auto`, `required`, `none` or the name of one of them.

    Raises:
        InvalidInput: two have one name, there are too many, or the choice is of none.
    """
    offered = tuple(tools or ())
    names = [tool.name for tool in offered]
    if len(offered) > MOST_TOOLS or len(set(names)) < len(names):
        raise InvalidInput("tools", f"takes up to {MOST_TOOLS} tools, each with a name of its own")
    if choice is not None and choice not in CHOICES and choice not in names:
        known = ", ".join([*CHOICES, *names])
        raise InvalidInput("tool_choice", f"{choice!r} is no choice here. There are: {known}")
    if not offered and choice in ("auto", "required"):
        raise InvalidInput("tool_choice", f"is {choice!r}, but there are no tools")
    if not offered or choice == "none":
        return (), "none"
    return offered, choice or "auto"


def forced_schema(tools: Sequence[Tool], choice: str) -> dict[str, Any]:
    """What a reply that must be a call is held to: one tool's arguments, or a list of calls of any."""
    if choice != "required":
        return next(_closed(tool.parameters) for tool in tools if tool.name == choice)
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{tool.name}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    inner = {tool.name: _moved(_closed(tool.parameters), f"#/$defs/{tool.name}") for tool in tools}
    return {"type": "array", "items": {"anyOf": calls}, "minItems": 1, "maxItems": MOST_CALLS, "$defs": inner}


def _closed(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters without any that are not named, where nothing else says which there may be."""
    return parameters if OPEN & parameters.keys() else {**parameters, "additionalProperties": False}


def _moved(schema: Any, place: str) -> Any:
    """A schema whose references to itself hold at `place` of another one."""
    if isinstance(schema, list):
        return [_moved(part, place) for part in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(part, place) for key, part in cast(dict[str, Any], schema).items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved


def forced_calls(text: str, choice: str, before: Sequence[Message]) -> list[ToolCall] | None:
    """The calls of a reply held to `forced_schema`; None where it was cut."""
    try:
        said = json.loads(text)
    except NO_JSON:
        return None
    if choice != "required":
        return [ToolCall(id=call_id(before, 0, choice, text), name=choice, arguments=text)]
    pairs = [(call["name"], json.dumps(call["arguments"], ensure_ascii=False)) for call in said]
    return [
        ToolCall(id=call_id(before, number, *pair), name=pair[0], arguments=pair[1])
        for number, pair in enumerate(pairs)
    ]


def is_json(text: str) -> bool:
    """Whether it is JSON from its beginning to its end."""
    try:
        json.loads(text)
    except NO_JSON:
        return False
    return True


def call_id(before: Sequence[Message], number: int, name: str, arguments: str) -> str:
    """An id for a call after these messages: the same for the same call, so that replies can be compared and kept.

    Of nine letters and digits: Mistral's templates take no other.
    """
    return hashlib.sha256(f"{len(before)} {number} {name} {arguments}".encode()).hexdigest()[:9]


def described(tool: Tool) -> dict[str, Any]:
    """A tool in OpenAI's form, which chat templates and providers read."""
    return {"type": "function", "function": tool.model_dump()}


def knows_tools(template: str) -> bool:
    """Whether a chat template has a place for tools."""
    return re.search(r"\btools\b", template) is not None


def turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates that know tools read them: arguments are objects, and an answer names its tool.

    Raises:
        InvalidInput: arguments are no JSON object, or an answer has no call.
    """
    rendered: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.text}
        if message.name is not None:
            turn["name"] = message.name
        if message.tool_calls:
            turn["tool_calls"] = [
                {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}}
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            turn |= {"tool_call_id": message.tool_call_id, "name": _called(messages, message.tool_call_id)}
        rendered.append(turn)
    return rendered


def plain_turns(messages: Sequence[Message], tools: Sequence[Tool]) -> list[dict[str, str]]:
    """The same for templates that do not: tools before the first message, calls and answers in words."""
    rendered: list[dict[str, str]] = []
    answers = False
    for message in messages:
        content = message.text
        if message.tool_calls:
            calls = (json.dumps({"name": call.name, "arguments": _arguments(call)}) for call in message.tool_calls)
            content = "\n".join([content, *calls] if content else calls)
        if message.tool_call_id is not None:
            content = f"{_called(messages, message.tool_call_id)} answered: {content}"
        if answers and message.role == "tool":  # answers of one turn stay one: many templates want roles to alternate
            rendered[-1]["content"] += f"\n{content}"
        else:
            rendered.append({"role": "user" if message.role == "tool" else message.role, "content": content})
        answers = message.role == "tool"
    if tools:
        preface = [INTRODUCTION, *(json.dumps(tool.model_dump(), ensure_ascii=False) for tool in tools)]
        rendered[0] = {**rendered[0], "content": "\n".join([*preface, "", rendered[0]["content"]])}
    return rendered


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except NO_JSON:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidInput("messages", f"have a call of {call.name} whose arguments are no JSON object")
    return cast(dict[str, Any], arguments)


def _called(messages: Sequence[Message], call: str) -> str:
    names = (made.name for message in messages for made in message.tool_calls if made.id == call)
    if (name := next(names, None)) is None:
        raise InvalidInput("messages", f"have a tool's answer to {call!r}, which is the id of no call in them")
    return name
