"""What the translators learn from: two domains for each pair, with different random scenes in each."""

import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from .landscapes import landscape
from .still_lifes import still_life

DOMAINS: dict[str, Callable[[random.Random], Image.Image]] = {
    "day": lambda rng: landscape(rng, night=False),
    "night": lambda rng: landscape(rng, night=True),
    "photo": lambda rng: still_life(rng, drawing=False),
    "drawing": lambda rng: still_life(rng, drawing=True),
}
PAIRS = (("day", "night"), ("photo", "drawing"))


def pictures(domain: str, count: int, seed: str) -> torch.Tensor:
    """Pictures of a domain, uint8 [count, 3, 64, 64]. Another seed or domain gives other scenes."""
    rng = random.Random(f"{seed}/{domain}")
    drawn = [np.asarray(DOMAINS[domain](rng)) for _ in range(count)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()


def to_signal(batch: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 to float -1..1."""
    return batch.float() / 127.5 - 1
