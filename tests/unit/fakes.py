"""Models that answer at once, handles that fail as told, and the smallest media."""

import asyncio
import io
import re
import wave
from collections.abc import AsyncIterator
from typing import Any, Literal

from PIL import Image as Pillow

from deployments.capabilities import (
    AudioFormat,
    Box,
    Delta,
    Embeddings,
    ImageFormat,
    ImageTools,
    Judgement,
    Judgements,
    Language,
    Message,
    Moderation,
    Purpose,
    Ranked,
    Ranking,
    Reply,
    Reranking,
    Segment,
    SpeechToText,
    TextToImage,
    TextToSpeech,
    ToolCall,
    Transcript,
    Vectors,
    Voice,
)
from deployments.errors import PromptTooLong
from deployments.media import Audio, Image


def picture_bytes(format: str = "PNG", size: tuple[int, int] = (4, 3)) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", size, "red").save(buffer, format)
    return buffer.getvalue()


def wav_bytes(seconds: float = 0.25, rate: int = 8000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(int(seconds * rate) * 2))
    return buffer.getvalue()


PICTURE = Image(picture_bytes(), "image/png")
RECORDING = Audio(wav_bytes(), "audio/wav")


class Judge(Moderation):
    """Flags a text with `hurt` in it."""

    async def moderate(self, texts: list[str]) -> Judgements:
        found = [1.0 if "hurt" in text else 0.25 for text in texts]
        results = [
            Judgement(flagged=one > 0.5, categories=["threat"] if one > 0.5 else [], scores={"threat": one})
            for one in found
        ]
        return Judgements(results=results, prompt_tokens=len(texts))


class Embedder(Embeddings, Reranking):
    """A vector of two numbers by the text's length; the longest document is the best."""

    async def embed(
        self, texts: list[str], *, purpose: Purpose | None = None, dimensions: int | None = None
    ) -> Vectors:
        vectors = [[1.0 / (1 + len(text)), 0.5] for text in texts]
        return Vectors(vectors=[vector[:dimensions] for vector in vectors], prompt_tokens=len(texts))

    async def rank(self, query: str, documents: list[str]) -> Ranking:
        order = sorted(range(len(documents)), key=lambda at: -len(documents[at]))
        scores = [len(documents[at]) / 1000 for at in order]
        results = [Ranked(index=at, score=score) for at, score in zip(order, scores, strict=True)]
        return Ranking(results=results, prompt_tokens=len(query))


class Writer(Language):
    """Answers `says`, or raises it, and asks for `calls`; `options` are the arguments of each call that were given."""

    def __init__(self, says: str | Exception = "A painted circle.", calls: list[ToolCall] | None = None) -> None:
        self.says = says
        self.calls = calls or []
        self.heard: list[list[Message]] = []
        self.seeds: list[int | None] = []
        self.options: list[dict[str, Any]] = []

    async def chat(self, messages: list[Message], *, seed: int | None = None, **options: Any) -> Reply:
        self.heard.append(messages)
        self.seeds.append(seed)
        self.options.append({name: value for name, value in options.items() if value is not None})
        if isinstance(self.says, Exception):
            raise self.says
        reason = "tool_calls" if self.calls else "stop"
        return Reply(text=self.says, tool_calls=self.calls, finish_reason=reason, prompt_tokens=1, completion_tokens=2)

    async def stream(self, messages: list[Message], *, seed: int | None = None, **options: Any) -> AsyncIterator[Delta]:
        reply = await self.chat(messages, seed=seed, **options)
        for word in re.findall(r"[^ ]+ ?", reply.text):
            yield Delta(text=word)
        yield Delta(**{**dict(reply), "text": ""})


class Painter(TextToImage):
    """Paints a red picture; with `together`, only once that many are asked for at the same time.

    It reads `reads` words of a prompt, and refuses one that has more.
    """

    def __init__(self, together: int = 1, reads: int | None = None) -> None:
        self.reads = reads
        self.prompts: list[str] = []
        self.seeds: list[int | None] = []
        self._together = asyncio.Barrier(together)

    async def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        adapter: str | None = None,
        references: list[Image] | None = None,
    ) -> Image:
        for field, text in (("prompt", prompt), ("negative_prompt", negative_prompt or "")):
            if self.reads is not None and len(text.split()) > self.reads:
                raise PromptTooLong(field, f"has {len(text.split())} tokens; this model reads {self.reads}")
        self.prompts.append(prompt)
        self.seeds.append(seed)
        await self._together.wait()
        return PICTURE


class Ears(SpeechToText):
    """Hears `text` in every recording."""

    def __init__(self, text: str = "a red circle") -> None:
        self.text = text

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> Transcript:
        segments = [Segment(start=0.0, end=1.5, text=self.text)]
        return Transcript(text=self.text, language=language or "en", seconds=1.5, segments=segments)

    async def stream(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> AsyncIterator[Transcript]:
        yield await self.transcribe(audio, language=language, translate=translate, word_times=word_times)


class Speaker(TextToSpeech):
    """Says everything as the same recording."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str | None, AudioFormat | None]] = []
        self.cloned: list[tuple[str, Audio, str | None]] = []

    async def synthesize(
        self,
        text: str,
        *,
        voice: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> Audio:
        self.said.append((text, voice, format))
        return RECORDING

    async def stream(
        self,
        text: str,
        *,
        voice: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> AsyncIterator[Audio]:
        yield await self.synthesize(text, voice=voice, speed=speed, format=format)

    async def clone(
        self,
        text: str,
        reference: Audio,
        *,
        language: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> Audio:
        self.cloned.append((text, reference, language))
        return RECORDING

    async def voices(self) -> list[Voice]:
        return [Voice(name="en", language="en")]


class Tools(ImageTools):
    """Gives every picture back as it came."""

    async def resize(
        self,
        image: Image,
        *,
        width: int | None = None,
        height: int | None = None,
        fit: Literal["contain", "cover", "stretch"] = "contain",
    ) -> Image:
        return image

    async def crop(self, image: Image, box: Box) -> Image:
        return image

    async def encode(self, image: Image, *, format: ImageFormat = "png", quality: int = 90) -> Image:
        return image

    async def extract_object(self, image: Image, mask: Image, *, padding: int = 0) -> Image:
        return image

    async def canny(self, image: Image, *, low: float = 100, high: float = 200) -> Image:
        return image


class Never:
    """An outcome that does not come; `reached` is set when someone waits for it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class ScriptedHandle:
    """A Serve handle whose calls end as `outcomes` say, one after the other: a value, an exception or a `Never`.

    The outcome of a streaming call is a list of them.
    """

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.made: list[dict[str, Any]] = []  # the keywords of each `options()`
        self.responses: list[ScriptedResponse] = []

    def options(self, **keywords: Any) -> "ScriptedHandle":
        self.made.append(keywords)
        return self

    def remote(self, *args: Any, **kwargs: Any) -> "ScriptedResponse":
        self.calls.append((args, kwargs))
        self.responses.append(ScriptedResponse(self.outcomes.pop(0)))
        return self.responses[-1]


class ScriptedResponse:
    """Serve's response, as far as a run uses it."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome
        self.cancelled = False

    def __await__(self) -> Any:
        return _come(self._outcome).__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for outcome in self._outcome:
            yield await _come(outcome)

    def cancel(self) -> None:
        self.cancelled = True


async def _come(outcome: Any) -> Any:
    if isinstance(outcome, Never):
        await outcome.wait()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
