"""A line of text read by a network that says for each of its columns which character stands there (CTC).

Columns that show the same character are one, unless a blank stands between them (Graves et al. 2006).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Network = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]

HEIGHT = 48  # pixels that the network sees
LEAST_WIDTH, MOST_WIDTH = 48, 3200  # pixels
TALL = 1.5  # times as tall as wide: written from the top to the bottom, or the picture lies on its side
DOUBTFUL = 0.9  # less than that, and the line is tried upside down too


@dataclass(frozen=True)
class Reading:
    """What a line says, and how sure the network is of its characters on average, 0 to 1."""

    text: str
    confidence: float


def characters_of(network: Any) -> Sequence[str]:
    """What the network's classes stand for: a blank, its characters, and a space.

    Raises:
        KeyError: its file does not name them.
    """
    return ["", *network.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]


def cut_out(pixels: "np.ndarray[Any, Any]", corners: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The line inside of the four corners as a picture of its own, which lies straight."""
    import cv2
    import numpy as np

    width = max(np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[3] - corners[2]))
    height = max(np.linalg.norm(corners[0] - corners[3]), np.linalg.norm(corners[1] - corners[2]))
    width, height = max(1, round(float(width))), max(1, round(float(height)))
    straight = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    line = cv2.warpPerspective(
        pixels,
        cv2.getPerspectiveTransform(corners, straight),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.ascontiguousarray(np.rot90(line)) if height >= TALL * width else line


def read(network: "Network", characters: Sequence[str], line: "np.ndarray[Any, Any]") -> Reading:
    """What a line says; the way up that the network is surer of.

    Args:
        network: makes 1 x columns x classes out of a signal of 1 x 3 x 48 x width.
        line: of height x width x 3, uint8, BGR.
    """
    reading = _read(network, characters, line)
    if reading.confidence >= DOUBTFUL:
        return reading
    turned = _read(network, characters, line[::-1, ::-1])
    return max(reading, turned, key=lambda one: one.confidence)


def _read(network: "Network", characters: Sequence[str], line: "np.ndarray[Any, Any]") -> Reading:
    import cv2
    import numpy as np

    width = round(line.shape[1] * HEIGHT / line.shape[0])
    seen = (max(LEAST_WIDTH, min(MOST_WIDTH, width)), HEIGHT)
    signal = cv2.resize(np.ascontiguousarray(line), seen).astype(np.float32) / 127.5 - 1
    (columns,) = network(signal.transpose(2, 0, 1)[None])
    best = columns.argmax(1)
    new = (best != 0) & np.append(True, best[1:] != best[:-1])
    if not new.any():
        return Reading("", 0.0)
    text = "".join(characters[int(index)] for index in best[new])
    return Reading(text, float(columns.max(1)[new].mean()))
