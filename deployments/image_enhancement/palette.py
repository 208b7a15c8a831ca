"""Style transfer of colours: a picture in the palette of another."""

import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import ImageEnhancement
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

LEAST_SPREAD = 1.0  # of 100: a picture of one colour has none, and none can be stretched to another


class Palette(Backend, ImageEnhancement):
    """Gives a picture the colours of another, by the linear Monge-Kantorovich map (Pitié, Kokaram 2007).

    The mean colour, the contrast and how colours go together become those of the style picture, in CIE Lab, by the
    least change that does it. That is a grading, as films get: light, mood, palette. Strokes, textures and shapes stay
    the picture's own; for those, `TextToImage.edit` paints anew, with the style among its `references`. Colours beyond
    what a screen shows are cut off. The same call gives the same picture. A photograph takes a second on a CPU.
    """

    class Options(BackendOptions):
        """How closely it looks."""

        longest_side: int = Field(512, ge=16, le=4096, description="Pixels of the longer side that colours are read at")

    needs: ClassVar[Needs] = Needs(cpus=0.25, concurrency=2)

    def __init__(self) -> None:
        self._options: Palette.Options | None = None

    async def reconfigure(self, options: Options) -> None:
        """Take other options.

        Raises:
            ModelUnavailable: OpenCV cannot be loaded.
        """
        await in_thread(lambda cancelled: pixels.need_opencv())
        self._options = options

    async def stylize(self, image: Image, style: Image, *, strength: float = 1.0) -> Image:
        options = self._ready()
        if not 0 <= strength <= 1:  # also false for NaN
            raise InvalidInput("strength", f"is {strength}; it goes from 0 to 1")
        return await in_thread(lambda cancelled: _stylize(image, style, strength, options.longest_side, cancelled))

    def _ready(self) -> "Palette.Options":
        if self._options is None:
            raise ModelUnavailable("the palette is not loaded yet")
        return self._options


def _stylize(image: Image, style: Image, strength: float, side: int, cancelled: threading.Event) -> Image:
    import cv2
    import numpy as np
    import PIL.Image

    def go_on() -> None:
        if cancelled.is_set():
            raise CancelledError

    opened, wanted = pixels.open_picture(image), pixels.on_white(pixels.open_picture(style, "style"))
    go_on()
    matrix, before, after = transport(_colours(opened.convert("RGB"), side), _colours(wanted, side))
    lab = _lab(np.asarray(opened.convert("RGB")))
    go_on()
    moved = (lab.reshape(-1, 3) - before) @ matrix.T + after
    moved = (lab + strength * (moved.reshape(lab.shape) - lab)).astype(np.float32)
    go_on()
    made = cv2.cvtColor(moved, cv2.COLOR_LAB2RGB).clip(0, 1)
    result = PIL.Image.fromarray((made * 255).round().astype(np.uint8))
    if opened.mode == "RGBA":
        result.putalpha(opened.getchannel("A"))
    if profile := opened.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    go_on()
    return pixels.write_picture(result)


def transport(source: "np.ndarray", target: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """The linear map that gives `source` the mean and covariance of `target`, both [n, 3], and moves it least.

    A colour c becomes matrix @ (c - before) + after: matrix [3, 3], before [3], after [3].
    """
    import numpy as np

    before, after = source.mean(0), target.mean(0)
    spread, wanted = (np.cov(one.T) + np.eye(3) * LEAST_SPREAD for one in (source, target))
    root = _root(spread)
    inverse = np.linalg.inv(root)
    return inverse @ _root(root @ wanted @ root) @ inverse, before, after


def _root(matrix: "np.ndarray") -> "np.ndarray":
    """The square root of a symmetric positive matrix."""
    import numpy as np

    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def _colours(picture: "Picture", side: int) -> "np.ndarray":
    """The colours of a picture made small, two at least: float64 [n, 3] in Lab."""
    import numpy as np

    small = picture.copy()
    small.thumbnail((side, side))
    colours = _lab(np.asarray(small)).reshape(-1, 3).astype(np.float64)
    return colours if len(colours) > 1 else colours.repeat(2, 0)


def _lab(colours: "np.ndarray") -> "np.ndarray":
    """uint8 [h, w, 3] as float32 in CIE Lab: L 0 to 100, a and b about -127 to 127."""
    import cv2
    import numpy as np

    return cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
