"""Requests to language models, whatever the engine: checked arguments, the prompt's tokens, room, sampling."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from ..call_options import refuse_unknown
from ..capabilities import ChatOptions, Message, Tool
from ..errors import InvalidInput
from .tools import checked_tools, described, forced_schema, knows_tools, plain_turns, turns

MOST_STOPS = 16
# The options that every backend has learned. One that is new to `ChatOptions` is refused until it is in here, or in a
# backend's own.
LEARNED = frozenset({"max_tokens", "temperature", "top_p", "stop", "seed", "tools", "tool_choice", "json_schema"})
GREEDY_BELOW = 1e-4  # temperatures so near 0 that dividing by them would overflow


class Defaults(Protocol):
    """What a backend's options say for callers who do not."""

    @property
    def max_tokens(self) -> int: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def top_p(self) -> float | None: ...


@dataclass(frozen=True)
class LanguageRequest:
    """The arguments of one call, checked."""

    messages: list[Message]
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: tuple[str, ...]
    seed: int | None  # 0 to 2^63 - 1
    tools: tuple[Tool, ...]  # those the model may call
    tool_choice: str  # auto, required, none, or the name of one
    json_schema: dict[str, Any] | None
    adapter: str | None

    @property
    def forced(self) -> bool:
        """Whether the reply must be a call."""
        return self.tool_choice not in ("auto", "none")

    def form(self) -> tuple[dict[str, Any], str] | None:
        """The JSON schema that the tokens are held to, and the argument it came with; None where they are free.

        Raises:
            InvalidInput: there are two forms for one reply.
        """
        if self.tools and self.json_schema is not None:
            raise InvalidInput("json_schema", "cannot be kept by this model beside tools: give one of them")
        if self.forced:
            return forced_schema(self.tools, self.tool_choice), "tools"
        return None if self.json_schema is None else (self.json_schema, "json_schema")

    @classmethod
    def checked(cls, messages: list[Message], options: ChatOptions, known: Collection[str]) -> "LanguageRequest":
        """A request whose values a language model can use.

        Args:
            known: the options that the backend has learned.

        Raises:
            InvalidInput: a value cannot be used, or its option is not known; names it.
        """
        refuse_unknown(options, known)
        seed = options.get("seed")
        tools, tool_choice = checked_tools(options.get("tools"), options.get("tool_choice"))
        request = cls(
            messages,
            options.get("max_tokens"),
            options.get("temperature"),
            options.get("top_p"),
            tuple(options.get("stop") or ()),
            None if seed is None else seed % 2**63,
            tools,
            tool_choice,
            options.get("json_schema"),
            options.get("adapter"),
        )
        request._check()
        return request

    def _check(self) -> None:
        if not self.messages:
            raise InvalidInput("messages", "is empty; one message at least is needed")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidInput("max_tokens", f"is {self.max_tokens}; at least 1 is written")
        if self.temperature is not None and not 0 <= self.temperature <= 2:  # also true for NaN, as below
            raise InvalidInput("temperature", f"is {self.temperature}; it goes from 0 to 2")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidInput("top_p", f"is {self.top_p}; it is above 0 and at most 1")
        if len(self.stop) > MOST_STOPS or not all(self.stop):
            raise InvalidInput("stop", f"takes up to {MOST_STOPS} texts, none of them empty")


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float  # 0 takes the likeliest each time
    top_p: float  # of the probability, above 0, at most 1
    top_k: int  # 0 for all tokens


def sampling(request: LanguageRequest, options: Defaults, weights: Any) -> Sampling:
    """First the caller's word, then the options', then that of the weights (their transformers GenerationConfig)."""
    weights_say = (weights.temperature if weights.temperature is not None else 1.0) if weights.do_sample else 0.0
    temperature = next(t for t in (request.temperature, options.temperature, weights_say) if t is not None)
    if temperature < GREEDY_BELOW:
        return Sampling(0.0, 1.0, 0)
    return Sampling(temperature, request.top_p or options.top_p or weights.top_p or 1.0, weights.top_k or 0)


def prompt_tokens(tokenizer: Any, request: LanguageRequest) -> list[int]:
    """The conversation and the tools by the tokenizer's chat template, `role: content` lines where there is none.

    Raises:
        InvalidInput: the template refuses it, such as for roles that do not alternate.
    """
    import jinja2

    if not tokenizer.chat_template:
        lines = [f"{turn['role']}: {turn['content']}\n" for turn in plain_turns(request.messages, request.tools)]
        return tokenizer("".join(lines) + "assistant:").input_ids
    tools = [described(tool) for tool in request.tools] or None
    if knows_tools(tokenizer.get_chat_template(tools=tools)):
        said: Any = turns(request.messages)
    else:
        said, tools = plain_turns(request.messages, request.tools), None
    try:
        return tokenizer.apply_chat_template(said, tools=tools, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
    except jinja2.TemplateError as error:
        raise InvalidInput("messages", f"do not fit this model's chat template: {error}") from None


def most_tokens(request: LanguageRequest, options: Defaults, prompt: int, context: int) -> int:
    """How many tokens the reply may have, after a prompt of so many in a context of so many.

    Raises:
        InvalidInput: there is no room for one, or not for as many as the caller wants.
    """
    most = request.max_tokens or min(options.max_tokens, context - prompt)
    if prompt >= context or prompt + most > context:
        asks = f" and max_tokens asks for {request.max_tokens}" if request.max_tokens else ""
        raise InvalidInput("messages", f"make {prompt} tokens{asks}; this model takes {context}, its reply among them")
    return most
