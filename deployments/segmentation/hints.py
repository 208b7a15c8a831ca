"""Hints to the thing that a segmenter is to outline, checked alike for every backend."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import pixels
from ..capabilities import Box, Point
from ..errors import InvalidInput
from ..media import Image

if TYPE_CHECKING:
    import numpy as np

MOST_HINTS = 200  # points or boxes in one call
MOST_MASKS = 200  # of everything, in one call


@dataclass(frozen=True)
class Hints:
    """Hints as they came in."""

    points: list[Point]
    background_points: list[Point]
    boxes: list[Box]
    mask: Image | None


@dataclass(frozen=True)
class PixelHints:
    """Hints inside one picture: points in pixels, boxes in whole pixels, the mask as uint8 [height, width]."""

    points: list[Point]
    background_points: list[Point]
    boxes: list[tuple[int, int, int, int]]
    mask: "np.ndarray | None"

    @property
    def ground_only(self) -> bool:
        """Whether all hints show what the thing is not: then the rest is the thing."""
        return not (self.points or self.boxes or self.mask is not None)


def checked(
    points: list[Point] | None, background_points: list[Point] | None, boxes: list[Box] | None, mask: Image | None
) -> Hints:
    """Hints of one call.

    Raises:
        InvalidInput: there are none, or too many.
    """
    if not (points or background_points or boxes or mask):
        raise InvalidInput("points", "boxes and mask are all missing; one hint at least is needed")
    hints = Hints(points or [], background_points or [], boxes or [], mask)
    for field, given in (
        ("points", hints.points),
        ("background_points", hints.background_points),
        ("boxes", hints.boxes),
    ):
        if len(given) > MOST_HINTS:
            raise InvalidInput(field, f"has {len(given)} entries; at most {MOST_HINTS} are taken")
    return hints


def inside(hints: Hints, size: tuple[int, int]) -> PixelHints:
    """The hints in a picture of `size` (width, height).

    Raises:
        InvalidInput: one lies outside of it, or the mask has another size; names the field.
    """
    _check_points(hints.points, size, "points")
    _check_points(hints.background_points, size, "background_points")
    boxes = [pixels.check_box(box, size, "boxes") for box in hints.boxes]
    return PixelHints(hints.points, hints.background_points, boxes, _rough(hints.mask, size) if hints.mask else None)


def _rough(mask: Image, size: tuple[int, int]) -> "np.ndarray":
    import numpy as np

    picture = pixels.on_white(pixels.open_picture(mask, "mask")).convert("L")
    if picture.size != size:
        sizes = f"{picture.width} x {picture.height} pixels, the image {size[0]} x {size[1]}"
        raise InvalidInput("mask", f"has {sizes}; they must be the same")
    return np.asarray(picture)


def _check_points(points: list[Point], size: tuple[int, int], field: str) -> None:
    for point in points:
        if len(point) != 2 or not (0 <= point[0] < size[0] and 0 <= point[1] < size[1]):  # also false for NaN
            raise InvalidInput(field, f"has {point}, which is not inside {size[0]} x {size[1]} pixels")


def check_limit(limit: int) -> None:
    """The number of things in one call has bounds.

    Raises:
        InvalidInput: `limit` is beyond them.
    """
    if not 1 <= limit <= MOST_MASKS:
        raise InvalidInput("limit", f"is {limit}; it goes from 1 to {MOST_MASKS}")
