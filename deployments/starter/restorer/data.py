"""What the restorer learns from: rendered pictures, and masks as people draw them."""

import random

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..world import COLOURS, SIDE, random_scene, render

PATCH = 4  # pixels a side: what the network sees or does not see as a whole
GRID = SIDE // PATCH
MASKS = ("rectangle", "blob", "patches")


def crowd(rng: random.Random) -> Image.Image:
    """A picture of SIDE x SIDE pixels with one to six figures of any colour on a ground that changes smoothly."""
    large, scale = 4 * SIDE, 4

    def colour() -> tuple[int, ...]:
        if rng.random() < 0.3:
            return rng.choice(list(COLOURS.values()))
        return tuple(rng.randint(0, 255) for _ in range(3))

    corners = np.array([[colour(), colour()], [colour(), colour()]], np.uint8)
    if rng.random() < 0.4:  # one plain colour
        corners[:] = corners[0, 0]
    ground = Image.fromarray(corners).resize((large, large), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(ground)
    for _ in range(rng.randint(1, 6)):
        x, y, radius = rng.uniform(0, large), rng.uniform(0, large), scale * rng.uniform(4, 20)
        kind = rng.randrange(4)
        if kind == 0:
            draw.ellipse([x - radius, y - radius * rng.uniform(0.5, 1), x + radius, y + radius], colour())
        elif kind == 1:
            draw.regular_polygon((x, y, radius), rng.randint(3, 6), rng.uniform(0, 360), colour())
        elif kind == 2:
            draw.rectangle([x - radius, y - radius * rng.uniform(0.3, 1), x + radius, y + radius], colour())
        else:
            end = (rng.uniform(0, large), rng.uniform(0, large))
            draw.line([(x, y), end], colour(), round(scale * rng.uniform(2, 7)))
    return ground.resize((SIDE, SIDE), Image.Resampling.BOX)


def pictures(count: int, rng: random.Random) -> torch.Tensor:
    """Three scenes of the starter world to one crowd, uint8 [count, 3, 64, 64]; no held-out combination among them."""
    drawn = [crowd(rng) if i % 4 == 3 else render(random_scene(rng, landscapes=0.3)) for i in range(count)]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in drawn])).permute(0, 3, 1, 2).contiguous()


def mask(rng: random.Random, share: float, kind: str | None = None) -> np.ndarray:
    """Pixels to fill, bool [64, 64]: about `share` (0 to 1) of them, in one of MASKS' ways."""
    kind = kind or rng.choice(MASKS)
    wanted = share * SIDE * SIDE
    if kind == "patches":
        chosen = rng.sample(range(GRID * GRID), max(1, round(share * GRID * GRID)))
        grid = np.zeros(GRID * GRID, bool)
        grid[chosen] = True
        return grid.reshape(GRID, GRID).repeat(PATCH, 0).repeat(PATCH, 1)
    canvas = Image.new("1", (SIDE, SIDE))
    draw = ImageDraw.Draw(canvas)
    if kind == "rectangle":
        shape = rng.uniform(0.5, 2)
        width, height = min(SIDE - 2, (wanted * shape) ** 0.5), min(SIDE - 2, (wanted / shape) ** 0.5)
        x, y = rng.uniform(0, SIDE - width), rng.uniform(0, SIDE - height)
        draw.rectangle([x, y, x + width - 1, y + height - 1], 1)
        return np.asarray(canvas)
    x, y, radius = rng.uniform(8, SIDE - 8), rng.uniform(8, SIDE - 8), rng.uniform(3, 7)
    while np.asarray(canvas).sum() < wanted:  # a brush led by an unsteady hand
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], 1)
        x, y = (min(max(v + rng.gauss(0, radius), 0), SIDE - 1) for v in (x, y))
    return np.asarray(canvas)


def covered(pixels: np.ndarray) -> np.ndarray:
    """Patches that hold a masked pixel: bool [64, 64] to bool [GRID * GRID]."""
    return pixels.reshape(GRID, PATCH, GRID, PATCH).any((1, 3)).reshape(-1)


def hidden(rng: random.Random, count: int, batch: int) -> torch.Tensor:
    """Patches to hide while training, bool [batch, GRID * GRID], exactly `count` of them in every row.

    The network hides as many in all pictures of a batch, so drawn masks lose or gain some patches at random.
    """
    rows = np.zeros((batch, GRID * GRID), bool)
    for row in rows:
        row[:] = covered(mask(rng, rng.uniform(0.3, 0.9) * count / (GRID * GRID)))
        while (difference := count - int(row.sum())) != 0:
            pool = np.flatnonzero(~row) if difference > 0 else np.flatnonzero(row)
            row[rng.sample(pool.tolist(), abs(difference))] = difference > 0
    return torch.from_numpy(rows)


def to_signal(batch: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 to float -1..1."""
    return batch.float() / 127.5 - 1
