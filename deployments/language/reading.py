"""A reply's text as it comes from the engine: what of it is said to the caller, and which calls it turns out to be."""

from dataclasses import dataclass, field
from typing import Literal

from ..capabilities import ToolCall
from ..errors import InvalidInput
from .request import LanguageRequest
from .tools import forced_calls, is_json

TOO_COMPLEX = "is too complex as a JSON schema: the reply could not be held to it to its end"


@dataclass(frozen=True)
class End:
    """What is left to say at the end, and why it is the end."""

    text: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    thought: str = ""


class Reading:
    """A reply that is a text: all of it is said at once. `text` is all of it so far."""

    skip_special_tokens = True  # which are no text

    def __init__(self, request: LanguageRequest) -> None:
        self.request = request
        self.text = ""

    def take(self, text: str, tokens: list[int]) -> str:
        """The next text, and all tokens until now; returns what is certain to be said."""
        self.text += text
        return text

    def end(self, reason: Literal["stop", "length"]) -> End:
        """After the last text.

        Raises:
            InvalidInput: it is not of the form that was asked for.
        """
        return End("", reason)

    def _must_be_whole(self, reason: Literal["stop", "length"]) -> None:
        """A grammar that costs too much on the way ends a reply in its midst; the caller does not get that as JSON."""
        form = self.request.form()
        if form and reason == "stop" and not self.request.stop and not is_json(self.text):
            raise InvalidInput(form[1], TOO_COMPLEX)


class JSONReading(Reading):
    """A reply that is held to a JSON schema."""

    def end(self, reason: Literal["stop", "length"]) -> End:
        self._must_be_whole(reason)
        return End("", reason)


class ForcedReading(Reading):
    """A reply that is made to be calls: nothing of it is said."""

    def take(self, text: str, tokens: list[int]) -> str:
        self.text += text
        return ""

    def end(self, reason: Literal["stop", "length"]) -> End:
        self._must_be_whole(reason)
        calls = forced_calls(self.text, self.request.tool_choice, self.request.messages)
        return End("", "tool_calls" if calls else reason, calls or [])


def reading(request: LanguageRequest) -> Reading:
    """The way to read the reply to a request, where calls are not left to the model."""
    kind = ForcedReading if request.forced else JSONReading if request.json_schema is not None else Reading
    return kind(request)
