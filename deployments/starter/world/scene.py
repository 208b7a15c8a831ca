"""What one picture of the little world shows.

What a description leaves out has one meaning, so that a short wish has one picture: no size is medium (small, of
several), no position is the centre, no background is white (black behind a white figure).
"""

import hashlib
import random
from dataclasses import dataclass

COLOURS = {
    "red": (220, 36, 36), "orange": (246, 140, 22), "yellow": (252, 218, 48), "green": (38, 158, 68),
    "blue": (36, 92, 222), "purple": (142, 58, 182), "white": (246, 246, 246), "black": (18, 18, 22),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
SIZES = {"small": 10.0, "medium": 14.0, "large": 18.0}  # radius in pixels of a 64-pixel picture
POSITIONS = {"centre": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
COUNTS = {1: (0,), 2: (-14, 14), 3: (-20, 0, 20)}  # where the figures of a row stand, in pixels from its middle
GROUP_RADIUS = {2: 9.0, 3: 8.0}
GROUP_POSITIONS = ("centre", "top", "bottom")  # a row has no room to the left and right
LANDSCAPES = ("sea", "mountains", "night sky", "sunset", "field", "city")
SIDE = 64  # the picture size, in pixels, that every length here refers to
MARGIN = 4.0  # pixels between a figure and the edge it leans to


@dataclass(frozen=True)
class Scene:
    """What one picture shows. A landscape (a background of LANDSCAPES) has no figure: its other fields are None."""

    background: str
    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    position: str | None = None
    count: int | None = None  # of equal figures in a row; several are always small
    seed: int = 0  # the small accidents: jitter of place and size, waves, peaks, stars

    def held_out(self) -> bool:
        """Whether this combination of figures, background and position is kept from every training (1 in 10)."""
        if self.shape is None:
            return False
        number = "" if self.count == 1 else f"{self.count} "
        key = f"{number}{self.shape}/{self.colour}/{self.background}/{self.position}"
        return hashlib.sha256(key.encode()).digest()[0] < 26


def random_scene(rng: random.Random, held_out: bool = False, landscapes: float = 0.15, groups: float = 0.25) -> Scene:
    """Draw a scene; `held_out` picks from the combinations no training sees.

    Args:
        landscapes: their share, 0 to 1; held out there are none.
        groups: the share of several figures among the others, 0 to 1.
    """
    seed = rng.randrange(1 << 30)
    if not held_out and rng.random() < landscapes:
        return Scene(rng.choice(LANDSCAPES), seed=seed)
    while True:
        colour, background = rng.sample(list(COLOURS), 2)
        shape = rng.choice(SHAPES)
        if rng.random() < groups:
            scene = Scene(background, shape, colour, "small", rng.choice(GROUP_POSITIONS), rng.choice((2, 3)), seed)
        else:
            size, position = rng.choice(list(SIZES)), rng.choice(list(POSITIONS))
            scene = Scene(background, shape, colour, size, position, 1, seed)
        if scene.held_out() == held_out:
            return scene
