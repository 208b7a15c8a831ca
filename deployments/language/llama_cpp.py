"""Language models by llama.cpp: any GGUF, on a CPU, with little memory."""

import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Unpack

from pydantic import Field

from ..backend import Backend, Needs, in_thread, out_of_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import ChatOptions, Delta, Language, Message, Reply, ToolCall
from ..engine import failure, is_local
from ..errors import InvalidInput, MedleyError, ModelUnavailable, PromptTooLong
from ..loads import Loads
from .llama_cpp_server import Server, started
from .reading import reading
from .request import LEARNED, LanguageRequest, check_bias, check_characters, check_room, too_long
from .schemas import SPACED, grammar, text
from .thoughts import ThinkingReading
from .tools import call_id, described, knows_tools, plain_turns, turns

SUFFIX = "*.gguf"


class LlamaCpp(Backend, Language):
    """A language model in GGUF, by llama.cpp (https://github.com/ggml-org/llama.cpp) through xllamacpp's wheels.

    For small models on a CPU: weights of four or five bits take a quarter of the memory that safetensors do, and a
    token is written sooner. Takes a folder or a hub name with one GGUF, or with the one that `file` names. Uses the
    chat template in it, ChatML where there is none. `parallel` calls are written at once, in one batch; others wait.
    Replies are held to a JSON schema token by token, and so are calls of tools that the caller insists on. Tools that
    the model may leave (`tool_choice` `auto`) are offered through its chat template, and calls are read as llama.cpp
    reads them; without a place for tools in the template it answers with a text. It reads texts alone and takes no
    adapters. The same seed gives the same text as long as the same calls run beside it: a batch of another size may
    round otherwise. Penalties count the tokens of the prompt too.

    The published wheel runs on CPUs; one that was built for GPUs uses them without further ado.
    """

    class Options(BackendOptions):
        """Weights, how they are run, and what holds when the caller does not say."""

        weights: Annotated[str, Loads("revision", (SUFFIX,))] = Field(description="Folder or hub name with a GGUF")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        file: str | None = Field(None, description="The GGUF's name, where there are several")
        context: int = Field(
            8192,
            ge=64,
            lt=2**24,
            description="Tokens of prompt and reply together, of each call; no more than the weights have. Memory for "
            "as many is kept",
        )
        parallel: int = Field(2, ge=1, le=64, description="Calls that are written at once")
        threads: int = Field(0, ge=0, le=256, description="Of all calls together; 0: as many as there are cores")
        max_tokens: int | None = Field(
            None, ge=1, description="New tokens if the caller names no number; all that the context has room for else"
        )
        optional_tools: Literal["offered", "left_out"] = Field(
            "offered", description="Tools that the model may leave: told to it through its chat template, or left out"
        )
        system: str | None = Field(
            None,
            description="System message of a conversation that has none; by default what the chat template says then",
        )
        temperature: float | None = Field(None, ge=0, le=2, description="The weights' or llama.cpp's own by default")
        top_p: float | None = Field(None, gt=0, le=1, description="The weights' or llama.cpp's own by default")

    needs: ClassVar[Needs] = Needs(cpus=1, concurrency=4)

    def __init__(self) -> None:
        self._engine: Server | None = None
        self._options: LlamaCpp.Options | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other weights beside the old ones, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged or no GGUF of a language model that llama.cpp knows, or
                there is no memory for `context`.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))
        self._options = options

    async def chat(self, messages: list[Message], **options: Unpack[ChatOptions]) -> Reply:
        engine, usual = self._ready()
        request = _accepted(engine, usual, messages, options)
        pieces = list[Delta]()
        await in_thread(lambda cancelled: _write(engine, usual, request, pieces.append, cancelled))
        return Delta.join(pieces)

    async def stream(self, messages: list[Message], **options: Unpack[ChatOptions]) -> AsyncIterator[Delta]:
        """The reply as it is written. Closing the iterator stops the writing at the next token."""
        engine, usual = self._ready()
        request = _accepted(engine, usual, messages, options)

        def write(give: Callable[[Delta], None], cancelled: threading.Event) -> None:
            _write(engine, usual, request, give, cancelled)

        async with aclosing(out_of_thread(write)) as deltas:
            async for delta in deltas:
                yield delta

    def _ready(self) -> "tuple[Server, Options]":
        if self._engine is None or self._options is None:
            raise ModelUnavailable("the language model is not loaded yet")
        return self._engine, self._options


def _accepted(
    engine: Server, usual: LlamaCpp.Options, messages: list[Message], options: ChatOptions
) -> LanguageRequest:
    request = LanguageRequest.checked(messages, options, LEARNED)
    offered = usual.optional_tools == "offered" and knows_tools(engine.template)
    return request if request.tool_choice != "auto" or offered else request.without_tools()


def _write(
    engine: Server,
    usual: LlamaCpp.Options,
    request: LanguageRequest,
    give: Callable[[Delta], None],
    cancelled: threading.Event,
) -> None:
    """Write a reply, token by token; the last piece that it gives has the end."""
    check_characters(request, engine.most_characters)
    check_bias(request, engine.vocabulary)
    arriving = _Arriving(engine, request, give, cancelled)
    body = _body(engine, usual, request)
    try:
        engine.write(body, arriving)
    except ValueError as error:  # of several lines, the reason last
        reason = str(error).strip().splitlines()[-1]
        raise InvalidInput("messages", f"do not fit this model's chat template: {reason}") from None
    arriving.end()


def _body(engine: Server, usual: LlamaCpp.Options, request: LanguageRequest) -> dict[str, Any]:
    """The request as llama.cpp's server takes it. What is left out is the weights' own, or llama.cpp's."""
    said: dict[str, Any] = {
        "max_tokens": request.max_tokens or usual.max_tokens or -1,
        "temperature": usual.temperature if request.temperature is None else request.temperature,
        "top_p": request.top_p or usual.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "repeat_last_n": engine.context,  # penalties are for all that was written
        "logit_bias": [[token, bias] for token, bias in request.logit_bias.items()],
        "stop": list(request.stop),
        "seed": None if request.seed is None else request.seed % (2**32 - 1),  # the one above stands for any
        "messages": _messages(engine, usual, request),
        "reasoning_format": "auto",
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # so that a prompt's length is known before it is read, and a caller's going during it
        # What is left of an earlier prompt was made in batches of other sizes, so it is rounded otherwise.
        "cache_prompt": request.seed is None and request.temperature != 0,
    }
    if form := request.form():
        grammar(*form)  # refuses what cannot be kept
        said["grammar"] = f"%llguidance {{}}\nstart: %json {text(*form, SPACED)}"
    elif request.tools:
        said |= {"tools": [described(tool) for tool in request.tools], "tool_choice": "auto"}
    return {name: value for name, value in said.items() if value is not None}


def _messages(engine: Server, usual: LlamaCpp.Options, request: LanguageRequest) -> list[dict[str, Any]]:
    messages = request.messages
    if usual.system is not None and messages[0].role != "system":
        messages = [Message(role="system", content=usual.system), *messages]
    if request.form() or not knows_tools(engine.template):  # llama.cpp takes no grammar beside tools
        return list(plain_turns(messages, request.tools))
    said = turns(messages)
    for turn in said:
        for call in turn.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return said


class _Arriving:
    """A reply whose chunks llama.cpp gives one by one; returns whether it shall stop. Errors wait for `end`."""

    def __init__(
        self, engine: Server, request: LanguageRequest, give: Callable[[Delta], None], cancelled: threading.Event
    ) -> None:
        self._engine, self._request, self._give, self._cancelled = engine, request, give, cancelled
        self._read = ThinkingReading(reading(request), opened=False)  # llama.cpp knows templates that open it
        self._calls: dict[int, dict[str, str]] = {}  # by their place
        self._reason: Literal["stop", "length"] | None = None
        self._counts = {"prompt_tokens": 0, "completion_tokens": 0}
        self._error: Exception | None = None

    def __call__(self, chunk: dict[str, Any]) -> bool:
        try:
            self._take(chunk)
        except Exception as error:  # llama.cpp would lose it
            self._error = error
        return self._error is not None or self._cancelled.is_set()

    def end(self) -> None:
        """After the last chunk.

        Raises:
            CancelledError: the caller has gone.
            MedleyError: the request cannot be answered.
        """
        if isinstance(self._error, MedleyError):
            raise self._error
        if self._error is not None:
            raise ModelUnavailable(f"llama.cpp's answer cannot be read: {self._error!r}") from self._error
        if self._cancelled.is_set():
            raise CancelledError
        if self._reason is None:
            raise ModelUnavailable("llama.cpp broke off the reply")
        end, calls = self._read.end(self._reason, []), [self._call(place) for place in sorted(self._calls)]
        calls = end.tool_calls or (calls if self._reason == "stop" else [])
        reason = "tool_calls" if calls else end.finish_reason
        last = Delta(text=end.text, reasoning=end.thought, tool_calls=calls, finish_reason=reason)
        self._give(last.model_copy(update=self._counts))

    def _take(self, chunk: dict[str, Any]) -> None:
        if error := chunk.get("error"):
            raise _refusal(error, self._request)
        if progress := chunk.get("prompt_progress"):
            check_room(self._request, progress["total"], self._engine.context)
        if usage := chunk.get("usage"):
            self._counts = {name: usage[name] for name in self._counts}
        for choice in chunk["choices"]:
            if reason := choice["finish_reason"]:
                self._reason = "length" if reason == "length" else "stop"
            delta = choice["delta"]
            for call in delta.get("tool_calls") or ():
                whole = self._calls.setdefault(call["index"], {"name": "", "arguments": ""})
                for part, written in call.get("function", {}).items():
                    whole[part] += written or ""
            thought, answer = self._read.take(delta.get("content") or "", [])
            thought += delta.get("reasoning_content") or ""
            if thought or answer:
                self._give(Delta(text=answer, reasoning=thought))

    def _call(self, place: int) -> ToolCall:
        name, arguments = self._calls[place]["name"], self._calls[place]["arguments"]
        return ToolCall(id=call_id(self._request.messages, place, name, arguments), name=name, arguments=arguments)


def _refusal(error: dict[str, Any], request: LanguageRequest) -> MedleyError:
    """The error to raise for one of llama.cpp's."""
    kind, said = error.get("type"), str(error.get("message", "")).strip()[:300]
    if kind == "exceed_context_size_error":
        return PromptTooLong("messages", too_long(request, error["n_prompt_tokens"], error["n_ctx"]))
    if kind == "invalid_request_error":
        form = request.form()
        return InvalidInput(form[1] if form else "messages", f"cannot be used by this model: {said}")
    return ModelUnavailable(f"llama.cpp failed: {said}")


def _load(options: LlamaCpp.Options) -> Server:
    return started(_file(options), options.weights, options.context, options.parallel, options.threads)


def _file(options: LlamaCpp.Options) -> Path:
    """The GGUF that the options name, from the hub's cache if it is a hub name."""
    path = weights_path(options.weights)
    if not is_local(path, options.weights, options.file or SUFFIX):
        if options.file is None:
            raise ModelUnavailable(f"{options.weights} is no folder here; of a hub name, say which `file` it is")
        import huggingface_hub

        try:
            return Path(huggingface_hub.hf_hub_download(path, options.file, revision=options.revision))
        except Exception as error:  # the hub's, the network's, the disk's
            raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    files = sorted(Path(path).glob(options.file or SUFFIX))
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:5])
        raise ModelUnavailable(f"{options.weights} has several GGUFs ({names}); say which `file` it is")
    return files[0]
