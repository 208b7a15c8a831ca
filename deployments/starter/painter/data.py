"""What the painter learns from: rendered scenes and what people, and the writer, say about them."""

import random

import numpy as np
import torch

from ..phrases import COMPOSITION, DETAIL, LIGHT, STYLE, expand
from ..world import COLOURS, COUNTS, LANDSCAPES, POSITIONS, SHAPES, SIZES, Scene, describe, render, wish

# One head per field that the text encoder must be able to tell apart; index 0 means "a landscape has none".
FIELDS = {
    "background": [*COLOURS, *LANDSCAPES], "shape": [None, *SHAPES], "colour": [None, *COLOURS],
    "size": [None, *SIZES], "position": [None, *POSITIONS], "count": [None, *COUNTS],
}  # fmt: skip


def pictures(scenes: list[Scene]) -> torch.Tensor:
    """Render scenes to uint8 [n, 3, 64, 64]."""
    return torch.from_numpy(np.stack([np.asarray(render(scene)) for scene in scenes])).permute(0, 3, 1, 2).contiguous()


def to_signal(batch: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 to float -1..1."""
    return batch.float() / 127.5 - 1


def caption(scene: Scene, rng: random.Random) -> str:
    """A text for `scene`: its description or a wish, more often than not with the writer's additions behind it."""
    text = wish(scene, rng) if rng.random() < 0.25 else describe(scene, rng)
    draw = rng.random()
    if draw < 0.45:
        text += ", " + expand(rng)
    elif draw < 0.65:
        extra = rng.sample(LIGHT + COMPOSITION + STYLE + DETAIL, rng.randint(1, 4))
        text += ", " + ", ".join(extra)
    return text + rng.choice(("", "", "", "."))


def fields(scenes: list[Scene]) -> torch.Tensor:
    """Class numbers of each scene's FIELDS, int64 [n, 6]."""
    return torch.tensor([[values.index(getattr(scene, name)) for name, values in FIELDS.items()] for scene in scenes])
