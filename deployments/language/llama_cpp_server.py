"""A llama.cpp server in this process."""

# pyright: reportAttributeAccessIssue=false
# xllamacpp has no types.

import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ..errors import ModelUnavailable

BATCH = 512  # tokens of a prompt that are read at once; between two batches a caller may go
LONGEST_TOKEN = 512  # characters, above any tokenizer's
READY_S = 10


@dataclass(frozen=True, eq=False)
class Server:
    """Loaded weights. Many threads may have replies written; `write` returns when its reply is complete."""

    template: str  # for chats
    context: int  # tokens, of prompt and reply together
    vocabulary: int  # tokens
    _server: Any = field(repr=False)

    @property
    def most_characters(self) -> int:
        """Of a prompt: a longer one need not be made into tokens to know that it is too long."""
        return self.context * LONGEST_TOKEN

    def write(self, body: dict[str, Any], take: Callable[[dict[str, Any]], bool]) -> None:
        """Have a reply written. `take` gets its chunks, in the form of OpenAI's, and returns whether to stop.

        Raises:
            ValueError: the chat template refuses the messages.
        """
        self._server.handle_chat_completions(body, take)


def started(file: Path, named: str, context: int, parallel: int, threads: int) -> Server:
    """A server that has loaded a GGUF.

    It listens too, and cannot be kept from it: on a Unix socket in a folder of its own, with a key, until it has said
    what it loaded. Then the folder is removed, and nobody reaches it from outside of this process.

    Args:
        named: the weights as the profile names them, for errors.
        context: tokens of each call, which the weights may bound.
        parallel: calls at once.
        threads: 0 for as many as there are cores.

    Raises:
        ModelUnavailable: xllamacpp is not installed, the file cannot be loaded, or there is no memory for the context.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelUnavailable(f"xllamacpp cannot be imported ({error})") from None
    key, params = secrets.token_urlsafe(32), xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel = context * parallel, parallel
    params.n_batch = params.n_ubatch = BATCH
    if threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup, params.verbosity, params.check_tensors = False, -1, True
    params.cache_ram_mib = 0  # earlier prompts are kept where they were read, and nowhere else
    params.fit_params = False  # changes the context to what memory has room for, in silence
    params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
    try:
        with tempfile.TemporaryDirectory(prefix="medley-") as folder:
            params.hostnames, params.api_keys = [f"{folder}/llama.sock"], [key]
            server = xllamacpp.Server(params)
            over = httpx.HTTPTransport(uds=params.hostnames[0])
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.Client(transport=over, base_url="http://llama", headers=headers, timeout=READY_S) as client:
                about, models = (client.get(path).raise_for_status().json() for path in ("/props", "/v1/models"))
    except (RuntimeError, OSError, httpx.HTTPError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailable(f"{named} cannot be loaded: llama.cpp says: {said}") from None
    vocabulary = models["data"][0]["meta"]["n_vocab"]
    template = about.get("chat_template_tool_use") or about["chat_template"]
    return Server(template, about["default_generation_settings"]["n_ctx"], vocabulary, server)
