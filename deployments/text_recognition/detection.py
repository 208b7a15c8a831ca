"""Lines of text found in a picture, by a network that says of each pixel how likely it is the core of a line.

The network and how its map becomes boxes are DB's (Liao et al. 2019, https://arxiv.org/abs/1911.08947): it is trained
on shrunken lines, so each region found is grown by its area over its perimeter.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Network = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]

LIKELY, SURE = 0.3, 0.5  # of a pixel, and of a region on average
GROWTH = 1.6  # times area over perimeter
LEAST_SIDE = 3  # pixels of a region before it has grown
STRIDE = 32  # pixels, of which the network wants multiples
LEAST_SEEN = 736  # pixels of the shorter side: small writing is enlarged
MOST_SEEN = 2000  # pixels of a side: what is wider is made smaller, what is taller is looked at in bands
OVERLAP = 200  # pixels of two bands
MOST_ENLARGED = 4.0


def lines_of(network: "Network", pixels: "np.ndarray[Any, Any]") -> Iterator["np.ndarray[Any, Any]"]:
    """The corners of each line: float32 of 4 x 2, x and y in pixels, clockwise from the line's beginning at the top.

    Args:
        network: makes a map of 1 x 1 x height x width out of a signal of 1 x 3 x height x width.
        pixels: of height x width x 3, uint8, BGR.
    """
    height, width = pixels.shape[:2]
    scale = min(MOST_SEEN / width, max(1.0, min(MOST_ENLARGED, LEAST_SEEN / min(height, width))))
    band = max(1, round(MOST_SEEN / scale))
    for top, bottom, first, last in bands(height, band, round(OVERLAP / scale)):
        for corners in _in_band(network, pixels[top:bottom], scale):
            corners[:, 1] += top
            if first <= corners[:, 1].mean() < last:  # otherwise the neighbouring band has it
                yield corners


def bands(height: int, tallest: int, overlap: int) -> Iterator[tuple[int, int, int, int]]:
    """Bands of at most `tallest` rows that together are `height`, each with the rows whose lines it answers for."""
    count = 1 if height <= tallest else -(-(height - overlap) // (tallest - overlap))
    step = (height - overlap) / count
    for index in range(count):
        top, bottom = round(index * step), height if index == count - 1 else round((index + 1) * step) + overlap
        first = 0 if index == 0 else top + overlap // 2
        last = height if index == count - 1 else bottom - overlap // 2
        yield top, bottom, first, last


def _in_band(network: "Network", pixels: "np.ndarray[Any, Any]", scale: float) -> Iterator["np.ndarray[Any, Any]"]:
    import cv2
    import numpy as np

    height, width = pixels.shape[:2]
    seen = (max(1, round(width * scale / STRIDE)) * STRIDE, max(1, round(height * scale / STRIDE)) * STRIDE)
    signal = cv2.resize(pixels, seen).astype(np.float32) / 127.5 - 1
    likely = network(signal.transpose(2, 0, 1)[None])[0, 0]
    # Grown by a pixel, so that a faint gap does not cut a line in two.
    regions = cv2.dilate((likely > LIKELY).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(regions, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    back = np.array([width / seen[0], height / seen[1]], np.float32)
    for contour in contours:
        center, size, angle = cv2.minAreaRect(contour)
        if min(size) < LEAST_SIDE or _mean(likely, cv2.boxPoints((center, size, angle))) < SURE:
            continue
        growth = GROWTH * size[0] * size[1] / (2 * (size[0] + size[1]))  # on each of the four sides
        grown = (size[0] + 2 * growth, size[1] + 2 * growth)
        if min(grown) >= LEAST_SIDE + 2:
            yield _from_the_top_left(cv2.boxPoints((center, grown, angle)) * back)


def _mean(likely: "np.ndarray[Any, Any]", corners: "np.ndarray[Any, Any]") -> float:
    """How likely the pixels inside of a rectangle are on average."""
    import cv2
    import numpy as np

    height, width = likely.shape
    (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width - 1), min(bottom, height - 1)
    inside = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(inside, [(corners - [left, top]).astype(np.int32)], 1)
    return cv2.mean(likely[top : bottom + 1, left : right + 1], inside)[0]


def _from_the_top_left(corners: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The corners of a rectangle, clockwise from the left one of its upper two."""
    import numpy as np

    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    (top_left, bottom_left), (top_right, bottom_right) = (
        left[np.argsort(left[:, 1])],
        right[np.argsort(right[:, 1])],
    )
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32)
