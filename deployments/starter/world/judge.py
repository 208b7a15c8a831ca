"""What a picture shows, read from its pixels: no network, and it never sees a prompt."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image

from .drawing import render
from .scene import COLOURS, LANDSCAPES, SHAPES, SIDE, Scene


@lru_cache
def _backgrounds() -> tuple[list[str], np.ndarray]:
    """Names, and the mean picture of each background: float array [14, 64, 64, 3]."""
    flat = [np.full((SIDE, SIDE, 3), colour, float) for colour in COLOURS.values()]
    wide = [np.mean([np.asarray(render(Scene(name, seed=s)), float) for s in range(24)], axis=0) for name in LANDSCAPES]
    return [*COLOURS, *LANDSCAPES], np.stack(flat + wide)


@lru_cache
def _outlines() -> dict[str, tuple[np.ndarray, ...]]:
    """The mask of each shape inside its bounding box, sharp and as coarse as a small one: bool arrays [32, 32]."""

    def mask(shape: str, size: str, side: int) -> np.ndarray:
        return _boxed(np.asarray(render(Scene("white", shape, "black", size, "centre", 1), side).convert("L")) < 128)

    return {shape: (mask(shape, "large", 4 * SIDE), mask(shape, "small", round(0.8 * SIDE))) for shape in SHAPES}


def judge(image: Image.Image) -> Scene:
    """Say what `image` shows, from its pixels alone; with no figure found, shape and colour are None.

    The background is the one whose rim (3 pixels wide) differs least; figures are the pixels nearer to the most
    frequent other colour than to the background, one for each run of columns they fill; the shape is the outline they
    overlap most inside their bounding boxes.
    """
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), float)
    rim = np.ones((SIDE, SIDE), bool)
    rim[3:-3, 3:-3] = False
    names, pictures = _backgrounds()
    seen = Scene(names[int(np.abs(pictures[:, rim] - pixels[rim]).mean(axis=(1, 2)).argmin())])
    if seen.background in LANDSCAPES:
        return seen
    ground = np.median(pixels[rim], axis=0)
    away = np.linalg.norm(pixels - ground, axis=2)
    if (away > 60).sum() < 40:
        return seen
    colour = np.median(pixels[away > max(60.0, 0.7 * np.percentile(away[away > 60], 90))], axis=0)
    figures = _figures(np.linalg.norm(pixels - colour, axis=2) < away)
    if not figures:
        return seen
    boxed = [_boxed(figure) for figure in figures]
    overlap = {
        shape: sum(max((box & one).sum() / (box | one).sum() for one in outlines) for box in boxed)
        for shape, outlines in _outlines().items()
    }
    shape = max(overlap, key=overlap.get)
    left, top, right, bottom = _box(np.logical_or.reduce(figures))
    x, y = (left + right - SIDE) / 2, (top + bottom - SIDE) / 2
    if max(abs(x), abs(y)) < 5.5:
        position = "centre"
    elif abs(x) > abs(y):
        position = "left" if x < 0 else "right"
    else:
        position = "top" if y < 0 else "bottom"
    radius = (right - left) / (1.8 if shape == "square" else 2)
    size = "small" if len(figures) > 1 or radius < 12 else "medium" if radius < 16 else "large"
    return replace(seen, shape=shape, colour=_nearest(colour), size=size, position=position, count=len(figures))


def _figures(mask: np.ndarray) -> list[np.ndarray]:
    """The mask cut into runs of filled columns; specks of under 20 pixels or 4 columns are left out."""
    filled = np.concatenate([[False], mask.sum(0) > 0, [False]])
    starts, ends = np.flatnonzero(filled[1:] & ~filled[:-1]), np.flatnonzero(~filled[1:] & filled[:-1])
    figures = []
    for start, end in zip(starts, ends, strict=True):
        figure = np.zeros_like(mask)
        figure[:, start:end] = mask[:, start:end]
        if end - start >= 4 and figure.sum() >= 20 and figure.sum(1).max() >= 2:
            figures.append(figure)
    return figures


def _boxed(mask: np.ndarray) -> np.ndarray:
    left, top, right, bottom = _box(mask)
    return np.asarray(Image.fromarray(mask).crop((left, top, right, bottom)).resize((32, 32), Image.Resampling.NEAREST))


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.sum(1) > 1), np.flatnonzero(mask.sum(0) > 1)  # lone pixels are noise
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _nearest(colour: np.ndarray) -> str:
    return min(COLOURS, key=lambda name: float(np.square(colour - COLOURS[name]).sum()))
