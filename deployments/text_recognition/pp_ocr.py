"""Text read by PP-OCR's networks on ONNX Runtime: printed text of many scripts, on a CPU."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import TextRecognition
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image
from ..onnx_session import folder_with, run, session
from ..recognized_text import RecognizedText, TextLine
from .detection import lines_of
from .line_reading import characters_of, cut_out, read

DETECTION, RECOGNITION = "detection.onnx", "recognition.onnx"
LEAST_SIDE = 8  # pixels: nothing smaller can be read
LEAST_SURE = 0.5  # a line that is less sure is no text


class PPOCR(Backend, TextRecognition):
    """PP-OCR (https://github.com/PaddlePaddle/PaddleOCR, Apache-2.0): one network finds lines, another reads them.

    Takes a folder with both in ONNX; the second names its characters, so the languages are those of the weights (the
    small PP-OCRv6 reads Latin letters with accents, Chinese and Japanese). Lines may be turned by any angle, stand on
    their side or upside down. A picture wider than 2,000 pixels is looked at smaller, a taller one in bands, so that a
    long screenshot keeps its small print. Columns of a page are not told apart: lines come in rows, with their places.
    Handwriting is mostly beyond it. A page takes two to four seconds on one core.
    """

    class Options(BackendOptions):
        """Weights, and what of a machine they take."""

        weights: str = Field(description=f"Folder with {DETECTION} and {RECOGNITION}")
        threads: int = Field(2, ge=1, le=64, description="Of one picture")

    needs: ClassVar[Needs] = Needs(cpus=1, concurrency=2)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other networks beside the old ones, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged or others.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def read(self, image: Image) -> RecognizedText:
        engine = self._ready()
        return await in_thread(lambda cancelled: _read(engine, image, cancelled))

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("PP-OCR is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """The loaded networks, which many threads may run, and what the classes of the second stand for."""

    detection: Any
    recognition: Any
    characters: Sequence[str]


def _read(engine: _Engine, image: Image, cancelled: threading.Event) -> RecognizedText:
    import numpy as np

    picture = pixels.on_white(pixels.open_picture(image))
    if min(picture.size) < LEAST_SIDE:
        raise InvalidInput("image", f"has {picture.width} x {picture.height} pixels; text needs at least {LEAST_SIDE}")
    seen = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
    lines = list[TextLine]()
    for corners in lines_of(lambda signal: run(engine.detection, signal, cancelled), seen):
        if cancelled.is_set():
            raise CancelledError
        line = cut_out(seen, corners)
        reading = read(lambda signal: run(engine.recognition, signal, cancelled), engine.characters, line)
        if reading.text.strip() and reading.confidence >= LEAST_SURE:
            places = [(min(max(x, 0.0), picture.width), min(max(y, 0.0), picture.height)) for x, y in corners.tolist()]
            lines.append(TextLine(text=reading.text.strip(), confidence=reading.confidence, corners=places))
    return RecognizedText.of(lines)


def _load(options: PPOCR.Options) -> _Engine:
    pixels.need_opencv()
    folder = folder_with(options.weights, (DETECTION, RECOGNITION))
    try:
        detection = session(folder / DETECTION, options.threads)
        recognition = session(folder / RECOGNITION, options.threads)
        characters = characters_of(recognition)
        classes = recognition.get_outputs()[0].shape[-1]
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        raise ModelUnavailable(f"{options.weights} cannot be loaded: {str(error).splitlines()[0][:300]}") from None
    if len(characters) != classes:
        raise ModelUnavailable(f"{options.weights} reads {classes} classes and names {len(characters)}")
    return _Engine(detection, recognition, characters)
