"""Calls of tools as Hermes, Qwen and many others write them: JSON with `name` and `arguments` between `<tool_call>` and
`</tool_call>`.

The form is that of Hermes 2 Pro (https://github.com/NousResearch/Hermes-Function-Calling). A model's chat template
shows it to the model, so the template tells which models write it.
"""

import json
import re
from typing import Any, Literal

from ..capabilities import ToolCall
from .reading import End, Reading, reading
from .request import LanguageRequest, template_of
from .tools import NO_JSON, call_id

OPENING = "<tool_call>"
CALL = re.compile(r"\s*<tool_call>\s*(\{.*?\})\s*(?:</tool_call>|$)\s*", re.DOTALL)


def reading_of(tokenizer: Any, request: LanguageRequest) -> Reading:
    """The way to read the reply to a request: in this form where the model may call tools and its chat template shows
    it, else as `reading` has it."""
    if request.tool_choice == "auto" and OPENING in template_of(tokenizer, request):
        return HermesReading(request)
    return reading(request)


class HermesReading(Reading):
    """A reply that may be calls. Text waits only as long as it could be the beginning of one."""

    skip_special_tokens = False  # many models write the marks of a call as such
    _said = 0  # characters

    def take(self, text: str, tokens: list[int]) -> str:
        self.text += text
        said, unsaid = self._said, self.text[self._said :]
        self._said += _certain(unsaid)
        return self.text[said : self._said]

    def end(self, reason: Literal["stop", "length"]) -> End:
        calls, rest = list[ToolCall](), self.text[self._said :]
        for found in CALL.finditer(rest):
            if call := self._call(len(calls), found[1]):
                calls.append(call)
                rest = rest.replace(found[0], "", 1)
        return End(rest, "tool_calls" if calls and reason == "stop" else reason, calls)

    def _call(self, number: int, written: str) -> ToolCall | None:
        """The call that this JSON is; None if it is none of the caller's tools, and so a text."""
        try:
            said: Any = json.loads(written)
            name, arguments = said["name"], said.get("arguments", said.get("parameters")) or {}
        except (*NO_JSON, KeyError, TypeError):
            return None
        if name not in [tool.name for tool in self.request.tools] or not isinstance(arguments, dict):
            return None
        text = json.dumps(arguments, ensure_ascii=False)
        return ToolCall(id=call_id(self.request.messages, number, name, text), name=name, arguments=text)


def _certain(text: str) -> int:
    """How many characters of what is not said yet are no part of a call."""
    if (begun := text.find(OPENING)) >= 0:
        return len(text[:begun].rstrip())
    held = next((length for length in range(len(OPENING) - 1, 0, -1) if text.endswith(OPENING[:length])), 0)
    return len(text[: len(text) - held].rstrip())
