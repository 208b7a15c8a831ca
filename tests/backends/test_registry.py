"""What holds for every backend, whatever it can do."""

import asyncio
import gc
import importlib
import importlib.util
import subprocess
import sys
import weakref
from typing import Any

import pytest
from pydantic import ValidationError

from deployments import BACKENDS
from deployments.backend import Backend, Needs
from deployments.backend import Options as BackendOptions
from deployments.capabilities import (
    CAPABILITIES,
    Depth,
    Embeddings,
    ImageEnhancement,
    ImageReconstruction,
    ImageTools,
    ImageTranslation,
    Language,
    Message,
    Moderation,
    Reranking,
    Segmentation,
    SpeechToText,
    TextRecognition,
    TextToImage,
    TextToSpeech,
    VoiceActivity,
    capabilities_of,
    lacking,
)
from deployments.errors import ModelUnavailable
from deployments.media import Image

from .harness import CONTRACTS, ELSEWHERE, LOADED, OPTIONS, offering, unloaded

ENGINES = (
    "torch",
    "transformers",
    "sentence_transformers",
    "llguidance",
    "vllm",
    "TTS",
    "ultralytics",
    "diffusers",
    "cv2",
    "av",
    "pocketsphinx",
    "faster_whisper",
    "ctranslate2",
    "onnxruntime",
    "espeakng_loader",
    "xllamacpp",
    "PIL",
    "numpy",
    "serve_app",
)
BROKEN: dict[str, dict[str, Any]] = {  # options that pass as types and cannot be loaded
    "bi_encoder": {"weights": "/nowhere"},
    "cross_encoder": {"weights": "/nowhere"},
    "cutout": {"matting": "/nowhere"},
    "cyclegan": {"weights": "/nowhere"},
    "depth_anything": {"weights": "/nowhere"},
    "diffusers": {"weights": "/nowhere"},
    "espeak": {"voice": "en-us+nobody"},
    "faster_whisper": {"weights": "/nowhere"},
    "fastsam": {"weights": "/nowhere"},
    "freepik_image_enhancement": {"key_variable": "NO_SUCH_KEY"},
    "freepik_text_to_image": {"base_url": "http://example.com/ai"},
    "hugging_face_speech_to_text": {"key_variable": "NO_SUCH_KEY"},
    "hugging_face_text_to_image": {"base_url": "https://user:password@example.com"},
    "hugging_face_text_to_speech": {"key_variable": "NO_SUCH_KEY"},
    "kokoro": {"weights": "/nowhere"},
    "llama_cpp": {"weights": "/nowhere"},
    "mms": {"voices": [{"name": "en", "language": "en", "weights": "/nowhere"}]},
    "moonshine": {"weights": "/nowhere"},
    "openai_compatible": {"key_variable": "NO_SUCH_KEY"},
    "piper": {"voices": [{"name": "low", "weights": "/nowhere"}]},
    "pocketsphinx": {"language_model": "/nowhere.lm"},
    "pp_ocr": {"weights": "/nowhere"},
    "sam2": {"weights": "/nowhere"},
    "sentence_transformers": {"weights": "/nowhere"},
    "swin2sr": {"weights": "/nowhere"},
    "text_classifier": {"weights": "/nowhere"},
    "transformers": {"weights": "/nowhere"},
    "vit_mae": {"weights": "/nowhere"},
    "vllm": {"weights": "/nowhere"},
    "xtts": {"weights": "/nowhere"},
}


def test_every_backend_has_options_to_be_tested_with() -> None:
    assert set(OPTIONS) == set(BACKENDS)


def test_every_capability_has_a_contract_that_walks_its_backends() -> None:
    assert set(CONTRACTS) == set(CAPABILITIES)
    for capability, module in CONTRACTS.items():
        contract = importlib.import_module(f".{module}", __package__)
        assert contract.NAMES == offering(capability) != []


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_inherits_a_backends_life_before_its_capability_and_is_documented(name: str) -> None:
    backend = BACKENDS[name]
    (capability,) = capabilities_of(backend)
    assert backend.__mro__.index(Backend) < backend.__mro__.index(capability)
    assert backend.reconfigure is not Backend.reconfigure
    assert backend._ready is not Backend._ready
    assert len(backend.__doc__ or "") > 200
    assert issubclass(backend.Options, BackendOptions)
    assert backend.Options.__qualname__ == f"{backend.__name__}.Options"
    assert isinstance(backend.needs, Needs)
    assert isinstance(backend.tells_progress, bool)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("cutout", {"upscale", "relight", "stylize"}),
        ("espeak", {"clone"}),
        ("kokoro", {"clone"}),
        ("mms", {"clone"}),
        ("piper", {"clone"}),
        ("hugging_face_text_to_speech", {"clone", "stream"}),
        ("xtts", set()),
        ("diffusers", set()),
        ("fastsam", set()),
        ("grabcut", {"everything"}),
        ("hugging_face_text_to_image", {"edit", "inpaint", "vary"}),
        ("sam2", set()),
        ("lambert", {"upscale", "remove_background", "stylize"}),
        ("palette", {"upscale", "remove_background", "relight"}),
        ("swin2sr", {"remove_background", "relight", "stylize"}),
    ],
)
def test_what_a_backend_leaves_to_its_capability_is_known(name: str, refused: set[str]) -> None:
    assert lacking(BACKENDS[name]) == refused


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_that_is_not_loaded_says_so(name: str) -> None:
    backend = unloaded(name)
    with pytest.raises(ModelUnavailable, match="not loaded"):
        backend.check_health()
    picture = Image(b"", "image/png")
    enhancing = {
        "upscale": lambda: backend.upscale(picture),
        "remove_background": lambda: backend.remove_background(picture),
        "relight": lambda: backend.relight(picture, picture),
        "stylize": lambda: backend.stylize(picture, picture),
    }
    calls = {
        Language: lambda: backend.chat([Message(role="user", content="hi")]),
        Embeddings: lambda: backend.embed(["hi"]),
        Moderation: lambda: backend.moderate(["hi"]),
        Reranking: lambda: backend.rank("hi", ["hi"]),
        TextToImage: lambda: backend.generate("a dog"),
        SpeechToText: lambda: backend.transcribe(picture),
        VoiceActivity: lambda: backend.detect(picture),
        TextToSpeech: lambda: backend.synthesize("hi"),
        Segmentation: lambda: backend.segment(picture, points=[(0, 0)]),
        TextRecognition: lambda: backend.read(picture),
        ImageTools: lambda: backend.encode(picture),
        ImageTranslation: lambda: backend.translate(picture),
        ImageEnhancement: lambda: next(
            call() for method, call in enhancing.items() if method not in lacking(BACKENDS[name])
        ),
        ImageReconstruction: lambda: backend.reconstruct(picture, picture),
        Depth: lambda: backend.estimate(picture),
    }
    for capability in capabilities_of(type(backend)):
        with pytest.raises(ModelUnavailable, match="not loaded"):
            asyncio.run(calls[capability]())


@pytest.mark.parametrize("name", BACKENDS)
def test_a_loaded_backend_is_healthy_and_refuses_unknown_options(name: str, load: Any, options_of: Any) -> None:
    load(name).check_health()
    with pytest.raises(ValidationError, match="wieghts"):
        options_of(name, wieghts="x")


@pytest.mark.parametrize("name", BROKEN)
def test_options_that_cannot_be_loaded_leave_the_old_in_use(name: str, fresh: Any, options_of: Any) -> None:
    backend = fresh(name)
    with pytest.raises(ModelUnavailable):
        asyncio.run(backend.reconfigure(options_of(name, **BROKEN[name])))
    backend.check_health()


@pytest.mark.parametrize("name", LOADED)
def test_what_was_loaded_is_gone_after_a_reload_and_after_the_backend(name: str, fresh: Any, options_of: Any) -> None:
    backend = fresh(name)
    old = weakref.ref(getattr(backend, LOADED[name]))
    asyncio.run(backend.reconfigure(options_of(name)))
    gc.collect()
    assert old() is None
    backend.check_health()
    last = weakref.ref(getattr(backend, LOADED[name]))
    del backend
    gc.collect()
    assert last() is None


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_backend_whose_engine_is_not_installed_names_the_extra_that_is_missing(name: str) -> None:
    if importlib.util.find_spec(ELSEWHERE[name]):
        pytest.skip(f"{name} is installed here")
    with pytest.raises(ModelUnavailable, match=f"extra `{name}`"):
        asyncio.run(unloaded(name).reconfigure(BACKENDS[name].Options(weights="anywhere")))


def test_importing_the_backends_loads_no_engine() -> None:
    code = f"import sys, deployments; print([m for m in {ENGINES} if m in sys.modules], len(deployments.BACKENDS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("]") == ["[", f" {len(BACKENDS)}\n"]
