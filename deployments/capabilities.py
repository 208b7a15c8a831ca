"""Everything a model can do, drawn as Protocols; the values that go in and come out are named here too.

A backend is a plain class that inherits the Protocol it offers. A graph names the Protocol as the type of a parameter.
At run time a graph gets a proxy over Serve handles, in a unit test a small fake; both obey these signatures.

Keyword-only arguments are optional everywhere, and `None` means the model's own default. A value a backend cannot use
raises `InvalidInput` with the argument's name; a model that cannot answer now raises `ModelUnavailable`.

A method that streams is marked with the one whose answer it gives (`pieces.py`), and takes the same arguments.
"""

import inspect
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, Protocol, Unpack

from pydantic import Field

from .chat_options import ChatOptions as ChatOptions
from .errors import ModelUnavailable
from .judgements import Judgement as Judgement
from .judgements import Judgements
from .media import Audio, Image
from .messages import MAX_MESSAGES as MAX_MESSAGES
from .messages import Delta, Message, Reply
from .messages import Tool as Tool
from .messages import ToolCall as ToolCall
from .pieces import in_pieces
from .recognized_text import RecognizedText
from .recognized_text import TextLine as TextLine
from .speech import Segment as Segment
from .speech import SpokenStretch as SpokenStretch
from .speech import SpokenTimes, Transcript, Voice
from .speech import Word as Word
from .vectors import LONGEST_TEXT as LONGEST_TEXT
from .vectors import MOST_DOCUMENTS as MOST_DOCUMENTS
from .vectors import MOST_TEXTS as MOST_TEXTS
from .vectors import Ranked as Ranked
from .vectors import Ranking, Vectors

Purpose = Literal["query", "document"]
AudioFormat = Literal["wav", "mp3", "opus", "aac", "flac", "pcm"]
ImageFormat = Literal["png", "jpeg", "webp"]
Point = tuple[float, float]  # x, y in pixels from the top left corner
Direction = tuple[float, float, float]  # x to the right, y down, z towards the viewer; of any length
Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class Language(Protocol):
    """Reads and writes text. One that also reads pictures or recordings says so in its docstring; the others refuse
    them by their place in the messages."""

    async def chat(self, messages: list[Message], **options: Unpack[ChatOptions]) -> Reply:
        """Answer a conversation. `temperature` 0 takes the likeliest token each time, `max_tokens` counts new ones.

        `tools` are what the model may ask for, and `tool_choice` how: `auto` as it sees fit (what holds without it),
        `required` at least once, `none` not at all, a tool's name that one, once. `json_schema`: the text is JSON that
        this schema allows (unless `max_tokens` or `stop` cut it). `adapter` is the name of a LoRA adapter that the
        model was given.
        """
        ...

    @in_pieces(of="chat")
    def stream(self, messages: list[Message], **options: Unpack[ChatOptions]) -> AsyncIterator[Delta]:
        """The same answer as it is written: pieces of text, and in the last one the calls, the reason and the counts.

        Text waits only as long as it could be part of a call.
        """
        ...


class Embeddings(Protocol):
    """Turns texts into vectors: the nearer their directions, the more alike the texts."""

    async def embed(
        self, texts: list[str], *, purpose: Purpose | None = None, dimensions: int | None = None
    ) -> Vectors:
        """A vector of length 1 for each of 1 to 2,048 texts, in their order. All of a long text is in its vector.

        `purpose` is for models that were trained to tell the two apart: `query` for a text that looks for others,
        `document` for those that are found. `dimensions`: of the vectors, for models whose first dimensions say most.
        """
        ...


class Reranking(Protocol):
    """Says how well texts answer a question."""

    async def rank(self, query: str, documents: list[str]) -> Ranking:
        """The places of 1 to 1,000 documents, best first, each with a score from 0 to 1 by which documents of one query
        can be compared, and those of one model."""
        ...


class Moderation(Protocol):
    """Judges whether texts may be said."""

    async def moderate(self, texts: list[str]) -> Judgements:
        """How each of 1 to 2,048 texts is judged, in their order. All of a long text is judged."""
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
        references: list[Image] | None = None,
    ) -> Image:
        """Paint the picture anew as `prompt` says: PNG of its size. `strength`, above 0 to 1: how much may change.

        With `references` it takes their look: painted in the style of another picture.
        """
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
        references: list[Image] | None = None,
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

    @in_pieces(of="transcribe")
    def stream(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> AsyncIterator[Transcript]:
        """The same answer, stretch by stretch as it is read: each a transcript with its own segments, and one without
        any if nothing is said. A model that hears a recording as a whole leaves it as it is here."""
        raise ModelUnavailable("this model hears a recording as a whole: it does not stream")


class VoiceActivity(Protocol):
    """Finds speech."""

    async def detect(self, audio: Audio) -> SpokenTimes:
        """When somebody speaks in the recording."""
        ...


class TextToSpeech(Protocol):
    """Speaks a text. One that has only voices of its own leaves `clone` as it is here."""

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

    @in_pieces(of="synthesize")
    def stream(
        self,
        text: str,
        *,
        voice: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> AsyncIterator[Audio]:
        """The same answer as it is spoken: pieces whose bytes, one after another, are the file. Its header does not say
        how long it is. A model that speaks a text as a whole leaves it as it is here."""
        raise ModelUnavailable("this model speaks a text as a whole: it does not stream")

    async def clone(
        self,
        text: str,
        reference: Audio,
        *,
        language: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> Audio:
        """Speak `text` in the voice of the recording `reference`. `language`, a BCP 47 tag, is the text's."""
        raise ModelUnavailable("this model speaks with voices of its own: it does not clone")

    async def voices(self) -> list[Voice]:
        """Every voice `synthesize` takes."""
        ...


class Segmentation(Protocol):
    """Finds the outline of a thing. One that finds only what it is shown leaves `everything` as it is here."""

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

    async def everything(self, image: Image, *, limit: int = 100) -> list[Image]:
        """A mask, as `segment` makes it, of each thing in the picture, surest first; at most `limit`, 1 to 200."""
        raise ModelUnavailable("this model finds what it is shown: it does not segment everything")


class TextRecognition(Protocol):
    """Reads the text in pictures."""

    async def read(self, image: Image) -> RecognizedText:
        """Every line of text in the picture, with its place; none if there is no text."""
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
    """Makes pictures better. One that does not know a method leaves it as it is here."""

    async def upscale(self, image: Image, *, scale: Literal[2, 4] = 2) -> Image:
        """Enlarge both sides by `scale`, with detail (PNG)."""
        raise ModelUnavailable("this model does not enlarge pictures")

    async def remove_background(self, image: Image) -> Image:
        """The subject alone, of the image's size, on a transparent background (PNG, RGBA)."""
        raise ModelUnavailable("this model does not remove backgrounds")

    async def relight(
        self,
        image: Image,
        depth: Image,
        *,
        direction: Direction = (-1, -1, 1),
        colour: Colour = (255, 255, 255),
        strength: float = 0.7,
    ) -> Image:
        """The picture in a light from `direction` (PNG). `depth` is of its size, as `Depth.estimate` makes it.

        `strength`, 0 to 1: how much of the light is the new one; 0 leaves the picture as it is.
        """
        raise ModelUnavailable("this model does not relight pictures")

    async def stylize(self, image: Image, style: Image, *, strength: float = 1.0) -> Image:
        """The picture with the look of `style` (PNG, of the image's size). `strength`, 0 to 1: how much of it."""
        raise ModelUnavailable("this model does not stylize pictures")


class ImageReconstruction(Protocol):
    """Fills what is missing in a picture."""

    async def reconstruct(self, image: Image, mask: Image) -> Image:
        """Fill what the mask, of the image's size, covers (white); the rest stays as it is (PNG)."""
        ...


class Depth(Protocol):
    """Sees how far things are."""

    async def estimate(self, image: Image) -> Image:
        """How near each pixel is: PNG, 16 bit grey, of the image's size.

        Relative inverse depth: 65,535 is the nearest point of this picture and 0 its farthest, halfway between is a
        distance between them that depends on the picture; there are no metres in it.
        """
        ...


CAPABILITIES: tuple[type[Any], ...] = (
    Language,
    Embeddings,
    Reranking,
    Moderation,
    TextToImage,
    SpeechToText,
    VoiceActivity,
    TextToSpeech,
    Segmentation,
    TextRecognition,
    ImageTools,
    ImageTranslation,
    ImageEnhancement,
    ImageReconstruction,
    Depth,
)


def capabilities_of(backend: type[Any]) -> tuple[type[Any], ...]:
    """The capabilities a backend class inherits, so that a profile need not say them again."""
    return tuple(capability for capability in CAPABILITIES if capability in backend.__mro__)


def lacking(backend: type[Any]) -> frozenset[str]:
    """The methods that a backend class leaves as its capabilities draw them: they refuse."""
    return frozenset(
        name
        for capability in capabilities_of(backend)
        for name, drawn in vars(capability).items()
        if not name.startswith("_") and inspect.isfunction(drawn) and getattr(backend, name) is drawn
    )
