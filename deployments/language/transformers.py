"""Language models by Hugging Face transformers: any causal model in safetensors, on a CPU or one GPU, those that read
pictures among them."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Unpack

from pydantic import Field

from ..backend import Backend, Needs, in_thread, weights_path
from ..capabilities import ChatOptions, Delta, Language, Message, Reply
from ..engine import TorchOptions, failure, is_local, whole
from ..errors import InvalidInput, ModelUnavailable
from ..messages import PartType
from .held import Held, matcher_tokens
from .hermes import reading_of
from .picture_prompts import Prompt, picture_prompt
from .request import (
    LEARNED,
    LanguageRequest,
    Sampling,
    check_bias,
    most_characters,
    most_tokens,
    offered,
    prompt_tokens,
    sampling,
)
from .schemas import grammar
from .thoughts import ThinkingReading, opened_by
from .writer import Writer


class TransformersLanguage(Backend, Language):
    """A causal language model through transformers' `generate` (https://github.com/huggingface/transformers).

    Takes a folder or a hub name with a configuration, a fast tokenizer and safetensors; never pickles and never code
    that comes with weights. Uses the tokenizer's chat template, `role: content` lines where there is none. Each call
    has its own random numbers, so the same seed gives the same text whatever runs beside it. Calls run side by side,
    not in one batch: for many users of a large model take vLLM. Replies are held to a JSON schema token by token, and
    so are calls of tools that the caller insists on. Tools that the model may leave (`tool_choice` `auto`) are offered
    through its chat template, and calls are read where that shows Hermes' form of them; without a place for tools in
    the template it answers with a text. Models that transformers lists as image-text-to-text read pictures in messages;
    the others refuse them. It takes no adapters. `completion_tokens` counts every token made, the one that ends the
    reply among them.
    """

    class Options(TorchOptions):
        """Weights, where they run, and what holds when the caller does not say."""

        weights: str = Field(description="Folder, `starter/NAME` or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        max_tokens: int | None = Field(
            None, ge=1, description="New tokens if the caller names no number; all that the context has room for else"
        )
        optional_tools: Literal["offered", "left_out"] = Field(
            "offered", description="Tools that the model may leave: told to it through its chat template, or left out"
        )
        temperature: float | None = Field(None, ge=0, le=2, description="The weights' own by default")
        top_p: float | None = Field(None, gt=0, le=1, description="The weights' own by default")

    needs: ClassVar[Needs] = Needs(cpus=1, concurrency=4)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other weights beside the old ones, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, incomplete, pickled or not a causal language model.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def chat(self, messages: list[Message], **options: Unpack[ChatOptions]) -> Reply:
        engine = self._ready()
        request = _accepted(engine, messages, options)
        pieces: list[Delta] = []
        await in_thread(lambda cancelled: _write(engine, request, pieces.append, cancelled))
        return Delta.join(pieces)

    async def stream(self, messages: list[Message], **options: Unpack[ChatOptions]) -> AsyncIterator[Delta]:
        """The reply as it is written. Closing the iterator stops the writing at the next token."""
        engine = self._ready()
        request = _accepted(engine, messages, options)
        loop, waiting = asyncio.get_running_loop(), asyncio.Queue[Delta | None]()

        def emit(piece: Delta) -> None:
            loop.call_soon_threadsafe(waiting.put_nowait, piece)

        work = asyncio.create_task(in_thread(lambda cancelled: _write(engine, request, emit, cancelled)))
        work.add_done_callback(lambda _: waiting.put_nowait(None))
        try:
            over = False
            while not over:
                there = [await waiting.get()]
                while not waiting.empty():  # all that is there leaves together, nothing is waited for
                    there.append(waiting.get_nowait())
                over = there[-1] is None
                if pieces := [piece for piece in there if piece is not None]:
                    text, thought = "".join(one.text for one in pieces), "".join(one.reasoning for one in pieces)
                    yield pieces[-1].model_copy(update={"text": text, "reasoning": thought})
            await work
        finally:
            work.cancel()

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("the language model is not loaded yet")
        return self._engine


def _accepted(engine: "_Engine", messages: list[Message], options: ChatOptions) -> LanguageRequest:
    request = LanguageRequest.checked(messages, options, LEARNED, engine.parts)
    if engine.options.optional_tools == "left_out" and request.tool_choice == "auto":
        return request.without_tools()
    return offered(engine.tokenizer, request)


@dataclass(frozen=True)
class _Engine:
    """Loaded weights. Shared by calls, changed by none."""

    model: Any
    tokenizer: Any
    context: int  # tokens it can attend to, prompt and reply together
    most_characters: int  # of a prompt
    ends: frozenset[int]  # tokens that end a reply
    options: TransformersLanguage.Options
    processor: Any = None  # of a model that reads pictures

    @property
    def parts(self) -> tuple[PartType, ...]:
        """The types of parts of messages that the model reads."""
        return ("text",) if self.processor is None else ("text", "image")

    def prompt(self, request: LanguageRequest) -> Prompt:
        """What the model reads of a request."""
        import torch

        if self.processor is not None:
            return picture_prompt(self.processor, request, self.most_characters)
        return Prompt(torch.tensor([prompt_tokens(self.tokenizer, request, self.most_characters)]), {})

    @cached_property
    def held(self) -> Any:
        """The tokens as a grammar holds them."""
        return matcher_tokens(self.tokenizer, self.model.config.get_text_config().vocab_size, self.ends)


class _Penalties:
    """A logits processor that lowers what was written already, and adds the caller's bias.

    Args:
        prompt: tokens before the reply, which are not penalized.
    """

    def __init__(self, request: LanguageRequest, prompt: int) -> None:
        self._presence, self._frequency = request.presence_penalty, request.frequency_penalty
        self._bias, self._prompt = request.logit_bias, prompt

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        scores = scores.float().clone()
        if self._bias:
            tokens = torch.tensor(list(self._bias), device=scores.device)
            scores[:, tokens] += torch.tensor(list(self._bias.values()), device=scores.device)
        for row, written in enumerate(input_ids[:, self._prompt :]):
            tokens, counts = written.unique(return_counts=True)
            scores[row, tokens] -= self._presence + self._frequency * counts
        return scores


class _Sampler:
    """A logits processor after which the likeliest token is a fair draw (the exponential race), from its own generator.

    `generate` would draw from torch's global one, which calls in other threads draw from as well.
    """

    def __init__(self, how: Sampling, seed: int, device: Any) -> None:
        import torch
        from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self._temperature = how.temperature
        self._generator = torch.Generator(device).manual_seed(seed)
        self._cuts: list[Any] = [TopKLogitsWarper(how.top_k)] if how.top_k > 0 else []
        self._cuts += [TopPLogitsWarper(how.top_p)] if how.top_p < 1 else []
        self._cuts += [MinPLogitsWarper(how.min_p)] if how.min_p > 0 else []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        scores = scores.float() / self._temperature
        for cut in self._cuts:
            scores = cut(input_ids, scores)
        chances = scores.softmax(-1)
        return chances / torch.empty_like(chances).exponential_(generator=self._generator)


def _write(
    engine: _Engine, request: LanguageRequest, emit: Callable[[Delta], None], cancelled: threading.Event
) -> None:
    """Write a reply, token by token; the last piece that it emits has the end."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    prompt = engine.prompt(request)
    count = prompt.count
    most = most_tokens(request, engine.options, count, engine.context)
    config = GenerationConfig(max_new_tokens=most, do_sample=False, num_beams=1, return_dict_in_generate=False)
    config.eos_token_id = sorted(engine.ends) or None
    config.pad_token_id = next(iter(config.eos_token_id or [0]))
    opened = opened_by(engine.tokenizer, prompt.tokens[0].tolist()) and request.form() is None
    read = ThinkingReading(reading_of(engine.tokenizer, request), opened)
    processors = [*_holders(engine, request), *_penalties(engine, request, count), *_samplers(engine, request)]
    emitter, special = _emitter(read, emit), read.skip_special_tokens
    writer = Writer(engine.tokenizer, engine.ends, request.stop, most, emitter, cancelled, special)
    try:
        with torch.inference_mode():
            engine.model.generate(
                prompt.tokens.to(engine.model.device),
                attention_mask=torch.ones_like(prompt.tokens, device=engine.model.device),
                **{name: _moved(tensor, engine.model) for name, tensor in prompt.others.items()},
                generation_config=config,
                logits_processor=LogitsProcessorList(processors),
                stopping_criteria=StoppingCriteriaList([writer]),
            )
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the language model failed") from None
    if writer.finish_reason is None:
        raise CancelledError
    end, written = read.end(writer.finish_reason, []), len(writer.tokens)
    counts = {"prompt_tokens": count, "completion_tokens": written}
    last = Delta(text=end.text, reasoning=end.thought, tool_calls=end.tool_calls)
    emit(last.model_copy(update={"finish_reason": end.finish_reason, **counts}))


def _moved(tensor: Any, model: Any) -> Any:
    """A tensor where the model is; numbers such as a picture's in the model's type."""
    return tensor.to(model.device, model.dtype) if tensor.is_floating_point() else tensor.to(model.device)


def _emitter(read: ThinkingReading, emit: Callable[[Delta], None]) -> Callable[[str], None]:
    """Emits what a reading says of each text."""

    def read_and_emit(text: str) -> None:
        thought, answer = read.take(text, [])
        if thought or answer:
            emit(Delta(text=answer, reasoning=thought))

    return read_and_emit


def _holders(engine: _Engine, request: LanguageRequest) -> list[Any]:
    """What holds the tokens to a form, if one is asked for."""
    form = request.form()
    if form is None:
        return []
    schema, argument = form
    rules = grammar(schema, argument)
    if not engine.ends:
        raise InvalidInput(argument, "cannot be kept: these weights have no token that ends a reply")
    return [Held(engine.held, rules)]


def _penalties(engine: _Engine, request: LanguageRequest, prompt: int) -> list[Any]:
    """What changes the logits as the caller wishes, if anything does."""
    check_bias(request, engine.model.config.get_text_config().vocab_size)
    wishes = request.presence_penalty or request.frequency_penalty or request.logit_bias
    return [_Penalties(request, prompt)] if wishes else []


def _samplers(engine: _Engine, request: LanguageRequest) -> list[Any]:
    """One sampler, or none where the likeliest token is taken."""
    how = sampling(request, engine.options, engine.model.generation_config)
    if how.temperature == 0:
        return []
    seed = secrets.randbits(63) if request.seed is None else request.seed
    return [_Sampler(how, seed, engine.model.device)]


def _load(options: TransformersLanguage.Options) -> _Engine:
    import transformers

    path = weights_path(options.weights)
    local = is_local(path, options.weights)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # it warns of every sampling default in weights, at every call
    device, dtype = options.placed()
    source = {"revision": options.revision, "local_files_only": local, "trust_remote_code": False}
    try:
        config, processor = transformers.AutoConfig.from_pretrained(path, **source), None
        kind: Any = transformers.AutoModelForCausalLM
        if type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and hasattr(config, "vision_config"):
            kind, processor = transformers.AutoModelForImageTextToText, _processor(path, source)
        tokenizer = (
            transformers.AutoTokenizer.from_pretrained(path, **source) if processor is None else processor.tokenizer
        )
        loaded: Any = kind.from_pretrained(path, dtype=dtype, use_safetensors=True, output_loading_info=True, **source)
        model = whole(loaded, options.weights).to(device).eval()
    except ModelUnavailable:
        raise
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    listed = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
    text = model.config.get_text_config()
    context = getattr(text, "max_position_embeddings", None) or tokenizer.model_max_length
    context = int(min(context, 10_000_000))
    return _Engine(model, tokenizer, context, most_characters(tokenizer, context), listed, options, processor)


def _processor(path: str, source: dict[str, Any]) -> Any:
    """What turns messages with pictures into a prompt."""
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(path, **source)
    if processor.chat_template is None:
        raise ModelUnavailable(f"{path} reads pictures and has no chat template, so nobody can show it one")
    return processor
