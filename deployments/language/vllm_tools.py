"""Calls of tools that a model makes as it sees fit, read by vLLM's parsers of each family's way to write one."""

# pyright: reportMissingImports=false
# vLLM is in an environment of its own.

import difflib
import logging
from typing import Any, Literal

from ..capabilities import ToolCall
from ..errors import ModelUnavailable
from .reading import End, Reading
from .request import LanguageRequest
from .tools import call_id, described

log = logging.getLogger("ray.serve")


def check_parser(name: str, tokenizer: Any) -> None:
    """Whether vLLM has a parser of this name for this tokenizer.

    Raises:
        ModelUnavailable: it has none.
    """
    from vllm.tool_parsers import ToolParserManager

    names = ToolParserManager.list_registered()
    if name not in names:
        near = ", ".join(difflib.get_close_matches(name, names, 4, 0.4) or sorted(names))
        raise ModelUnavailable(f"vLLM has no tool_parser {name!r}. There are: {near}")
    try:
        ToolParserManager.get_tool_parser(name)(tokenizer)
    except Exception as error:  # each says in its own way that it misses its tokens
        raise ModelUnavailable(f"tool_parser {name!r} is not for these weights: {error}") from None


class ParsedReading(Reading):
    """A reply that may be calls. Text waits while its parser takes it for the beginning of one.

    Args:
        parser: vLLM's name of it, checked.
        tokenizer: as vLLM keeps it: parsers ask for its vocabulary, which is long in the making.
    """

    def __init__(self, request: LanguageRequest, parser: str, tokenizer: Any) -> None:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.tool_parsers import ToolParserManager

        super().__init__(request)
        tools = [described(tool) for tool in request.tools]
        completion = ChatCompletionRequest(messages=[{"role": "user", "content": ""}], tools=tools, tool_choice="auto")
        kind = ToolParserManager.get_tool_parser(parser)
        self._make = lambda: kind(tokenizer, completion.tools)
        self._parser = self._make()
        self._completion = self._parser.adjust_request(completion)
        self.skip_special_tokens = self._completion.skip_special_tokens  # most models write the marks of a call as such
        self._said = ""
        self._read = 0  # tokens

    def take(self, text: str, tokens: list[int]) -> str:
        before, self.text, read = self.text, self.text + text, self._read
        self._read = len(tokens)
        ids = tokens[:read], list(tokens), tokens[read:]
        try:
            piece = self._parser.extract_tool_calls_streaming(before, self.text, text, *ids, self._completion)
        except Exception:  # of a text that it did not foresee, which then waits for the end
            log.warning("tool_parser failed on a reply", exc_info=True)
            return ""
        said = (piece.content or "") if piece else ""
        self._said += said
        return said

    def end(self, reason: Literal["stop", "length"]) -> End:
        content, calls = self.text, list[ToolCall]()
        try:
            parsed = self._make().extract_tool_calls(self.text, self._completion)
        except Exception:  # then it is a text
            log.warning("tool_parser failed on a reply", exc_info=True)
        else:
            if parsed.tools_called:
                content, made = parsed.content or "", [call.function for call in parsed.tool_calls]
                calls = [self._call(number, function) for number, function in enumerate(made)]
        rest = content[len(self._said) :] if content.startswith(self._said) else ""
        return End(rest, "tool_calls" if calls and reason == "stop" else reason, calls)

    def _call(self, number: int, function: Any) -> ToolCall:
        """An id of the model's own making is kept: it means something to the model."""
        name, arguments = function.name, function.arguments or "{}"
        made = function.id or call_id(self.request.messages, number, name, arguments)
        return ToolCall(id=made, name=name, arguments=arguments)
