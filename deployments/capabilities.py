"""Everything a model can do, drawn as Protocols, and the values that go in and come out.

A backend is a plain class that inherits the Protocol it offers. A graph names the Protocol as the type of a parameter.
At run time a graph gets a proxy over Serve handles, in a unit test a small fake; both obey these signatures.

Keyword-only arguments are optional everywhere, and `None` means the model's own default. A value a backend cannot use
raises `InvalidInput` with the argument's name; a model that cannot answer now raises `ModelUnavailable`.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from .errors import ModelUnavailable
from .media import Audio, Image

AudioFormat = Literal["wav", "mp3", "opus", "aac", "flac", "pcm"]
ImageFormat = Literal["png", "jpeg", "webp"]
Point = tuple[float, float]  # x, y in pixels from the top left corner
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"] = Field(description="Who speaks")
    content: str = Field(max_length=32_000, description="What is said")


class Reply(BaseModel):
    """What a language model answered."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


class Delta(BaseModel):
    """A piece of a reply, as it is written; the last one has a `finish_reason`."""

    text: str
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Word(BaseModel):
    """A recognised word."""

    start: float = Field(description="Seconds from the beginning")
    end: float = Field(description="Seconds from the beginning")
    text: str


class Segment(BaseModel):
    """A stretch of recognised speech."""

    start: float = Field(description="Seconds from the beginning")
    end: float = Field(description="Seconds from the beginning")
    text: str
    words: list[Word] = Field(default=[], description="Where asked for")


class Transcript(BaseModel):
    """What was heard."""

    text: str
    language: str = Field(description="BCP 47 tag")
    seconds: float = Field(description="Length of the recording")
    segments: list[Segment] = []


class Voice(BaseModel):
    """A voice a text-to-speech model speaks with."""

    name: str
    language: str = Field(description="BCP 47 tag")
    description: str = ""


class Language(Protocol):
    """Reads and writes text."""

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
        """Answer a conversation. `temperature` 0 takes the likeliest token each time, `max_tokens` counts new ones."""
        ...

    def stream(
        self,
        messages: list[Message],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> AsyncIterator[Delta]:
        """The same as it is written; the texts joined are the reply."""
        ...


class TextToImage(Protocol):
    """Paints what a text describes. One that paints from a text alone leaves the other methods as they are here."""

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
        """Paint `prompt` as a PNG of `width` x `height` pixels. The same seed and arguments give the same picture.

        `adapter` names one that the model was given, such as a style; `references` are pictures whose look it takes.
        """
        ...

    async def edit(
        self,
        image: Image,
        prompt: str,
        *,
        strength: float | None = None,
        negative_prompt: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        adapter: str | None = None,
    ) -> Image:
        """Paint the picture anew as `prompt` says: PNG of its size. `strength`, above 0 to 1: how much may change."""
        raise ModelUnavailable("this model paints from a text alone: it does not edit")

    async def inpaint(
        self,
        image: Image,
        mask: Image,
        prompt: str,
        *,
        strength: float | None = None,
        negative_prompt: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        adapter: str | None = None,
    ) -> Image:
        """Paint what the mask, of the picture's size, covers (white) as `prompt` says; the rest stays (PNG)."""
        raise ModelUnavailable("this model paints from a text alone: it does not inpaint")

    async def vary(
        self,
        image: Image,
        *,
        prompt: str | None = None,
        strength: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
    ) -> Image:
        """Another picture like this one: PNG of its size. `prompt` says what it shows, which keeps it so."""
        raise ModelUnavailable("this model paints from a text alone: it does not vary")


class SpeechToText(Protocol):
    """Writes down what is said."""

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> Transcript:
        """Transcribe a recording. `language`, a BCP 47 tag, is what is spoken; without it the model's own or detected.

        `translate` writes it in English; `word_times` says when each word begins and ends.
        """
        ...


class TextToSpeech(Protocol):
    """Speaks a text."""

    async def synthesize(
        self,
        text: str,
        *,
        voice: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> Audio:
        """Speak `text`. `speed` is a factor, 0.25 to 4; `format` is `wav` unless named."""
        ...

    async def voices(self) -> list[Voice]:
        """Every voice `synthesize` takes."""
        ...


class Segmentation(Protocol):
    """Finds the outline of a thing."""

    async def segment(
        self,
        image: Image,
        *,
        points: list[Point] | None = None,
        background_points: list[Point] | None = None,
        boxes: list[Box] | None = None,
        mask: Image | None = None,
    ) -> Image:
        """The mask of what the points, boxes or rough mask show: PNG, 8 bit, of the image's size, 255 where it is."""
        ...


class ImageTools(Protocol):
    """Changes pictures without a network."""

    async def resize(
        self,
        image: Image,
        *,
        width: int | None = None,
        height: int | None = None,
        fit: Literal["contain", "cover", "stretch"] = "contain",
    ) -> Image:
        """Resize to `width` x `height` pixels; with one of them the other follows the picture's shape."""
        ...

    async def crop(self, image: Image, box: Box) -> Image:
        """Cut out `box`, which must lie inside the picture."""
        ...

    async def encode(
        self, image: Image, *, format: ImageFormat = "png", quality: Annotated[int, Field(ge=1, le=100)] = 90
    ) -> Image:
        """Write as another format; `quality`, 1 to 100, is for JPEG and WebP."""
        ...

    async def extract_object(self, image: Image, mask: Image, *, padding: int = 0) -> Image:
        """What the mask covers, cropped to it with `padding` pixels, transparent elsewhere (PNG)."""
        ...

    async def canny(self, image: Image, *, low: float = 100, high: float = 200) -> Image:
        """Edges by Canny (1986): white on black; `low` and `high` are its thresholds, 0 to 1000."""
        ...


class ImageTranslation(Protocol):
    """Turns pictures of one kind into another: day into night, a photograph into a drawing."""

    async def translate(self, image: Image, *, direction: str | None = None) -> Image:
        """The same picture as the other kind: PNG, of the image's size. `direction` is such as `day-to-night`."""
        ...


class ImageEnhancement(Protocol):
    """Makes pictures better."""

    async def upscale(self, image: Image, *, scale: Literal[2, 4] = 2) -> Image:
        """Enlarge both sides by `scale`, with detail (PNG)."""
        ...


class ImageReconstruction(Protocol):
    """Fills what is missing in a picture."""

    async def reconstruct(self, image: Image, mask: Image) -> Image:
        """Fill what the mask, of the image's size, covers (white); the rest stays as it is (PNG)."""
        ...


CAPABILITIES: tuple[type[Any], ...] = (
    Language,
    TextToImage,
    SpeechToText,
    TextToSpeech,
    Segmentation,
    ImageTools,
    ImageTranslation,
    ImageEnhancement,
    ImageReconstruction,
)


def capabilities_of(backend: type[Any]) -> tuple[type[Any], ...]:
    """The capabilities a backend class inherits, so that a profile need not say them again."""
    return tuple(capability for capability in CAPABILITIES if capability in backend.__mro__)
