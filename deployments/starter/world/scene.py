"""The little world both starter models share: one shape on a plain background, or one of five landscapes.

A `Scene` says what is in a picture, `render` paints it exactly, `describe` and `wish` put it into words, and `judge`
reads a picture back with arithmetic on its pixels. The painter learns words -> pixels from these, the writer learns
how people ask, and the judge measures both; it is no network and never sees a prompt.

What a description leaves out has one meaning, so that a short wish has one picture: no size is medium, no position is
the centre, no background is white (black behind a white figure).
"""

import hashlib
import math
import random
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from .phrases import ask

COLOURS = {
    "red": (220, 36, 36), "orange": (246, 140, 22), "yellow": (252, 218, 48), "green": (38, 158, 68),
    "blue": (36, 92, 222), "purple": (142, 58, 182), "white": (246, 246, 246), "black": (18, 18, 22),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
SIZES = {"small": 10.0, "medium": 14.0, "large": 18.0}  # radius in pixels of a 64-pixel picture
POSITIONS = {"centre": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
LANDSCAPES = ("sea", "mountains", "night sky", "sunset", "field")
SIDE = 64  # the picture size, in pixels, that every length here refers to
MARGIN = 4.0  # pixels between a figure and the edge it leans to

WORDS = {
    "circle": ("circle", "circle", "circle", "disc", "ball", "round shape"),
    "square": ("square", "square", "square", "box", "block"),
    "triangle": ("triangle", "triangle", "triangle", "three-sided shape"),
    "star": ("star", "star", "five-pointed star"),
    "red": ("red", "red", "red", "crimson", "scarlet"), "orange": ("orange", "orange", "bright orange"),
    "yellow": ("yellow", "yellow", "golden", "lemon yellow"), "green": ("green", "green", "emerald"),
    "blue": ("blue", "blue", "blue", "cobalt blue", "azure"), "purple": ("purple", "purple", "violet"),
    "white": ("white", "white", "snow white"), "black": ("black", "black", "jet black"),
    "small": ("small", "small", "little", "tiny"), "medium": ("medium", "medium-sized", "middle-sized"),
    "large": ("large", "large", "big", "huge"),
    "centre": ("in the centre", "in the middle", "in the center", "centred"),
    "left": ("on the left", "at the left", "to the left", "on the left side"),
    "right": ("on the right", "at the right", "to the right", "on the right side"),
    "top": ("at the top", "near the top", "up at the top", "in the upper part"),
    "bottom": ("at the bottom", "near the bottom", "down at the bottom", "in the lower part"),
    "sea": ("the sea", "the ocean", "a calm sea", "the sea under a blue sky", "waves on the sea", "a seascape"),
    "mountains": ("mountains", "the mountains", "snowy mountains", "a mountain range", "high mountains",
                  "mountain peaks"),
    "night sky": ("a night sky", "the night sky", "a starry night", "the moon at night", "a night sky with a moon"),
    "sunset": ("a sunset", "the sunset", "a glowing sunset", "the setting sun", "an evening sunset"),
    "field": ("a field", "a green field", "a meadow", "fields under a blue sky", "a grassy field", "a wide meadow"),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What one picture shows. A landscape (a background of LANDSCAPES) has no figure: its other fields are None."""

    background: str
    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    position: str | None = None
    seed: int = 0  # the small accidents: jitter of place and size, waves, peaks, stars

    def held_out(self) -> bool:
        """Whether this combination of shape, colour, background and position is kept from every training (1 in 10)."""
        if self.shape is None:
            return False
        key = f"{self.shape}/{self.colour}/{self.background}/{self.position}"
        return hashlib.sha256(key.encode()).digest()[0] < 26


def random_scene(rng: random.Random, held_out: bool = False, landscapes: float = 0.15) -> Scene:
    """Draw a scene; `held_out` picks from the combinations no training sees, `landscapes` is their share (0 to 1)."""
    seed = rng.randrange(1 << 30)
    if not held_out and rng.random() < landscapes:
        return Scene(rng.choice(LANDSCAPES), seed=seed)
    while True:
        colour, background = rng.sample(list(COLOURS), 2)
        shape, size, position = rng.choice(SHAPES), rng.choice(list(SIZES)), rng.choice(list(POSITIONS))
        scene = Scene(background, shape, colour, size, position, seed)
        if scene.held_out() == held_out:
            return scene


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
    radius = SIZES[scene.size] + rng.uniform(-0.8, 0.8)
    toward = SIDE / 2 - radius - MARGIN
    x = SIDE / 2 + POSITIONS[scene.position][0] * toward + rng.uniform(-1.5, 1.5)
    y = SIDE / 2 + POSITIONS[scene.position][1] * toward + rng.uniform(-1.5, 1.5)
    fill = COLOURS[scene.colour]
    if scene.shape == "circle":
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
    }[scene.shape]
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
    return picture


def describe(scene: Scene, rng: random.Random) -> str:
    """Put `scene` into words: free order, synonyms, and sometimes silence about what goes without saying."""
    say = lambda word: rng.choice(WORDS[word])  # noqa: E731
    if scene.background in LANDSCAPES:
        return say(scene.background)
    usual = "black" if scene.colour == "white" else "white"
    size = "" if scene.size == "medium" and rng.random() < 0.6 else say(scene.size) + " "
    where = "" if scene.position == "centre" and rng.random() < 0.6 else say(scene.position)
    figure = f"{size}{say(scene.colour)} {say(scene.shape)}"
    article = "an" if figure[0] in "aeiou" else "a"
    figure = rng.choice((f"{article} {figure}", f"{article} {figure}", f"{article} {figure}", figure, f"one {figure}"))
    if scene.background == usual and rng.random() < 0.5:
        return f"{figure} {where}".strip()
    behind, a = say(scene.background), lambda word: ("an " if word[0] in "aeiou" else "a ") + word
    backs = (f"on {behind}", f"on {a(behind)} background", f"against {a(behind)} background", f"over {behind}",
             f"with {a(behind)} background", f"on {a(behind)} ground", f"in front of {behind}")  # fmt: skip
    order = rng.random()
    if order < 0.55:
        return " ".join(f"{figure} {where} {rng.choice(backs)}".split())
    if order < 0.75:
        comma = rng.choice((", ", " "))
        return " ".join(f"{figure} {rng.choice(backs)}{comma if where else ''}{where}".split()).replace(" ,", ",")
    if order < 0.9:
        return " ".join(f"{a(behind)} background with {figure} {where}".split())
    return " ".join(f"{behind} background, {figure} {where}".split())


def wish(scene: Scene, rng: random.Random) -> str:
    """What a person would say to get `scene`: "paint me a small green triangle please"."""
    return ask(describe(scene, rng), rng)


@lru_cache
def _backgrounds() -> tuple[list[str], np.ndarray]:
    """Names, and the mean picture of each background: float array [13, 64, 64, 3]."""
    flat = [np.full((SIDE, SIDE, 3), colour, float) for colour in COLOURS.values()]
    wide = [np.mean([np.asarray(render(Scene(name, seed=s)), float) for s in range(24)], axis=0) for name in LANDSCAPES]
    return [*COLOURS, *LANDSCAPES], np.stack(flat + wide)


@lru_cache
def _outlines() -> dict[str, np.ndarray]:
    """The mask of each shape inside its bounding box: bool arrays [32, 32]."""
    return {
        s: _boxed(np.asarray(render(Scene("white", s, "black", "large", "centre"), 256).convert("L")) < 128)
        for s in SHAPES
    }


def _boxed(mask: np.ndarray) -> np.ndarray:
    left, top, right, bottom = _box(mask)
    return np.asarray(Image.fromarray(mask).crop((left, top, right, bottom)).resize((32, 32), Image.Resampling.NEAREST))


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.sum(1) > 1), np.flatnonzero(mask.sum(0) > 1)  # lone pixels are noise
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _nearest(colour: np.ndarray) -> str:
    return min(COLOURS, key=lambda name: float(np.square(colour - COLOURS[name]).sum()))


def judge(image: Image.Image) -> Scene:
    """Say what `image` shows, from its pixels alone; with no figure found, shape and colour are None.

    The background is the one whose rim (3 pixels wide) differs least; the figure is every pixel nearer to the most
    frequent other colour than to the background; its shape is the outline it overlaps most inside its bounding box.
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
    mask = np.linalg.norm(pixels - colour, axis=2) < away
    if min(mask.sum(0).max(), mask.sum(1).max()) < 2:
        return seen
    left, top, right, bottom = _box(mask)
    overlap = {s: (_boxed(mask) & o).sum() / (_boxed(mask) | o).sum() for s, o in _outlines().items()}
    shape = max(overlap, key=overlap.get)
    x, y = (left + right - SIDE) / 2, (top + bottom - SIDE) / 2
    if max(abs(x), abs(y)) < 5.5:
        position = "centre"
    elif abs(x) > abs(y):
        position = "left" if x < 0 else "right"
    else:
        position = "top" if y < 0 else "bottom"
    radius = (right - left) / (1.8 if shape == "square" else 2)
    size = "small" if radius < 12 else "medium" if radius < 16 else "large"
    return replace(seen, shape=shape, colour=_nearest(colour), size=size, position=position)
