"""OpenAI's routes for pictures and sound, as its clients really call them, over fake models."""

import base64
import io
from typing import Any

import httpx
import PIL.Image
import pytest

from deployments.capabilities import Image, Segment, TextToImage, Transcript
from deployments.media import Audio
from serve_app.config.loading import load_graphs
from serve_app.config.schema import AppConfig
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import bind_models

from .fakes import PICTURE, RECORDING, Ears, Speaker, Writer
from .services import Services, connect

WHISPERED = {"tokens": [1, 2], "temperature": 0.2, "avg_logprob": -0.3, "no_speech_prob": 0.1}
# Of a segment of `verbose_json`, by https://platform.openai.com/docs/api-reference/audio/verbose-json-object
SEGMENT = {"id": int, "seek": int, "start": float, "end": float, "text": str, "tokens": list, "temperature": float}
SEGMENT |= {"avg_logprob": float, "compression_ratio": float, "no_speech_prob": float}


class Whisperer(Ears):
    """Says of each segment how sure it is."""

    async def transcribe(self, audio: Audio, **options: Any) -> Transcript:
        segments = [Segment(start=2.5, end=4.0, text=self.text, **WHISPERED)]
        return Transcript(text=self.text, language="en", seconds=4.0, segments=segments)


class Editor(TextToImage):
    """Gives every picture back; `seen` has the pictures, masks and references of each call."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    async def generate(self, prompt: str, **options: Any) -> Image:
        return PICTURE

    async def edit(self, image: Image, prompt: str, **options: Any) -> Image:
        self.seen.append({"image": image, **options})
        return image

    async def inpaint(self, image: Image, mask: Image, prompt: str, **options: Any) -> Image:
        self.seen.append({"image": image, "mask": mask, **options})
        return image

    async def vary(self, image: Image, **options: Any) -> Image:
        self.seen.append({"image": image})
        return image


@pytest.fixture
def editor() -> Editor:
    return Editor()


@pytest.fixture
def ears() -> Ears:
    return Whisperer()


@pytest.fixture
async def client(services: Services, editor: Editor, ears: Ears) -> httpx.AsyncClient:
    models: dict[str, Any] = {"painter": editor, "ears": ears, "speaker": Speaker(), "writer": Writer()}
    backends = {"painter": "diffusers", "ears": "pocketsphinx", "speaker": "espeak", "writer": "transformers"}
    config = AppConfig.model_validate({"models": [{"name": name, "backend": backends[name]} for name in models]})
    handles = {name: LocalHandle(model) for name, model in models.items()}
    return connect(services.make(config, load_graphs(config.graphs), bind_models(config, handles)).app)


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, (width, height)).save(file, "png")
    return file.getvalue()


def size_of(data: bytes) -> tuple[int, int]:
    return PIL.Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize("ears", [Whisperer(), Ears()], ids=["sure", "says nothing"])
async def test_verbose_segments_have_every_field_that_clients_require(client: httpx.AsyncClient, ears: Ears) -> None:
    parts: Any = {"file": ("a.wav", RECORDING.data), "response_format": (None, "verbose_json")}
    answer = (await client.post("/v1/audio/transcriptions", files=parts)).json()
    (segment,) = answer["segments"]
    assert {name: type(value) for name, value in segment.items()} == SEGMENT
    assert segment["seek"] == segment["start"] * 100
    if isinstance(ears, Whisperer):
        assert {name: segment[name] for name in WHISPERED} == WHISPERED


@pytest.mark.parametrize(
    ("path", "lacking"),
    [
        ("transcriptions", {"prompt": "Names: Ada"}),
        ("transcriptions", {"temperature": "0.4"}),
        ("transcriptions", {"include[]": "logprobs"}),
        ("transcriptions", {"charm": "1"}),
        ("translations", {"language": "de"}),
        ("speech", {"instructions": "whisper"}),
        ("speech", {"charm": 1}),
    ],
    ids=str,
)
async def test_what_is_not_done_with_sound_is_refused_by_name(
    client: httpx.AsyncClient, path: str, lacking: Any
) -> None:
    if path == "speech":
        answer = await client.post("/v1/audio/speech", json={"input": "Hello", **lacking})
    else:
        parts: Any = {"file": ("a.wav", RECORDING.data), **{name: (None, value) for name, value in lacking.items()}}
        answer = await client.post(f"/v1/audio/{path}", files=parts)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].split(".")[0] == next(iter(lacking)).removesuffix("[]")


async def test_neutral_values_are_taken(client: httpx.AsyncClient) -> None:
    fields = {"temperature": "0", "prompt": "", "chunking_strategy": "auto", "language": ""}
    parts: Any = {"file": ("a.wav", RECORDING.data), **{name: (None, value) for name, value in fields.items()}}
    answer = await client.post("/v1/audio/transcriptions", files=parts)
    assert answer.status_code == 200, answer.text
    body = {"prompt": "a circle", "quality": "standard", "n": None, "size": None, "user": "u1", "response_format": None}
    assert (await client.post("/v1/images/generations", json=body)).status_code == 200


@pytest.mark.parametrize(
    "lacking",
    [{"background": "transparent"}, {"stream": True}, {"style": "vivid"}, {"output_format": "webp"}, {"charm": 1}],
    ids=str,
)
async def test_what_is_not_done_with_pictures_is_refused_by_name(client: httpx.AsyncClient, lacking: Any) -> None:
    answer = await client.post("/v1/images/generations", json={"prompt": "a circle", **lacking})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(lacking)))


@pytest.mark.parametrize(
    ("size", "made"), [(None, (40, 20)), ("auto", (40, 20)), ("40x20", (40, 20)), ("16x32", (16, 32))]
)
@pytest.mark.parametrize("route", ["edits", "variations"])
async def test_a_changed_picture_has_the_size_that_is_named(
    client: httpx.AsyncClient, route: str, size: str | None, made: tuple[int, int]
) -> None:
    parts: dict[str, Any] = {"image": ("a.png", png(40, 20), "image/png")}
    parts |= {"prompt": (None, "a circle")} if route == "edits" else {}
    parts |= {"size": (None, size)} if size else {}
    answer = await client.post(f"/v1/images/{route}", files=parts)
    assert answer.status_code == 200, answer.text
    assert size_of(base64.b64decode(answer.json()["data"][0]["b64_json"])) == made


async def test_a_mask_follows_its_picture_to_another_size(client: httpx.AsyncClient, editor: Editor) -> None:
    parts: Any = {"image": ("a.png", png(40, 20), "image/png"), "mask": ("m.png", png(40, 20, "RGBA"), "image/png")}
    parts |= {"prompt": (None, "a circle"), "size": (None, "16x32")}
    assert (await client.post("/v1/images/edits", files=parts)).status_code == 200
    assert [size_of(editor.seen[0][name].data) for name in ("image", "mask")] == [(16, 32)] * 2


async def test_further_pictures_of_an_edit_are_references(client: httpx.AsyncClient, editor: Editor) -> None:
    parts: Any = [("image[]", ("a.png", png(40, 20), "image/png")), ("image[]", ("b.png", png(8, 8), "image/png"))]
    answer = await client.post("/v1/images/edits", files=[*parts, ("prompt", (None, "as in the second"))])
    assert answer.status_code == 200, answer.text
    assert size_of(editor.seen[0]["image"].data) == (40, 20)
    assert [size_of(picture.data) for picture in editor.seen[0]["references"]] == [(8, 8)]
    damaged = [parts[0], ("image[]", ("b.png", b"not a picture", "image/png")), ("prompt", (None, "x"))]
    answer = await client.post("/v1/images/edits", files=damaged)
    assert (answer.status_code // 100, answer.json()["error"]["param"]) == (4, "image.0")


@pytest.mark.parametrize("size", ["0x10", "10", "99999x1", "9999x9999"])
async def test_a_size_that_cannot_be_is_named(client: httpx.AsyncClient, size: str) -> None:
    parts: Any = {"image": ("a.png", png(40, 20), "image/png"), "prompt": (None, "x"), "size": (None, size)}
    answer = await client.post("/v1/images/edits", files=parts)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")
