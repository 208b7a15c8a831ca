"""How the contracts load backends, measure them and watch them stop."""

import asyncio
import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS
from deployments import backend as common
from deployments.capabilities import (
    Depth,
    Embeddings,
    ImageEnhancement,
    ImageReconstruction,
    ImageTools,
    ImageTranslation,
    Language,
    Moderation,
    Reranking,
    Segmentation,
    SpeechToText,
    TextRecognition,
    TextToImage,
    TextToSpeech,
    VoiceActivity,
    lacking,
)
from deployments.text_to_speech import speaking

from .media_provider import freepik_provider, hugging_face_provider
from .provider import KEY_VARIABLE, LocalProvider, chat_provider

VOICE_TAGS = ("en-us", "de")
VOICES = [{"name": name, "language": name, "model": f"local/{name}"} for name in VOICE_TAGS]
SMALL = {"width": 64, "height": 64}  # pixels


def at(provider: Callable[[], LocalProvider], path: str) -> dict[str, Any]:
    """Options for a provider on loopback, which is retried at once."""
    return {"base_url": provider().url + path, "key_variable": KEY_VARIABLE, "retry_pause_s": 0.01}


async def connected(name: str, provider: LocalProvider, path: str, **options: Any) -> Any:
    """A backend that asks `provider` at `path`, waiting five seconds at most."""
    backend = unloaded(name)
    usual = at(lambda: provider, path) | {"timeout_s": 5}
    await backend.reconfigure(BACKENDS[name].Options(**{**usual, **options}))
    return backend


@dataclass(frozen=True)
class Remote:
    """What is otherwise with a backend whose work is a provider's: contracts look here, and nowhere else.

    `options` are those it is loaded with, beside where its provider is; with `other` ones it answers otherwise.
    `lacks` are optional arguments that its provider has no word for. Its work begins and ends at the provider: ends,
    when its connection closes.
    """

    provider: Callable[[], LocalProvider]
    path: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    other: dict[str, Any] = field(default_factory=dict[str, Any])
    lacks: frozenset[str] = frozenset()

    def loaded(self, *weights: Path) -> dict[str, Any]:
        return at(self.provider, self.path) | self.options


FREEPIK = (freepik_provider, "/ai")
HUB = (hugging_face_provider, "/models")
FASTER = {"voices": [VOICES[0] | {"model": "local/fast"}]}
REMOTE: dict[str, Remote] = {
    "freepik_image_enhancement": Remote(*FREEPIK, {"poll_s": 0.01}, {"sharpen": 100}),
    "freepik_text_to_image": Remote(*FREEPIK, SMALL | {"model": "classic-fast"}, lacks=frozenset({"steps"})),
    "hugging_face_speech_to_text": Remote(*HUB, {"model": "local/ears"}, {"timestamps": False}),
    "hugging_face_text_to_image": Remote(*HUB, SMALL | {"steps": 3}),
    "hugging_face_text_to_speech": Remote(*HUB, {"voices": VOICES}, FASTER),
    "openai_compatible": Remote(chat_provider, "/v1", {"model": "letters", "max_tokens": 20}, {"model": "other"}),
}

# What each backend is loaded with: options from the folders of tiny weights, of which
# those are made that are named. No backend is without an entry.
OPTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "bi_encoder": lambda encoder: {"weights": str(encoder), "threads": 1},
    "cross_encoder": lambda ranker: {"weights": str(ranker), "threads": 1},
    "cutout": lambda: {},
    "cyclegan": lambda: {"weights": "starter/translator", "longest_side": 64},
    "depth_anything": lambda depth: {"weights": str(depth)},
    # A GPU's own choice, bfloat16, rounds otherwise in a batch than alone; test_numbers.py compares the two.
    "diffusers": lambda painter: {"weights": str(painter), "steps": 3, "max_side": 256, "dtype": "float32"},
    "espeak": lambda: {},
    "faster_whisper": lambda whisper: {"weights": str(whisper), "threads": 1},
    "fastsam": lambda fastsam: {"weights": str(fastsam), "side": 128, "sureness": 0.9, "overlap": 0.5},
    "grabcut": lambda: {},
    "kokoro": lambda kokoro: {"weights": str(kokoro), "voices": str(kokoro), "threads": 1},
    "lambert": lambda: {},
    "llama_cpp": lambda gguf: {"weights": str(gguf), "max_tokens": 20, "threads": 1, "temperature": 0.0},
    "mms": lambda voices: {
        "voices": [{"name": one, "language": one, "weights": str(voices / one)} for one in VOICE_TAGS]
    },
    "moonshine": lambda: {"weights": PULLED["moonshine"]},
    "opencv": lambda: {},
    "palette": lambda: {},
    "piper": lambda piper: {
        "voices": [{"name": one, "weights": str(piper), "speaker": one} for one in ("low", "high")]
    },
    "pocketsphinx": lambda: {},
    "pp_ocr": lambda pp_ocr: {"weights": str(pp_ocr), "threads": 1},
    "sam2": lambda sam2: {"weights": str(sam2), "sureness": 0, "stability": 0},
    "sentence_transformers": lambda encoder: {"weights": str(encoder), "threads": 1},
    "silero": lambda: {},
    "swin2sr": lambda: {"weights": "starter/upscaler"},
    "text_classifier": lambda judge: {"weights": str(judge), "threads": 1},
    "transformers": lambda lm: {"weights": str(lm), "max_tokens": 20},
    "vit_mae": lambda: {"weights": "starter/restorer"},
    "vllm": lambda lm: {"weights": str(lm), "max_tokens": 20, "dtype": "float32", "enforce_eager": True},
    "xtts": lambda xtts: {"weights": str(xtts)},
}
CONTRACTS: dict[type[Any], str] = {  # the test that drives every backend of a capability
    Language: "test_language",
    Embeddings: "test_embeddings",
    Reranking: "test_reranking",
    Moderation: "test_moderation",
    TextToImage: "test_text_to_image",
    SpeechToText: "test_speech_to_text",
    VoiceActivity: "test_voice_activity",
    TextToSpeech: "test_text_to_speech",
    Segmentation: "test_segmentation",
    TextRecognition: "test_text_recognition",
    ImageTools: "test_image_tools",
    ImageTranslation: "test_image_translation",
    ImageEnhancement: "test_image_enhancement",
    ImageReconstruction: "test_image_reconstruction",
    Depth: "test_depth",
}
UNTRAINED = frozenset({"depth_anything", "fastsam", "sam2"})  # loaded with random weights: what they find means nothing
# Backends that are tested in another environment, and the module of their engine.
ELSEWHERE = {"fastsam": "ultralytics", "vllm": "vllm", "xtts": "TTS"}
# Tests that need weights which `make test` pulls, by backend or by model, and the weights' names in their folder.
PULLED = {
    "moonshine": "moonshine/tiny-en",
    "minilm": "minilm/l6-v2",
    "smollm2": "smollm2/135m-instruct",
    "kokoro-v1": "kokoro/v1.0-int8",
    "pp-ocr": "pp-ocr/v6-small",
}
# Backends that load weights into their own process, and where they keep them. vLLM's are in another process, which
# test_vllm.py sees end.
LOADED = dict.fromkeys(
    (
        "bi_encoder",
        "cross_encoder",
        "cutout",
        "cyclegan",
        "depth_anything",
        "diffusers",
        "faster_whisper",
        "fastsam",
        "kokoro",
        "llama_cpp",
        "mms",
        "moonshine",
        "piper",
        "pp_ocr",
        "sam2",
        "sentence_transformers",
        "swin2sr",
        "text_classifier",
        "transformers",
        "vit_mae",
        "xtts",
    ),
    "_engine",
) | {"pocketsphinx": "_pool"}


def need(name: str) -> None:
    """Skip the test where the engine of this backend is not installed, or its weights are not there."""
    if name in ELSEWHERE:
        need_module(ELSEWHERE[name])
    if name in PULLED and not Path(common.weights_path(PULLED[name])).is_dir():
        pytest.skip(f"the weights {PULLED[name]} are not here: `make test` pulls them")


def need_module(name: str) -> None:
    """Skip the test where this library is not installed, which is in the environment of `make test-engines`."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed here: `make test-engines` runs this test")


OPTIONS |= {name: remote.loaded for name, remote in REMOTE.items()}


def offering(capability: type[Any]) -> list[str]:
    """The names of the backends with a capability."""
    return [name for name, backend in BACKENDS.items() if capability in backend.__mro__]


def able(capability: type[Any], method: str) -> list[str]:
    """The names of the backends with a capability that do more than refuse one of its methods."""
    return [name for name in offering(capability) if method not in lacking(BACKENDS[name])]


def unloaded(name: str) -> Any:
    """A backend that has loaded nothing yet, as `Any`: which methods it has, its capability says."""
    return BACKENDS[name]()


def other_options(name: str, local: dict[str, Any]) -> dict[str, Any]:
    """Options with which a backend answers otherwise: `local`, or a remote one's."""
    return REMOTE[name].other if name in REMOTE else local


def taken(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments but for those that a remote model's provider has no word for."""
    remote = REMOTE.get(_name(model))
    return {name: value for name, value in arguments.items() if remote is None or name not in remote.lacks}


def telling(names: Iterable[str]) -> list[str]:
    """Those whose calls tell how far they are."""
    return [name for name in names if BACKENDS[name].tells_progress]


def _name(backend: Any) -> str:
    return next(name for name, kind in BACKENDS.items() if type(backend) is kind)


@dataclass
class Watch:
    """When a backend's work began and ended, however its caller fared."""

    started: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    looking: asyncio.Task[None] | None = None


def watch(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """From now on, see work of `backend` begin and end: of one call, long enough to be seen."""
    if remote := REMOTE.get(_name(backend)):
        seen = Watch()
        monkeypatch.setattr(remote.provider(), "watch", seen)
        return seen
    if isinstance(backend, BACKENDS["vllm"]):
        return watch_engine(backend, monkeypatch)
    seen, real = Watch(), common.in_thread

    async def watched(work: Callable[[threading.Event], Any], threads: Executor | None = None) -> Any:
        def noted(cancelled: threading.Event) -> Any:
            seen.started.set()
            try:
                return work(cancelled)
            finally:
                seen.ended.set()

        return await real(noted, threads)

    for module in (sys.modules[type(backend).__module__], speaking, common):
        monkeypatch.setattr(module, "in_thread", watched, raising=False)
    return seen


def watch_engine(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """The same of vLLM, whose work is a request in another process: begun when the engine holds memory for it.

    The engine refuses to empty its cache as long as a request has a part of it, so it is asked that over and over.
    """
    llm, seen = backend._engine.llm, Watch()
    real = llm.add_request

    async def look() -> None:
        with contextlib.suppress(Exception):  # the engine may be shut down when its last request is done
            while await llm.reset_prefix_cache():
                await asyncio.sleep(0.002)
            seen.started.set()
            while not await llm.reset_prefix_cache():
                await asyncio.sleep(0.01)
        seen.ended.set()

    async def added(*args: Any, **kwargs: Any) -> Any:
        queue = await real(*args, **kwargs)
        seen.looking = asyncio.create_task(look())
        return queue

    monkeypatch.setattr(llm, "add_request", added)
    return seen


def on_a_gpu() -> bool:
    """Whether backends that can use a GPU do."""
    import torch

    return torch.cuda.is_available()


async def seconds_to_stop(backend: Any, call: Coroutine[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> float:
    """Cancel a long call in the midst of its work; seconds until its thread, or its provider, is free again.

    Skips the test where a GPU has done the work before it can be cancelled.
    """
    seen = watch(backend, monkeypatch)
    task = asyncio.create_task(call)
    assert await asyncio.to_thread(seen.started.wait, 10)
    done, _ = await asyncio.wait({task}, timeout=0.3)
    if (done or seen.ended.is_set()) and on_a_gpu():
        await task
        pytest.skip("the call was over before it could be cancelled: this GPU is too fast for the test")
    assert not done, "the call was over before it could be cancelled"
    assert not seen.ended.is_set(), "the work was over before its caller was cancelled"
    begun = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(seen.ended.wait, 60)
    return time.perf_counter() - begun


async def reload_in_flight(
    backend: Any, call: Callable[[], Awaitable[Any]], options: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Give `backend` other options while a call runs; what that call returned."""
    if isinstance(backend, BACKENDS["vllm"]):
        return await reload_engine_in_flight(backend, call, options, monkeypatch)
    with monkeypatch.context() as patch:
        seen = watch(backend, patch)
        task = asyncio.ensure_future(call())
        assert await asyncio.to_thread(seen.started.wait, 10)
    await backend.reconfigure(options)
    return await task


async def reload_engine_in_flight(
    backend: Any, call: Callable[[], Awaitable[Any]], options: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The same of vLLM, where the call begins when the new engine is there: it would be over before that otherwise."""
    module, loop, calls = sys.modules[type(backend).__module__], asyncio.get_running_loop(), []
    real, old = module.load, backend._engine
    with monkeypatch.context() as patch:
        seen = watch_engine(backend, patch)

        def load(*args: Any) -> Any:
            new = real(*args)
            loop.call_soon_threadsafe(lambda: calls.append(asyncio.ensure_future(call())))
            assert seen.started.wait(10)
            return new

        patch.setattr(module, "load", load)
        await backend.reconfigure(options)
    assert backend._engine is not old
    assert not calls[0].done()
    answer = await calls[0]
    async with asyncio.timeout(20):
        while any(process.is_alive() for process in processes(old)):
            await asyncio.sleep(0.1)
    return answer


def processes(engine: Any) -> list[Any]:
    """Those of one of vLLM's engines."""
    return engine.llm.engine_core.resources.engine_manager.processes
