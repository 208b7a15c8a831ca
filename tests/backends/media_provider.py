"""Hugging Face's and Freepik's protocols on loopback, answered by what runs here: noise, eSpeak NG, the upscaler."""

import asyncio
import base64
import hashlib
import io
import json
import random
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

import httpx
import numpy as np
import PIL.Image
import standardwebhooks

from deployments import audio
from deployments.image_enhancement.swin2sr import Swin2SR
from deployments.media import Audio, Image
from deployments.text_to_speech.espeak import ESpeak

from .provider import SLOW, Answer, Asked, LocalProvider

CALLBACK_SECRET = "0123456789abcdef-of-the-tests"
POLLS = 2  # looks at a task before it is complete


def painted(decides: Any, size: tuple[int, int], format: str = "PNG") -> bytes:
    """Noise, the same for what is the same by JSON."""
    draw = np.random.default_rng(list(hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).digest()))
    picture = PIL.Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).resize(size)
    file = io.BytesIO()
    picture.save(file, format)
    return file.getvalue()


async def hugging_face(asked: Asked) -> Answer:
    """`POST /models/{model}`: what is wanted shows in Accept, as with the models of the hub it does in the model."""
    model, body = asked.path.removeprefix("/models/"), asked.json
    inputs, parameters = body["inputs"], body.get("parameters", {})
    if model.endswith("/missing"):
        return Answer.of({"error": "Model local/missing is not supported by provider hf-inference"}, 400)
    if asked.headers["accept"] == "image/png":
        if "slowly" in inputs:
            await asyncio.sleep(SLOW)
        decides = [model, inputs, {"num_inference_steps": 3, **parameters}]
        if "seed" not in parameters:
            decides.append(random.random())
        return Answer(painted(decides, (parameters["width"], parameters["height"])))
    if asked.headers["accept"] == "audio/flac":
        return Answer(await _spoken(model.split("/")[-1], inputs))
    return await _heard(base64.b64decode(inputs), parameters.get("return_timestamps", False))


async def _spoken(name: str, text: str) -> bytes:
    if len(text) > 2000:
        await asyncio.sleep(0.6)
    voice, speed = ("en-us", 2.0) if name == "fast" else (name, 1.0)
    return (await (await _mouth()).synthesize(text, voice=voice, speed=speed, format="flac")).data


async def _heard(flac: bytes, times: bool | str) -> Answer:
    """The counting of the tests, wherever there is sound."""
    samples = audio.decode(Audio(flac, "audio/flac"), 16_000)
    if len(samples) > 60 * 16_000:
        await asyncio.sleep(SLOW)
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    if not len(loud):
        return Answer.of({"text": "", "chunks": []})
    start, end = float(loud[0]) / 16_000, float(loud[-1]) / 16_000 + 0.35  # words end more softly than they begin
    parts = ["one", "two", "three", "four", "five"] if times == "word" else ["one two three", "four five"]
    step = (end - start) / len(parts)
    chunks = [
        {"text": f" {text}", "timestamp": [start + step * number, start + step * (number + 1)]}
        for number, text in enumerate(parts)
    ]
    return Answer.of({"text": " one two three four five", **({"chunks": chunks} if times else {})})


class Freepik:
    """Tasks that take a few looks, or, where it is to call back, `task_s` seconds; pictures at `/pictures/`."""

    def __init__(self) -> None:
        self.url = ""  # of the server, told when it runs
        self.pictures: dict[str, bytes] = {}
        self.task_s = 0.1
        self.calls = 1  # back, when a task has ended: 0: they are lost, 2: they are doubled
        self.lag_s = 0.0  # after which its status says what was told
        self.secret = CALLBACK_SECRET
        self.answered: list[int] = []  # to its calls
        self._looks: dict[str, int] = {}
        self._slow: set[str] = set()
        self._calling: dict[str, asyncio.Task[None]] = {}  # those it is to call back
        self._ended: set[str] = set()  # of them, by their status

    @property
    def created(self) -> int:
        """How many tasks there are: what is billed."""
        return len(self._looks)

    async def __call__(self, asked: Asked) -> Answer:
        kind = asked.path.removeprefix("/ai/")
        if asked.path.startswith("/pictures/"):
            return Answer(self.pictures[asked.path.split("/")[-1]])
        if asked.method == "GET":
            return await self._look(kind.split("/")[-1])
        body = asked.json
        if len(body.get("prompt", "long enough")) < 3:
            reason = {"name": "prompt", "reason": "must have 3 characters"}
            return Answer.of({"message": "Your request parameters didn't validate.", "invalid_params": [reason]}, 400)
        if kind == "text-to-image":
            if "slowly" in body["prompt"]:
                await asyncio.sleep(SLOW)
            picture = painted(body, _size(body["image"]["size"]), "JPEG")
            return Answer.of({"data": [{"base64": base64.b64encode(picture).decode(), "has_nsfw": False}]})
        return await self._create(kind, body)

    async def _create(self, kind: str, body: dict[str, Any]) -> Answer:
        number = f"task-{len(self._looks)}"
        self._looks[number] = 0
        if url := body.pop("webhook_url", None):
            self._calling[number] = asyncio.create_task(self._call(number, url))
        if kind.startswith("image-upscaler"):
            data = base64.b64decode(body["image"])
            if PIL.Image.open(io.BytesIO(data)).width > 700:
                self._slow.add(number)
            else:
                scale = int(str(body["scale_factor"]).rstrip("x"))
                large = await asyncio.to_thread(_enlarged, data, scale)
                self.pictures[number] = _marked(large) if body.get("sharpen") == 100 else large
        else:
            self.pictures[number] = painted([kind, body], _size(body["aspect_ratio"]), "JPEG")
        return Answer.of({"data": {"task_id": number, "status": "CREATED"}}, final=False)

    async def _look(self, number: str) -> Answer:
        if number in self._slow:
            await asyncio.sleep(SLOW)
        self._looks[number] += 1
        ended = number in self._ended if number in self._calling else self._looks[number] >= POLLS
        if not ended:
            return Answer.of({"data": {"task_id": number, "status": "IN_PROGRESS", "generated": []}}, final=False)
        found = {"task_id": number, "status": "COMPLETED", "generated": [f"{self.url}/pictures/{number}"]}
        return Answer.of({"data": found}, final=False)

    async def _call(self, number: str, url: str) -> None:
        """Tell each change of a task. The pictures it names are others than the task's: nobody is to look at them."""
        hook = standardwebhooks.Webhook(self.secret.encode())
        async with httpx.AsyncClient() as client:
            for status in ("IN_PROGRESS", "COMPLETED"):
                await asyncio.sleep(self.task_s / 2)
                if status == "COMPLETED" and not self.lag_s:
                    self._ended.add(number)
                body = json.dumps({"task_id": number, "status": status, "generated": ["https://169.254.169.254/"]})
                now = datetime.now(UTC)
                signed = {
                    "webhook-id": f"{number}-{status}",
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": hook.sign(f"{number}-{status}", now, body),
                }
                for _ in range(self.calls):
                    self.answered.append((await client.post(url, content=body, headers=signed)).status_code)
        await asyncio.sleep(self.lag_s)
        self._ended.add(number)


def _size(shape: str) -> tuple[int, int]:
    wide, high = (int(side) for side in shape.split("_")[-2:])
    unit = 128 / max(wide, high)
    return round(wide * unit), round(high * unit)


@lru_cache
def _enlarged(data: bytes, scale: int) -> bytes:
    """By the starter upscaler; a picture of one colour, which costs as much, by copying."""
    picture = PIL.Image.open(io.BytesIO(data))
    extremes: Any = picture.getextrema()
    if any(low != high for low, high in extremes):
        made = asyncio.run(_upscaler().upscale(Image(data, "image/png"), scale=4 if scale == 4 else 2))
        return made.data
    file = io.BytesIO()
    picture.resize((picture.width * scale, picture.height * scale)).save(file, "PNG")
    return file.getvalue()


def _marked(data: bytes) -> bytes:
    """The same but for a corner, as other options make another picture."""
    picture = PIL.Image.open(io.BytesIO(data))
    picture.putpixel((0, 0), (0, 0, 255))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@cache
def _upscaler() -> Swin2SR:
    upscaler = Swin2SR()
    asyncio.run(upscaler.reconfigure(Swin2SR.Options.model_validate({"weights": "starter/upscaler", "tile": 160})))
    return upscaler


async def _mouth() -> ESpeak:
    mouth = ESpeak()
    await mouth.reconfigure(ESpeak.Options.model_validate({}))
    return mouth


@cache
def hugging_face_provider() -> LocalProvider:
    """The one for the contracts, started when it is first wanted."""
    return LocalProvider(hugging_face)


def new_freepik(freepik: Freepik | None = None) -> LocalProvider:
    freepik = freepik or Freepik()
    provider = LocalProvider(freepik, key_header="x-freepik-api-key")
    freepik.url = provider.url
    return provider


@cache
def freepik_provider() -> LocalProvider:
    return new_freepik()
