"""The replica class of a deployment that serves one model; `multiplexed.py` has the class for several models."""

# The types of a backend are known only where it is used.
# pyright: reportUnknownMemberType=false

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import ray

from deployments.backend import weights_path
from deployments.engine import check_gpu
from deployments.progress import following

from ..models.callback_board import listen
from ..models.stream_receiver import Address
from .gpu import hide_other_gpus, loading_alone
from .memory import give_back
from .stream_sender import StreamSender


def replica(backend: type[Any], sees_gpus: bool = True) -> type[Any]:
    """The class that Serve deploys for a backend: `reconfigure` gets the profile's `user_config`, a dict.

    Args:
        backend: the class that implements the model's capabilities.
        sees_gpus: whether the replica may use any GPU of its machine.
    """

    class Replica(backend):
        def __init__(self) -> None:
            if not sees_gpus:
                hide_other_gpus()
            super().__init__()
            show_ray()
            self._sender = StreamSender()
            self._revision = ""
            listen(self)

        async def reconfigure(self, options: dict[str, Any]) -> None:
            checked = backend.Options.model_validate(options)
            loaded_before = self._revision
            async with loading_alone():
                await super().reconfigure(checked)
            self._revision = revision_of(backend, checked)
            if loaded_before:
                await asyncio.to_thread(give_back)

        def check_health(self) -> None:
            check_gpu()
            super().check_health()

        async def revision(self) -> str:
            """A digest of everything that determines an answer, see `revision_of`."""
            return self._revision

        async def posted(self, address: Address, number: int, method: str, *args: Any, **kwargs: Any) -> int:
            """Post the items of a stream to a stream receiver; returns their number."""
            return await self._sender.post(address, number, getattr(self, method)(*args, **kwargs))

        def followed(self, method: str, tasks: Sequence[str], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            """Call `method` and yield its progress and its provider's tasks, then its answer.

            Args:
                tasks: tasks that earlier attempts at the call created.
            """
            return following(getattr(self, method)(*args, **kwargs), tasks)

    Replica.__name__ = Replica.__qualname__ = backend.__name__
    return Replica


def show_ray() -> None:
    """Let the processes that an engine starts find this replica's Ray cluster: vLLM's, over several machines, join the
    cluster and its placement group, and would start a cluster of their own otherwise."""
    if ray.is_initialized():
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


def revision_of(backend: type[Any], options: Any) -> str:
    """A digest of everything that determines an answer: the backend's class, its options and its weights."""
    content = f"{backend.__module__}:{backend.__qualname__} {options.model_dump_json()} {_weights_stamp(options)}"
    return hashlib.sha256(content.encode()).hexdigest()


def _weights_stamp(options: Any) -> str:
    """Name, size and modification time of every file in the folders that options name: new weights, new revision."""
    folders = [Path(weights_path(text)) for text in _texts(options.model_dump())]
    files = sorted(file for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.is_file())
    return " ".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)


def _texts(value: Any) -> Iterator[str]:
    """Every text in options, including those of adapters and voices."""
    if isinstance(value, str):
        if value:  # an empty text would name the working directory
            yield value
    elif isinstance(value, dict):
        yield from _texts(list(cast(dict[Any, Any], value).values()))
    elif isinstance(value, list | tuple):
        for inner in cast(list[Any], value):
            yield from _texts(inner)
