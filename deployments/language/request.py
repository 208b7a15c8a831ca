"""Requests to language models, whatever the engine: checked arguments, the prompt's tokens, room, sampling."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..call_options import refuse_unknown
from ..capabilities import ChatOptions, Message, Tool
from ..errors import InvalidInput, PromptTooLong
from ..messages import PartType, check_parts
from .tools import checked_tools, described, forced_schema, knows_tools, plain_turns, turns

MOST_STOPS = 16
# The options that every backend has learned. One that is new to `ChatOptions` is refused until it is in here, or in a
# backend's own.
LEARNED = frozenset(
    {"max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "logit_bias"}
    | {"stop", "seed", "tools", "tool_choice", "json_schema"}
)
GREEDY_BELOW = 1e-4  # temperatures so near 0 that dividing by them would overflow
SHRINKS = 4  # characters that a tokenizer's normal form (NFC) may make one


class Defaults(Protocol):
    """What a backend's options say for callers who do not."""

    @property
    def max_tokens(self) -> int | None: ...
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
    top_k: int | None
    min_p: float | None
    presence_penalty: float
    frequency_penalty: float
    logit_bias: dict[int, float]  # by token id
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

    def without_tools(self) -> "LanguageRequest":
        """The same, with no tool for the model to call."""
        return replace(self, tools=(), tool_choice="none")

    @classmethod
    def checked(
        cls,
        messages: list[Message],
        options: ChatOptions,
        known: Collection[str],
        parts: Collection[PartType] = ("text",),
    ) -> "LanguageRequest":
        """A request whose values a language model can use.

        Args:
            known: the options that the backend has learned.
            parts: the types of parts that the model reads.

        Raises:
            InvalidInput: a value cannot be used, or its option is not known; names it.
        """
        refuse_unknown(options, known)
        check_parts(messages, parts)
        seed = options.get("seed")
        tools, tool_choice = checked_tools(options.get("tools"), options.get("tool_choice"))
        request = cls(
            messages,
            options.get("max_tokens"),
            options.get("temperature"),
            options.get("top_p"),
            options.get("top_k"),
            options.get("min_p"),
            options.get("presence_penalty") or 0.0,
            options.get("frequency_penalty") or 0.0,
            _by_token(options.get("logit_bias") or {}),
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
        if self.top_k is not None and self.top_k < 1:
            raise InvalidInput("top_k", f"is {self.top_k}; at least 1 token is drawn from")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise InvalidInput("min_p", f"is {self.min_p}; it goes from 0 to 1")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -2 <= (penalty := getattr(self, name)) <= 2:
                raise InvalidInput(name, f"is {penalty}; it goes from -2 to 2")
        if len(self.stop) > MOST_STOPS or not all(self.stop):
            raise InvalidInput("stop", f"takes up to {MOST_STOPS} texts, none of them empty")


def _by_token(bias: dict[str, float]) -> dict[int, float]:
    tokens = {token: int(token) for token in bias if token.isascii() and token.isdigit() and len(token) < 10}
    if strange := next((token for token in bias if token not in tokens), None):
        raise InvalidInput("logit_bias", f"names {strange[:40]!r}, which is no token's id")
    if not all(-100 <= value <= 100 for value in bias.values()):
        raise InvalidInput("logit_bias", "has a value beyond -100 to 100")
    return {tokens[token]: value for token, value in bias.items()}


def check_bias(request: LanguageRequest, vocabulary: int) -> None:
    """Refuse a bias for a token that a model with so many does not have."""
    if (strange := next((token for token in request.logit_bias if token >= vocabulary), None)) is not None:
        raise InvalidInput("logit_bias", f"names token {strange}; this model has {vocabulary}")


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float  # 0 takes the likeliest each time
    top_p: float  # of the probability, above 0, at most 1
    top_k: int  # 0 for all tokens
    min_p: float  # of the likeliest token's probability; 0 for all tokens


def sampling(request: LanguageRequest, options: Defaults, weights: Any) -> Sampling:
    """First the caller's word, then the options', then that of the weights (their transformers GenerationConfig)."""
    weights_say = (weights.temperature if weights.temperature is not None else 1.0) if weights.do_sample else 0.0
    temperature = next(t for t in (request.temperature, options.temperature, weights_say) if t is not None)
    if temperature < GREEDY_BELOW:
        return Sampling(0.0, 1.0, 0, 0.0)
    least = weights.min_p if request.min_p is None else request.min_p
    nucleus = request.top_p or options.top_p or weights.top_p or 1.0
    return Sampling(temperature, nucleus, request.top_k or weights.top_k or 0, least or 0.0)


def offered(tokenizer: Any, request: LanguageRequest) -> LanguageRequest:
    """The request without tools that the model may leave, where its chat template has no place for them: it answers
    with a text."""
    if request.tool_choice != "auto" or knows_tools(template_of(tokenizer, request)):
        return request
    return request.without_tools()


def template_of(tokenizer: Any, request: LanguageRequest) -> str:
    """The chat template by which a request becomes a prompt; empty where the tokenizer has none."""
    return tokenizer.get_chat_template(tools=list(request.tools) or None) if tokenizer.chat_template else ""


def most_characters(tokenizer: Any, context: int) -> int:
    """The characters that a prompt of `context` tokens may have: a longer one need not be made into tokens to know."""
    longest = max(map(len, tokenizer.get_vocab()), default=1)
    return context * longest * SHRINKS


def prompt_tokens(tokenizer: Any, request: LanguageRequest, longest: int) -> list[int]:
    """The conversation and the tools by the tokenizer's chat template, `role: content` lines where there is none.

    Args:
        longest: characters that the model's context has room for, see `most_characters`.

    Raises:
        PromptTooLong: the messages have more characters than that.
        InvalidInput: the template refuses it, such as for roles that do not alternate.
    """
    import jinja2

    check_characters(request, longest)
    if not tokenizer.chat_template:
        lines = [f"{turn['role']}: {turn['content']}\n" for turn in plain_turns(request.messages, request.tools)]
        return tokenizer("".join(lines) + "assistant:").input_ids
    tools = [described(tool) for tool in request.tools] or None
    if knows_tools(template_of(tokenizer, request)):
        said: Any = turns(request.messages)
    else:
        said, tools = plain_turns(request.messages, request.tools), None
    try:
        return tokenizer.apply_chat_template(said, tools=tools, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
    except jinja2.TemplateError as error:
        raise InvalidInput("messages", f"do not fit this model's chat template: {error}") from None


def check_characters(request: LanguageRequest, longest: int) -> None:
    """Refuse messages with more characters than a context has room for."""
    characters = sum(len(message.text.strip()) for message in request.messages)
    if characters > longest:
        raise PromptTooLong("messages", f"have {characters:,} characters, more than this model's context has room for")


def most_tokens(request: LanguageRequest, options: Defaults, prompt: int, context: int) -> int:
    """How many tokens the reply may have, after a prompt of so many in a context of so many.

    Raises:
        PromptTooLong: there is no room for one, or not for as many as the caller wants.
    """
    check_room(request, prompt, context)
    return request.max_tokens or min(options.max_tokens or context, context - prompt)


def check_room(request: LanguageRequest, prompt: int, context: int) -> None:
    """Refuse a prompt that leaves no room for a token, or not for as many as the caller wants."""
    if prompt >= context or prompt + (request.max_tokens or 0) > context:
        raise PromptTooLong("messages", too_long(request, prompt, context))


def too_long(request: LanguageRequest, prompt: int, context: int) -> str:
    """What is said of a prompt of so many tokens, where the context has no room for it."""
    wants = f", and max_tokens asks for {request.max_tokens} more" if request.max_tokens else ""
    return f"make {prompt} tokens{wants}; this model's maximum context length is {context} tokens, with its reply"
