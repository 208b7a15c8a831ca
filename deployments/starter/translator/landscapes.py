"""Landscapes by day and by night: sea, mountains, a field, a city, drawn four times larger for smooth edges."""

import random

import numpy as np
from PIL import Image, ImageDraw

SIDE = 64  # pixels; every length below is in pixels of such a picture
SCALE = 4
PLACES = ("sea", "mountains", "field", "city")
GROUND = {"sea": (28, 108, 165), "mountains": (84, 132, 82), "field": (128, 180, 62), "city": (118, 118, 116)}


def landscape(rng: random.Random, night: bool) -> Image.Image:
    """A random landscape, RGB of SIDE x SIDE pixels. Night is dark and blue, with stars, a moon and lit windows."""
    place, large = rng.choice(PLACES), SIDE * SCALE
    horizon = rng.uniform(28, 42)

    def tone(colour: tuple[float, ...]) -> tuple[int, ...]:
        """A thing's colour in this light."""
        if night:
            colour = tuple(0.3 * c + add for c, add in zip(colour, (4, 8, 26), strict=True))
        return tuple(round(min(max(c, 0), 255)) for c in colour)

    def vary(colour: tuple[float, ...], by: float = 16) -> tuple[float, ...]:
        shift = rng.uniform(-by, by)
        return tuple(c + shift + rng.uniform(-by / 2, by / 2) for c in colour)

    top, low = ((8, 12, 40), (30, 42, 92)) if night else ((104, 172, 236), (206, 228, 244))
    picture = Image.new("RGB", (large, large))
    line = round(horizon * SCALE)
    picture.paste(_ramp(vary(top, 6), vary(low, 6), line, large), (0, 0))
    near = vary(GROUND[place])
    picture.paste(_ramp(tone(tuple(c + 14 for c in near)), tone(tuple(c - 22 for c in near)), large - line, large),
                  (0, line))  # fmt: skip
    draw = ImageDraw.Draw(picture)
    _sky(draw, rng, night, horizon)
    if place == "sea":
        for row in range(rng.randint(2, 4)):
            y, x, half = horizon + 5 + 6 * row, rng.uniform(8, 56), rng.uniform(6, 14)
            _polygon(draw, [(x - half, y - 0.9), (x + half, y - 0.9), (x + half, y + 0.9), (x - half, y + 0.9)],
                     tone((120, 178, 210)))  # fmt: skip
    elif place == "mountains":
        for x in sorted((rng.uniform(2, 62) for _ in range(3)), key=lambda _: rng.random()):
            wide, shade = rng.uniform(16, 26), rng.uniform(96, 150)
            peak = horizon - wide * rng.uniform(0.7, 1.0)
            _polygon(draw, [(x - wide, horizon), (x, peak), (x + wide, horizon)], tone((shade, shade, shade + 16)))
            _polygon(draw, [(x - 0.3 * wide, peak + 0.3 * (horizon - peak)), (x, peak),
                            (x + 0.3 * wide, peak + 0.3 * (horizon - peak))], tone((242, 245, 250)))  # fmt: skip
    elif place == "field":
        far = rng.uniform(20, 44)
        for i in range(-3, 4):
            x = far + 7 * i
            _polygon(draw, [(x, horizon), (x + 0.6, horizon), (far + 26 * i + 2.2, 64), (far + 26 * i - 2.2, 64)],
                     tone((92, 152, 50)))  # fmt: skip
        for _ in range(rng.randint(0, 4)):
            _tree(draw, rng.uniform(4, 60), horizon + rng.uniform(0, 5), rng.uniform(3, 6), tone)
    else:
        _city(draw, rng, night, horizon, tone, vary)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def _sky(draw: ImageDraw.ImageDraw, rng: random.Random, night: bool, horizon: float) -> None:
    if night:
        for _ in range(rng.randint(6, 14)):
            _disc(draw, rng.uniform(2, 62), rng.uniform(2, horizon - 6), rng.uniform(0.5, 0.9), (222, 224, 212))
        if rng.random() < 0.6:
            _disc(draw, rng.uniform(10, 54), rng.uniform(8, 15), rng.uniform(4, 6), (238, 236, 208))
        return
    for _ in range(rng.randint(0, 3)):
        x, y, radius = rng.uniform(4, 60), rng.uniform(5, horizon - 12), rng.uniform(2, 4)
        for i in range(-1, 2):
            _disc(draw, x + 1.3 * radius * i, y + 0.4 * abs(i) * radius, radius, (240, 245, 250))
    if rng.random() < 0.6:
        _disc(draw, rng.uniform(10, 54), rng.uniform(8, 15), rng.uniform(4, 6), (255, 238, 150))


def _city(draw: ImageDraw.ImageDraw, rng: random.Random, night: bool, horizon: float, tone, vary) -> None:
    x = rng.uniform(-6, 2)
    while x < 64:
        wide, high = rng.uniform(8, 14), rng.uniform(8, min(28, horizon - 8))
        base = rng.choice(((150, 128, 112), (128, 136, 150), (168, 156, 138), (112, 104, 108)))
        _polygon(draw, [(x, horizon), (x, horizon - high), (x + wide, horizon - high), (x + wide, horizon)],
                 tone(vary(base)))  # fmt: skip
        for row in np.arange(horizon - high + 2, horizon - 3, 4):
            for column in np.arange(x + 1.6, x + wide - 2.6, 3.6):
                lit = night and rng.random() < 0.6
                pane = (250, 214, 110) if lit else tone((72, 84, 104))
                _polygon(draw, [(column, row), (column + 1.8, row), (column + 1.8, row + 2), (column, row + 2)], pane)
        x += wide + rng.choice((0, 0, rng.uniform(1, 5)))


def _tree(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, tone) -> None:
    _polygon(draw, [(x - 0.6, y), (x + 0.6, y), (x + 0.6, y - size), (x - 0.6, y - size)], tone((96, 70, 48)))
    _disc(draw, x, y - 1.4 * size, 0.8 * size, tone((52, 112, 52)))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: tuple[int, ...]) -> None:
    draw.ellipse([SCALE * (x - radius), SCALE * (y - radius), SCALE * (x + radius), SCALE * (y + radius)], fill)


def _polygon(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], fill: tuple[int, ...]) -> None:
    draw.polygon([(SCALE * x, SCALE * y) for x, y in points], fill)


def _ramp(top: tuple, bottom: tuple, height: int, width: int) -> Image.Image:
    ramp = np.linspace(top, bottom, height)[:, None].repeat(width, axis=1)
    return Image.fromarray(ramp.clip(0, 255).astype(np.uint8))
