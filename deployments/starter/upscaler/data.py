"""What the upscaler learns from: rendered pictures, sharp and large, and their reductions.

Photographs are full of things in front of things at every size, with textures on them. Dead leaves (Lee, Mumford and
Huang, 2001) with power-law sizes have the same edges, and noise whose power falls as 1/f the same textures (Baradad et
al., "Learning to see by looking at noise", 2021), without a photograph being taken.
"""

import math
import random

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..world import random_scene, render

SIDE = 192  # of a picture, in pixels
KINDS = ("leaves", "leaves", "leaves", "strokes", "scene")


def fractal(shape: tuple[int, int], rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose amplitude falls as frequency ** -slope: float32 [height, width], mean 0, deviation 1."""
    y, x = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    frequency = np.hypot(x, y)
    frequency[0, 0] = 1
    wave = np.fft.rfft2(rng.standard_normal(shape)) / frequency**slope
    wave[0, 0] = 0
    noise = np.fft.irfft2(wave, shape)
    return (noise / noise.std()).astype(np.float32)


def labels(side: int, rng: random.Random, smallest: float, count: int) -> np.ndarray:
    """Dead leaves: which of `count` leaves is in front at each pixel, int32 [side, side]. Sizes: radius ** -3."""
    canvas = np.zeros((side, side), np.int32)
    for leaf in range(1, count):
        radius = min(smallest / math.sqrt(1 - rng.random() * 0.9999), side / 2.5)
        x, y, turn = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, 2 * math.pi)
        kind, flat = rng.randrange(4), rng.uniform(0.3, 1)
        if kind == 0:
            axes = (round(16 * radius), round(16 * radius * flat))
            cv2.ellipse(canvas, (round(16 * x), round(16 * y)), axes, math.degrees(turn), 0, 360, leaf, -1, shift=4)
            continue
        corners = rng.randint(3, 7) if kind == 1 else 4
        rough = 0.5 if kind == 2 else 0.0
        points = []
        for i in range(corners):
            angle, far = turn + 2 * math.pi * i / corners, radius * (1 + rough * rng.uniform(-1, 1))
            dx, dy = far * math.cos(angle), far * math.sin(angle) * (flat if kind == 3 else 1)
            points.append((x + dx, y + dy))
        cv2.fillPoly(canvas, [np.rint(np.array(points) * 16).astype(np.int32)], leaf, shift=4)
    return canvas


def leaves(rng: random.Random) -> np.ndarray:
    """A picture of textured leaves, uint8 [SIDE, SIDE, 3], drawn twice as large for smooth edges."""
    noise, side = np.random.default_rng(rng.getrandbits(32)), 2 * SIDE
    count = rng.choice((30, 120, 500))
    which = labels(side, rng, rng.choice((4.0, 8.0, 16.0)), count)
    # in nature brightness varies more than hue: a palette is spread around one colour, mostly along grey
    bright, hue = noise.normal(0, rng.uniform(25, 80), (count, 1)), noise.normal(0, rng.uniform(3, 50), (count, 3))
    palette = np.clip(noise.uniform(20, 235) + noise.normal(0, 25, 3) + bright + hue, 0, 255)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    slope = noise.normal(0, 60, (2, count)).astype(np.float32)
    shade = slope[0][which] * x + slope[1][which] * y
    depth = (noise.exponential(12, count) * (noise.random(count) < 0.7)).astype(np.float32)
    texture = fractal((side, side), noise, rng.uniform(0.6, 1.6)) * depth[which]
    wave, angle = noise.uniform(20, 160, count)[which], noise.uniform(0, math.pi, count)[which]
    stripes = (noise.exponential(18, count) * (noise.random(count) < 0.15)).astype(np.float32)[which]
    shade += texture + stripes * np.sin(wave * (x * np.cos(angle) + y * np.sin(angle)) * 2)
    picture = (palette.astype(np.float32)[which] + shade[:, :, None]).clip(0, 255)
    if rng.random() < 0.5:  # a lens
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2.0))
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).round().astype(np.uint8)


def strokes(rng: random.Random) -> np.ndarray:
    """Something like writing and drawing: rows of small bent strokes and long lines, uint8 [SIDE, SIDE, 3]."""

    def colour() -> tuple[int, ...]:
        return tuple(rng.randint(0, 255) for _ in range(3))

    corners = np.array([[colour(), colour()], [colour(), colour()]], np.uint8)
    corners = corners if rng.random() < 0.4 else np.full_like(corners, rng.choice((255, rng.randint(0, 255))))
    large = Image.fromarray(corners).resize((4 * SIDE, 4 * SIDE), Image.Resampling.BILINEAR)
    draw, row = ImageDraw.Draw(large), 0.0
    while row < 4 * SIDE:
        size, ink, column = 4 * rng.uniform(5, 26), colour(), 0.0
        if rng.random() < 0.5:
            ink = (rng.randint(0, 60),) * 3
        while column < 4 * SIDE:
            points = [(column + rng.uniform(0, 0.7) * size, row + rng.uniform(0.1, 0.9) * size) for _ in range(4)]
            if rng.random() < 0.3:
                draw.arc([column, row + 0.2 * size, column + 0.6 * size, row + 0.9 * size], rng.randint(0, 180),
                         rng.randint(200, 400), ink, max(2, round(size / 9)))  # fmt: skip
            else:
                draw.line(points[: rng.randint(2, 4)], ink, max(2, round(size * rng.uniform(0.06, 0.16))), "curve")
            column += size * rng.uniform(0.7, 1.2)
        row += size * rng.uniform(1.1, 1.6)
    for _ in range(rng.randint(0, 8)):
        ends = [(rng.uniform(0, 4 * SIDE), rng.uniform(0, 4 * SIDE)) for _ in range(2)]
        draw.line(ends, colour(), rng.randint(2, 24))
    return np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BOX))


def scene(rng: random.Random, held_out: bool = False) -> np.ndarray:
    """A scene of the starter world at SIDE pixels, or smaller ones side by side, uint8 [SIDE, SIDE, 3]."""
    side = rng.choice((64, 96, 192))
    whole = np.zeros((SIDE, SIDE, 3), np.uint8)
    for y in range(0, SIDE, side):
        for x in range(0, SIDE, side):
            drawn = random_scene(rng, held_out=held_out, landscapes=0.4)
            whole[y : y + side, x : x + side] = np.asarray(render(drawn, side))
    return whole


def picture(kind: str, rng: random.Random) -> np.ndarray:
    """One of KINDS, uint8 [SIDE, SIDE, 3]."""
    return {"leaves": leaves, "strokes": strokes, "scene": scene}[kind](rng)


def reduced(large: np.ndarray, scale: int) -> np.ndarray:
    """uint8 [h, w, c] made smaller by `scale` as the field does it: Pillow's bicubic, which is antialiased."""
    height, width = large.shape[:2]
    return np.asarray(Image.fromarray(large).resize((width // scale, height // scale), Image.Resampling.BICUBIC))


def batch(pool: list[np.ndarray], count: int, side: int, scale: int, rng: random.Random) -> tuple[np.ndarray, ...]:
    """Small and large crops, uint8 [count, side, side, 3] and [count, scale * side, scale * side, 3], turned anyhow."""
    small, large, wide = [], [], side * scale
    for _ in range(count):
        whole = pool[rng.randrange(len(pool))]
        y, x = rng.randint(0, SIDE - wide), rng.randint(0, SIDE - wide)
        cut = np.rot90(whole[y : y + wide, x : x + wide], rng.randrange(4))
        cut = np.ascontiguousarray(cut[:, ::-1] if rng.random() < 0.5 else cut)
        small.append(reduced(cut, scale))
        large.append(cut)
    return np.stack(small), np.stack(large)
