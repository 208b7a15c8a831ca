"""Relighting: a picture lit anew from a side, by the shape that its depth shows."""

import math
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import Colour, Direction, ImageEnhancement
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image

if TYPE_CHECKING:
    import numpy as np

STEEPEST = 4.0  # slope of a surface: beyond it one thing ends and another begins, and no surface is there


class Lambert(Backend, ImageEnhancement):
    """Lights a picture by Lambert's law: a surface is as bright as it is turned towards the light.

    The shape is read from a depth picture (`Depth.estimate`): its slopes give the direction each surface faces. What is
    in shade gets darker and the rest takes the light's colour, counted in linear light. It adds a light and does not
    take away the one that the picture was made in; nothing casts a shadow or shines, and depth is a guess, so this is
    for moods and not for measurements. The same call gives the same picture. A photograph takes a second on a CPU.
    """

    class Options(BackendOptions):
        """How the shape is read."""

        relief: float = Field(0.3, gt=0, le=10, description="From nearest to farthest, in sides of the picture")
        smoothing: float = Field(0.004, ge=0, le=0.1, description="Of the depth, in sides of the picture")

    needs: ClassVar[Needs] = Needs(cpus=0.25, concurrency=2)

    def __init__(self) -> None:
        self._options: Lambert.Options | None = None

    async def reconfigure(self, options: Options) -> None:
        """Take other options.

        Raises:
            ModelUnavailable: OpenCV cannot be loaded.
        """
        await in_thread(lambda cancelled: pixels.need_opencv())
        self._options = options

    async def relight(
        self,
        image: Image,
        depth: Image,
        *,
        direction: Direction = (-1, -1, 1),
        colour: Colour = (255, 255, 255),
        strength: float = 0.7,
    ) -> Image:
        options = self._ready()
        length = math.hypot(*direction) if len(direction) == 3 else math.nan
        if not (math.isfinite(length) and length > 0 and direction[2] >= 0):
            raise InvalidInput(
                "direction", f"is {direction}: x, y and z of which z, towards the viewer, is not negative"
            )
        if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            raise InvalidInput("colour", f"is {colour}: red, green and blue from 0 to 255")
        if not 0 <= strength <= 1:  # also false for NaN
            raise InvalidInput("strength", f"is {strength}; it goes from 0 to 1")
        towards = (direction[0] / length, direction[1] / length, direction[2] / length)
        return await in_thread(lambda cancelled: _relight(image, depth, towards, colour, strength, options, cancelled))

    def _ready(self) -> "Lambert.Options":
        if self._options is None:
            raise ModelUnavailable("the relighter is not loaded yet")
        return self._options


def _relight(
    image: Image,
    depth: Image,
    towards: Direction,
    colour: Colour,
    strength: float,
    options: Lambert.Options,
    cancelled: threading.Event,
) -> Image:
    import numpy as np
    import PIL.Image

    opened = pixels.open_picture(image)
    near = _nearness(depth, opened.size)
    if cancelled.is_set():
        raise CancelledError
    facing = lit(near, towards, options.relief, options.smoothing)
    if cancelled.is_set():
        raise CancelledError
    tint = _linear(np.array(colour, np.float32) / 255)
    light = (1 - strength) + strength * facing[..., None] * tint
    made = _encoded(_linear(np.asarray(opened.convert("RGB"), np.float32) / 255) * light)
    result = PIL.Image.fromarray((made * 255).round().astype(np.uint8))
    if opened.mode == "RGBA":
        result.putalpha(opened.getchannel("A"))
    if profile := opened.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    if cancelled.is_set():
        raise CancelledError
    return pixels.write_picture(result)


def lit(near: "np.ndarray", towards: Direction, relief: float, smoothing: float) -> "np.ndarray":
    """How much light each pixel gets, float32 [h, w] of 0 to 1, from `towards` (of length 1; x right, y down, z here).

    near: float32 [h, w], 0 the farthest and 1 the nearest; `relief` and `smoothing` in longer sides of the picture.
    """
    import cv2
    import numpy as np

    side = max(near.shape)
    if smoothing * side >= 0.3:
        near = cv2.GaussianBlur(near, (0, 0), smoothing * side)
    height = near * (relief * side)  # towards the viewer, in pixels
    slopes = (cv2.Sobel(height, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    across, down = (np.clip(slope, -STEEPEST, STEEPEST) for slope in slopes)
    toward = towards[2] - across * towards[0] - down * towards[1]
    return (toward / np.sqrt(across**2 + down**2 + 1)).clip(0, 1)


def _nearness(depth: Image, size: tuple[int, int]) -> "np.ndarray":
    """A depth picture as float32 [height, width], 0 to 1, in all the 16 bits that it may have."""
    import numpy as np

    picture = pixels.load_picture(depth, "depth")
    if picture.size != size:
        sizes = f"{picture.width} x {picture.height} pixels, the image {size[0]} x {size[1]}"
        raise InvalidInput("depth", f"has {sizes}; they must be the same")
    if picture.mode.startswith("I"):
        return np.asarray(picture, np.float32) / 65_535
    return np.asarray(picture.convert("RGB").convert("L"), np.float32) / 255


def _linear(values: "np.ndarray") -> "np.ndarray":
    """sRGB of 0 to 1 as linear light of 0 to 1 (IEC 61966-2-1)."""
    import numpy as np

    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: "np.ndarray") -> "np.ndarray":
    """The inverse of `_linear`."""
    import numpy as np

    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light.clip(1e-9) ** (1 / 2.4) - 0.055)
