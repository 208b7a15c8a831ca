"""Say which of the four domains a picture is of, by arithmetic on its pixels: no network, nothing learnt.

The bounds lie outside what true renderings have; a picture that keeps to none of the four sets is of no domain.
"""

import numpy as np
from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114])


def features(image: Image.Image) -> dict[str, float]:
    """Brightness 0..255 of the whole and of the upper quarter, its blue minus red, deviation, and shares 0..1."""
    pixels = np.asarray(image.convert("RGB"), float)
    luma, top = pixels @ LUMA, pixels[: len(pixels) // 4]
    return {
        "mean": luma.mean(), "deviation": luma.std(), "top": (top @ LUMA).mean(),
        "blue": (top[..., 2] - top[..., 0]).mean(), "light": (luma > 170).mean(), "dark": (luma < 100).mean(),
    }  # fmt: skip


BOUNDS: dict[str, dict[str, tuple[float, float]]] = {
    "day": {"mean": (105, 200), "top": (140, 215), "blue": (45, 150), "deviation": (16, 80), "dark": (0, 0.6)},
    "night": {"mean": (18, 70), "top": (8, 75), "blue": (14, 60), "deviation": (8, 50), "dark": (0.85, 1)},
    "photo": {"mean": (75, 150), "top": (85, 180), "blue": (-40, 35), "deviation": (8, 50), "light": (0, 0.2)},
    "drawing": {"mean": (175, 225), "top": (180, 235), "blue": (-40, 15), "deviation": (14, 50),
                "light": (0.84, 0.99), "dark": (0.006, 0.1)},
}  # fmt: skip


def judge(image: Image.Image) -> str | None:
    """`day`, `night`, `photo`, `drawing`, or None."""
    seen = features(image)
    for domain, bounds in BOUNDS.items():
        if all(low <= seen[name] <= high for name, (low, high) in bounds.items()):
            return domain
    return None
