"""Segmentation by GrabCut: colours and edges, no weights, from clicks, boxes or a rough mask."""

import math
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .. import pixels
from ..backend import Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import Box, Point, Segmentation
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image

if TYPE_CHECKING:
    import numpy as np

MOST_HINTS = 200  # points or boxes in one call
SAME_COLOUR = 18  # of 255 in each of L, a and b
FEWEST_SAMPLES = 16  # pixels on either side; OpenCV fits five Gaussians to each and fails on fewer


class GrabCut(Segmentation):
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

        def load(cancelled: object) -> None:
            try:
                import cv2  # noqa: F401 -- loaded once here, so that the first call does not pay for it
            except ImportError as error:
                raise ModelUnavailable(f"OpenCV is needed: {error}") from None

        await in_thread(load)
        self._options = options

    def check_health(self) -> None:
        self._ready()

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
        if not (points or background_points or boxes or mask):
            raise InvalidInput("points", "boxes and mask are all missing; one hint at least is needed")
        hints = {"points": points or [], "background_points": background_points or [], "boxes": boxes or []}
        for field, given in hints.items():
            if len(given) > MOST_HINTS:
                raise InvalidInput(field, f"has {len(given)} entries; at most {MOST_HINTS} are taken")

        def work(cancelled: threading.Event) -> Image:
            return _segment(
                image, hints["points"], hints["background_points"], hints["boxes"], mask, options, cancelled
            )

        return await in_thread(work)

    def _ready(self) -> "GrabCut.Options":
        if self._options is None:
            raise ModelUnavailable("GrabCut is not loaded yet")
        return self._options


def _segment(
    image: Image,
    points: list[Point],
    background_points: list[Point],
    boxes: list[Box],
    mask: Image | None,
    options: GrabCut.Options,
    cancelled: threading.Event,
) -> Image:
    import cv2
    import numpy as np
    import PIL.Image

    picture = pixels.on_white(pixels.open_picture(image))
    size = picture.size
    _check_points(points, size, "points")
    _check_points(background_points, size, "background_points")
    corners = [pixels.check_box(box, size, "boxes") for box in boxes]
    rough = _rough(mask, size) if mask else None

    scale = min(1.0, options.longest_side / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    colours = cv2.resize(np.asarray(picture)[:, :, ::-1], small, interpolation=cv2.INTER_AREA)
    colours = np.ascontiguousarray(colours)
    labels = _labels(small, scale, points, background_points, corners, rough)
    if points and not corners and rough is None:
        labels[_alike(colours, [_shrunk(point, scale, small) for point in points]) & (labels == cv2.GC_PR_BGD)] = (
            cv2.GC_PR_FGD
        )
    _cut(colours, labels, options.iterations, cancelled)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    if points and not corners and rough is None:
        found = _holding(found, [_shrunk(point, scale, small) for point in points])
    if small != size:  # a soft enlargement cut at its middle gives a smooth outline
        found = (cv2.resize(found, size, interpolation=cv2.INTER_LINEAR) > 127).astype(np.uint8) * 255
    return pixels.write_picture(PIL.Image.fromarray(found))


def _labels(
    size: tuple[int, int],
    scale: float,
    points: list[Point],
    background_points: list[Point],
    boxes: list[tuple[int, int, int, int]],
    rough: "np.ndarray | None",
) -> "np.ndarray":
    """What is known before: shape (height, width), uint8, OpenCV's certain and probable thing and ground."""
    import cv2
    import numpy as np

    # Points for the ground alone say that the rest is the thing.
    ground_only = not (points or boxes or rough is not None)
    labels = np.full(size[::-1], cv2.GC_PR_FGD if ground_only else cv2.GC_PR_BGD, np.uint8)
    if rough is not None:
        labels[cv2.resize(rough, size, interpolation=cv2.INTER_AREA) > 127] = cv2.GC_PR_FGD
    if boxes:
        inside = np.zeros(size[::-1], bool)
        for left, top, right, bottom in boxes:
            x, y = int(left * scale), int(top * scale)
            inside[y : max(y + 1, math.ceil(bottom * scale)), x : max(x + 1, math.ceil(right * scale))] = True
        labels[~inside] = cv2.GC_BGD
        if rough is None:
            labels[inside] = cv2.GC_PR_FGD
    radius = max(2, round(max(size) * 0.006))
    for given, label in ((points, cv2.GC_FGD), (background_points, cv2.GC_BGD)):
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


def _cut(colours: "np.ndarray", labels: "np.ndarray", iterations: int, cancelled: threading.Event) -> None:
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


def _holding(found: "np.ndarray", points: list[tuple[int, int]]) -> "np.ndarray":
    """Only the connected parts of a mask that hold one of `points`."""
    import cv2
    import numpy as np

    _, parts = cv2.connectedComponents(found)
    kept = {int(parts[y, x]) for x, y in points} - {0}
    return np.isin(parts, list(kept)).astype(np.uint8) * 255


def _shrunk(point: Point, scale: float, size: tuple[int, int]) -> tuple[int, int]:
    return min(int(point[0] * scale), size[0] - 1), min(int(point[1] * scale), size[1] - 1)


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
