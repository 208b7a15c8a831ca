"""Scenes painted exactly, with their small accidents."""

import math
import random

import numpy as np
from PIL import Image, ImageDraw

from .scene import COLOURS, COUNTS, GROUP_RADIUS, LANDSCAPES, MARGIN, POSITIONS, SIDE, SIZES, Scene


def render(scene: Scene, size: int = SIDE) -> Image.Image:
    """Paint `scene` as an RGB picture of size x size pixels, drawn four times larger for smooth edges."""
    scale = 4 * size / SIDE
    rng = random.Random(scene.seed)
    if scene.background in LANDSCAPES:
        large = _landscape(scene.background, rng, scale)
    else:
        large = Image.new("RGB", (4 * size, 4 * size), COLOURS[scene.background])
        if scene.shape is not None:
            _figure(ImageDraw.Draw(large), scene, rng, scale)
    return large.resize((size, size), Image.Resampling.BOX)


def _figure(draw: ImageDraw.ImageDraw, scene: Scene, rng: random.Random, scale: float) -> None:
    if scene.count == 1:
        radius, loose = SIZES[scene.size] + rng.uniform(-0.8, 0.8), 1.5
        toward = SIDE / 2 - radius - MARGIN
    else:
        radius, loose = GROUP_RADIUS[scene.count] + rng.uniform(-0.4, 0.4), 1.0
        toward = SIDE / 2 - 10 - MARGIN
    x = SIDE / 2 + POSITIONS[scene.position][0] * toward + rng.uniform(-loose, loose)
    y = SIDE / 2 + POSITIONS[scene.position][1] * toward + rng.uniform(-loose, loose)
    for aside in COUNTS[scene.count]:
        _shape(draw, scene.shape, COLOURS[scene.colour], x + aside, y, radius, scale)


def _shape(draw: ImageDraw.ImageDraw, name: str, fill: tuple, x: float, y: float, radius: float, scale: float) -> None:
    if name == "circle":
        draw.ellipse([(x - radius) * scale, (y - radius) * scale, (x + radius) * scale, (y + radius) * scale], fill)
        return
    outline = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "triangle": [(0, -0.95), (1, 0.85), (-1, 0.85)],
        "star": [
            (r * math.sin(math.pi * i / 5), -r * math.cos(math.pi * i / 5))
            for i in range(10)
            for r in [(1.08, 0.45)[i % 2]]
        ],
    }[name]
    draw.polygon([((x + dx * radius) * scale, (y + dy * radius) * scale) for dx, dy in outline], fill)


def _gradient(top: tuple, bottom: tuple, height: int, width: int) -> Image.Image:
    ramp = np.linspace(top, bottom, max(height, 1))[:, None, :].repeat(width, axis=1)
    return Image.fromarray(ramp.astype(np.uint8))


def _landscape(name: str, rng: random.Random, scale: float) -> Image.Image:
    side = round(SIDE * scale)
    horizon = round(scale * rng.uniform(28, 38))
    sky, ground = {
        "sea": (((150, 205, 240), (215, 235, 245)), ((30, 110, 170), (12, 60, 115))),
        "mountains": (((165, 200, 230), (225, 232, 240)), ((90, 130, 90), (60, 100, 70))),
        "night sky": (((8, 10, 38), (22, 28, 78)), ((22, 28, 78), (44, 52, 112))),
        "sunset": (((96, 50, 122), (252, 170, 70)), ((92, 40, 70), (40, 20, 46))),
        "field": (((130, 190, 240), (205, 230, 245)), ((140, 190, 70), (76, 145, 48))),
        "city": (((198, 206, 220), (248, 222, 188)), ((52, 50, 66), (30, 30, 42))),
    }[name]
    picture = Image.new("RGB", (side, side))
    picture.paste(_gradient(*sky, horizon, side), (0, 0))
    picture.paste(_gradient(*ground, side - horizon, side), (0, horizon))
    draw = ImageDraw.Draw(picture)

    def disc(x: float, y: float, radius: float, fill: tuple) -> None:
        draw.ellipse([(x - radius) * scale, (y - radius) * scale, (x + radius) * scale, (y + radius) * scale], fill)

    level = horizon / scale
    if name == "sea":
        for row in range(3):
            y, x, half = level + 5 + 7 * row, rng.uniform(10, 54), rng.uniform(8, 14)
            draw.line(
                [((x - half) * scale, y * scale), ((x + half) * scale, y * scale)], (110, 170, 205), round(1.6 * scale)
            )
    elif name == "mountains":
        for x, width, shade in (
            (rng.uniform(6, 18), 20, 140),
            (rng.uniform(44, 58), 20, 128),
            (rng.uniform(26, 38), 24, 108),
        ):
            peak = level - width * rng.uniform(0.85, 1.05)
            draw.polygon(
                [(p * scale, q * scale) for p, q in ((x - width, level), (x, peak), (x + width, level))],
                (shade, shade, shade + 18),
            )
            cap = 0.3 * (level - peak)
            draw.polygon(
                [
                    (p * scale, q * scale)
                    for p, q in ((x - 0.3 * width, peak + cap), (x, peak), (x + 0.3 * width, peak + cap))
                ],
                (240, 244, 248),
            )
    elif name == "night sky":
        for _ in range(14):
            disc(rng.uniform(3, 61), rng.uniform(3, 61), rng.uniform(0.7, 1.2), (235, 235, 215))
        disc(rng.uniform(14, 50), rng.uniform(12, 26), rng.uniform(5.5, 7.5), (240, 236, 205))
    elif name == "sunset":
        disc(rng.uniform(22, 42), level - 3, rng.uniform(8, 10), (255, 232, 130))
        draw.rectangle([0, horizon, side, horizon + 8 * scale], (92, 40, 70))
    elif name == "field":
        for x in (4, 18, 32, 46, 60):
            draw.line([(32 * scale, horizon), ((32 + 2.2 * (x - 32)) * scale, side)], (96, 160, 56), round(1.6 * scale))
        disc(rng.uniform(8, 56), rng.uniform(8, 14), rng.uniform(4, 5.5), (255, 240, 170))
    elif name == "city":
        left = rng.uniform(-6, 0)
        while left < SIDE:
            width, height = rng.uniform(6, 11), rng.uniform(6, 22)
            shade = rng.choice(((52, 50, 66), (64, 62, 80)))
            draw.rectangle([left * scale, (level - height) * scale, (left + width) * scale, horizon], shade)
            for row in range(int(height / 4)):
                if rng.random() < 0.5:  # a lit window
                    at = left + width * rng.choice((0.3, 0.65)), level - height + 2 + 4 * row
                    lit = [at[0] * scale, at[1] * scale, (at[0] + 1.4) * scale, (at[1] + 1.4) * scale]
                    draw.rectangle(lit, (250, 215, 120))
            left += width
    return picture
