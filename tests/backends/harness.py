"""How the contracts load backends, measure them and watch them stop."""

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS

# What each backend is loaded with: options from the folders of tiny weights. No backend is without an entry.
OPTIONS: dict[str, Callable[[Path, Path, Path], dict[str, Any]]] = {
    "cyclegan": lambda lm, painter, whisper: {"weights": "starter/translator", "longest_side": 64},
    "diffusers": lambda lm, painter, whisper: {"weights": str(painter), "steps": 3, "max_side": 256},
    "espeak": lambda lm, painter, whisper: {},
    "faster_whisper": lambda lm, painter, whisper: {"weights": str(whisper), "threads": 1},
    "grabcut": lambda lm, painter, whisper: {},
    "opencv": lambda lm, painter, whisper: {},
    "pocketsphinx": lambda lm, painter, whisper: {},
    "swin2sr": lambda lm, painter, whisper: {"weights": "starter/upscaler"},
    "transformers": lambda lm, painter, whisper: {"weights": str(lm), "max_tokens": 20},
    "vit_mae": lambda lm, painter, whisper: {"weights": "starter/restorer"},
}


def offering(capability: type[Any]) -> list[str]:
    """The names of the backends with a capability."""
    return [name for name, backend in BACKENDS.items() if capability in backend.__mro__]


@dataclass
class Watch:
    """When a backend's blocking work began and ended, however its caller fared."""

    started: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


def watch(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Watch:
    module = sys.modules[type(backend).__module__]
    seen, real = Watch(), module.in_thread

    async def watched(work: Callable[[threading.Event], Any]) -> Any:
        def noted(cancelled: threading.Event) -> Any:
            seen.started.set()
            try:
                return work(cancelled)
            finally:
                seen.ended.set()

        return await real(noted)

    monkeypatch.setattr(module, "in_thread", watched)
    return seen


async def seconds_to_stop(backend: Any, call: Coroutine[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> float:
    """Cancel a long call in the midst of its work; seconds until its thread is free again."""
    seen = watch(backend, monkeypatch)
    task = asyncio.create_task(call)
    assert await asyncio.to_thread(seen.started.wait, 10)
    done, _ = await asyncio.wait({task}, timeout=0.3)
    assert not done, "the call was over before it could be cancelled"
    begun = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not seen.ended.is_set(), "the work was over before its caller was cancelled"
    assert await asyncio.to_thread(seen.ended.wait, 60)
    return time.perf_counter() - begun


async def reload_in_flight(
    backend: Any, call: Callable[[], Awaitable[Any]], options: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Give `backend` other options while a call runs; what that call returned."""
    with monkeypatch.context() as patch:
        seen = watch(backend, patch)
        task = asyncio.ensure_future(call())
        assert await asyncio.to_thread(seen.started.wait, 10)
    await backend.reconfigure(options)
    return await task
