"""Segmentation by GrabCut: colours and edges, no weights, from clicks, boxes or a rough mask."""

import math
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import Box, Point, Segmentation
from ..errors import ModelUnavailable
from ..media import Image
from .hints import Hints, PixelHints, checked, inside

if TYPE_CHECKING:
    import numpy as np

SAME_COLOUR = 18  # of 255 in each of L, a and b
FEWEST_SAMPLES = 16  # pixels on either side; OpenCV fits five Gaussians to each and fails on fewer


class GrabCut(Backend, Segmentation):
    """GrabCut (Rother, Kolmogorov, Blake 2004) as OpenCV has it: colour mixtures of thing and ground and a graph cut.

    Finds things that differ in colour from what is around them; it knows no objects, so a striped cat on a striped
    sofa needs several points. A box is the best hint and bounds the result; of what grows from points alone, only
    parts that hold a point are kept. Works on at most `longest_side` pixels and returns the mask at the image's size.
    The same call gives the same mask. Takes about a second for a photograph.
    """

    class Options(BackendOptions):
        """How finely and how long it looks."""

        longest_side: int = Field(768, ge=64, le=4096, description="Pixels it works on along the longer side")
        iterations: int = Field(4, ge=1, le=20, description="Times that colours and outline are fitted to each other")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)

    def __init__(self) -> None:
        self._options: GrabCut.Options | None = None

    async def reconfigure(self, options: Options) -> None:
        """Take other options.

        Raises:
            ModelUnavailable: OpenCV cannot be loaded.
        """
        await in_thread(lambda cancelled: pixels.need_opencv())
        self._options = options

    async def segment(
        self,
        image: Image,
        *,
        points: list[Point] | None = None,
        background_points: list[Point] | None = None,
        boxes: list[Box] | None = None,
        mask: Image | None = None,
    ) -> Image:
        """All hints count together: a pixel outside every box is ground, a point overrules box and mask."""
        options = self._ready()
        hints = checked(points, background_points, boxes, mask)
        return await in_thread(lambda cancelled: _segment(image, hints, options, cancelled))

    def _ready(self) -> "GrabCut.Options":
        if self._options is None:
            raise ModelUnavailable("GrabCut is not loaded yet")
        return self._options


def _segment(image: Image, hints: Hints, options: GrabCut.Options, cancelled: threading.Event) -> Image:
    import cv2
    import numpy as np
    import PIL.Image

    picture = pixels.on_white(pixels.open_picture(image))
    size = picture.size
    shown = inside(hints, size)
    points = shown.points if not shown.boxes and shown.mask is None else []  # the only hint to the thing

    scale = min(1.0, options.longest_side / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    colours = cv2.resize(np.asarray(picture)[:, :, ::-1], small, interpolation=cv2.INTER_AREA)
    colours = np.ascontiguousarray(colours)
    labels = _labels(small, scale, shown)
    if points:
        labels[_alike(colours, [_shrunk(point, scale, small) for point in points]) & (labels == cv2.GC_PR_BGD)] = (
            cv2.GC_PR_FGD
        )
    cut(colours, labels, options.iterations, cancelled)
    mask = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    if points:
        mask = _holding(mask, [_shrunk(point, scale, small) for point in points])
    if small != size:  # a soft enlargement cut at its middle gives a smooth outline
        mask = (cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) > 127).astype(np.uint8) * 255
    return pixels.write_picture(PIL.Image.fromarray(mask))


def _labels(size: tuple[int, int], scale: float, shown: PixelHints) -> "np.ndarray":
    """What is known before: shape (height, width), uint8, OpenCV's certain and probable thing and ground."""
    import cv2
    import numpy as np

    labels = np.full(size[::-1], cv2.GC_PR_FGD if shown.ground_only else cv2.GC_PR_BGD, np.uint8)
    if shown.mask is not None:
        labels[cv2.resize(shown.mask, size, interpolation=cv2.INTER_AREA) > 127] = cv2.GC_PR_FGD
    if shown.boxes:
        within = np.zeros(size[::-1], bool)
        for left, top, right, bottom in shown.boxes:
            x, y = int(left * scale), int(top * scale)
            within[y : max(y + 1, math.ceil(bottom * scale)), x : max(x + 1, math.ceil(right * scale))] = True
        labels[~within] = cv2.GC_BGD
        if shown.mask is None:
            labels[within] = cv2.GC_PR_FGD
    radius = max(2, round(max(size) * 0.006))
    for given, label in ((shown.points, cv2.GC_FGD), (shown.background_points, cv2.GC_BGD)):
        for point in given:
            cv2.circle(labels, _shrunk(point, scale, size), radius, int(label), -1)
    if not np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():  # a box around everything: the rim is ground
        rim = max(1, round(min(size) * 0.01))
        labels[:rim] = labels[-rim:] = labels[:, :rim] = labels[:, -rim:] = cv2.GC_BGD
    return labels


def _alike(colours: "np.ndarray", points: list[tuple[int, int]]) -> "np.ndarray":
    """Where to begin from points alone, shape (height, width): what hangs together with one and has about its colour.

    The few pixels of a click are too little to fit colour mixtures to; they would describe that spot's noise.
    """
    import cv2
    import numpy as np

    smooth = cv2.cvtColor(cv2.GaussianBlur(colours, (0, 0), 2), cv2.COLOR_BGR2LAB)
    reached = np.zeros((smooth.shape[0] + 2, smooth.shape[1] + 2), np.uint8)
    near = (SAME_COLOUR,) * 3
    for point in points:
        cv2.floodFill(smooth, reached, point, 0, near, near, 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE)
    return reached[1:-1, 1:-1] > 0


def cut(colours: "np.ndarray", labels: "np.ndarray", iterations: int, cancelled: threading.Event) -> None:
    """Run GrabCut on `labels` in place; too few pixels on a side leave them as they are.

    Raises:
        CancelledError: `cancelled` was set; looked at before each iteration.
    """
    import cv2
    import numpy as np

    thing = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).sum()
    if min(thing, labels.size - thing) < FEWEST_SAMPLES:
        return
    cv2.setRNGSeed(0)  # this thread's: the first clusters are drawn by chance
    of_ground, of_thing = np.zeros((1, 65)), np.zeros((1, 65))
    mode = cv2.GC_INIT_WITH_MASK
    for _ in range(iterations):
        if cancelled.is_set():
            raise CancelledError
        try:
            cv2.grabCut(colours, labels, None, of_ground, of_thing, 1, mode)  # type: ignore[call-overload]
        except cv2.error:  # one side ran empty: what is labelled by then is the answer
            return
        mode = cv2.GC_EVAL


def _holding(mask: "np.ndarray", points: list[tuple[int, int]]) -> "np.ndarray":
    """Only the connected parts of a mask that hold one of `points`."""
    import cv2
    import numpy as np

    _, parts = cv2.connectedComponents(mask)
    kept = {int(parts[y, x]) for x, y in points} - {0}
    return np.isin(parts, list(kept)).astype(np.uint8) * 255


def _shrunk(point: Point, scale: float, size: tuple[int, int]) -> tuple[int, int]:
    return min(int(point[0] * scale), size[0] - 1), min(int(point[1] * scale), size[1] - 1)
