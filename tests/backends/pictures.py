"""Pictures drawn for the tests."""

import io
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from deployments.media import Image


def written(picture: PIL.Image.Image, format: str = "PNG", **extra: Any) -> Image:
    file = io.BytesIO()
    picture.save(file, format=format, **extra)
    return Image(file.getvalue(), f"image/{format.lower()}")


def opened(image: Image) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(image.data))


def disc(size: tuple[int, int] = (400, 300), centre: tuple[int, int] = (220, 140), radius: int = 80) -> Image:
    """A red disc on green, with noise over it."""
    picture = PIL.Image.new("RGB", size, (40, 110, 50))
    PIL.ImageDraw.Draw(picture).circle(centre, radius, fill=(210, 40, 40))
    noise = np.random.default_rng(0).normal(0, 12, (size[1], size[0], 3))
    return written(PIL.Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)))


def disc_mask(size: tuple[int, int] = (400, 300), centre: tuple[int, int] = (220, 140), radius: int = 80) -> Image:
    mask = PIL.Image.new("L", size)
    PIL.ImageDraw.Draw(mask).circle(centre, radius, fill=255)
    return written(mask)


def overlap(mask: Image, truth: Image) -> float:
    """Intersection over union."""
    one, other = (np.asarray(opened(image).convert("L")) > 127 for image in (mask, truth))
    return float((one & other).sum() / (one | other).sum())
