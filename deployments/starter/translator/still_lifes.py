"""Things on a table: as a photograph would show them, shaded and grainy, or as a pen-and-wash drawing."""

import random

import cv2
import numpy as np
from PIL import Image

SIDE = 64  # pixels; every length below is in pixels of such a picture
SCALE = 4
THINGS = ("ball", "box", "cone", "can")
PAPER = np.array((247, 243, 234), np.float32)
INK = np.array((44, 42, 50), np.float32)
WASH = 0.3  # how much of a thing's colour the thin paint on the paper has


def still_life(rng: random.Random, drawing: bool) -> Image.Image:
    """One to four things before a wall, RGB of SIDE x SIDE pixels; both kinds draw from the same scenes."""
    noise = np.random.default_rng(rng.getrandbits(32))
    side, edge = SIDE * SCALE, rng.uniform(30, 46)
    y, x = np.mgrid[:side, :side].astype(np.float32) / SCALE
    wall, table = _colour(rng, 100, 165, 26), _colour(rng, 64, 130, 36)
    ground = np.where((y < edge)[..., None], wall, table).astype(np.float32)
    lines = (np.abs(y - edge) < 0.6).astype(np.float32)
    if not drawing:
        light = 1.12 - 0.3 * np.hypot(x - 14, y - 8) / SIDE
        ground = ground * light[..., None]
    picture = PAPER + WASH * (ground - PAPER) if drawing else ground
    things = sorted(
        ((rng.uniform(8, 56), edge + rng.uniform(3, 15), rng.uniform(7, 14)) for _ in range(rng.randint(1, 4))),
        key=lambda thing: thing[1],
    )
    for middle, foot, size in things:
        colour = _colour(rng, 40, 225, 150)
        inside, shade = _thing(rng.choice(THINGS), x, y, middle, foot, size, rng)
        if drawing:
            outline = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
            picture = np.where(inside[..., None], PAPER + WASH * (colour - PAPER), picture)
            lines = np.where(inside, 0, lines)
            lines = np.maximum(lines, outline)
            continue
        dark = np.exp(-(((x - middle - 0.35 * size) / size) ** 2) - ((y - foot) / (0.28 * size)) ** 2)
        picture = picture * (1 - 0.5 * np.where(y > edge, dark, 0))[..., None]
        picture = np.where(inside[..., None], colour * shade[..., None], picture)
    if drawing:
        picture = picture + lines[..., None] * (INK - picture)
    small = cv2.resize(picture.clip(0, 255), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if not drawing:
        small = cv2.GaussianBlur(small, (0, 0), 0.5) + noise.normal(0, 3.5, (SIDE, SIDE, 1))
    return Image.fromarray(small.clip(0, 255).round().astype(np.uint8))


def _colour(rng: random.Random, low: float, high: float, spread: float) -> np.ndarray:
    """A colour whose channels lie in low..high and at most `spread` apart."""
    start = rng.uniform(low, max(low, high - spread))
    return np.array([start + rng.uniform(0, min(spread, high - low)) for _ in range(3)], np.float32)


def _thing(
    kind: str, x: np.ndarray, y: np.ndarray, middle: float, foot: float, size: float, rng: random.Random
) -> tuple[np.ndarray, np.ndarray]:
    """Where a thing is, bool [side, side], and how bright each point of it is; light comes from the upper left."""
    across, up = (x - middle) / size, (foot - y) / size  # up is 0 at the foot
    if kind == "ball":
        inside = across**2 + (up - 0.9) ** 2 < 0.81
        shade = 1.2 - 0.75 * np.hypot(across + 0.35, up - 1.25)
    elif kind == "box":
        high = rng.uniform(1.0, 1.8)
        inside = (np.abs(across) < 0.8) & (up > 0) & (up < high)
        shade = np.where(across < 0.25, 1.05, 0.6) - 0.1 * (1 - up / high)
    elif kind == "cone":
        high = rng.uniform(1.4, 2.2)
        inside = (up > 0) & (np.abs(across) < 0.85 * (1 - up / high))
        shade = 1.0 - 0.5 * across / np.maximum(0.85 * (1 - up / high), 0.05)
        shade = np.clip(shade, 0.4, 1.25)
    else:
        high = rng.uniform(1.1, 1.8)
        inside = (np.abs(across) < 0.65) & (up > 0.12 * (across / 0.65) ** 2 - 0.06) & (up < high)
        shade = 1.12 - 0.5 * (across / 0.65 + 0.4) ** 2
    return inside, np.clip(shade, 0.3, 1.3).astype(np.float32)
