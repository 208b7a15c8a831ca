"""A scene in words, as people say it: free order, synonyms, and silence about what goes without saying."""

import random

from ..phrases import ask
from .scene import LANDSCAPES, Scene

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
    2: ("two", "two", "two", "a pair of"), 3: ("three", "three", "three", "a row of three"),
    "sea": ("the sea", "the ocean", "a calm sea", "the sea under a blue sky", "waves on the sea", "a seascape"),
    "mountains": ("mountains", "the mountains", "snowy mountains", "a mountain range", "high mountains",
                  "mountain peaks"),
    "night sky": ("a night sky", "the night sky", "a starry night", "the moon at night", "a night sky with a moon"),
    "sunset": ("a sunset", "the sunset", "a glowing sunset", "the setting sun", "an evening sunset"),
    "field": ("a field", "a green field", "a meadow", "fields under a blue sky", "a grassy field", "a wide meadow"),
    "city": ("a city", "a city silhouette", "the silhouette of a city", "a city skyline", "a skyline", "tall buildings",
             "a town with towers"),
}  # fmt: skip


def describe(scene: Scene, rng: random.Random) -> str:
    """Put `scene` into words."""
    say = lambda word: rng.choice(WORDS[word])  # noqa: E731
    if scene.background in LANDSCAPES:
        return say(scene.background)
    usual, usual_size = "black" if scene.colour == "white" else "white", "medium" if scene.count == 1 else "small"
    size = "" if scene.size == usual_size and rng.random() < 0.6 else say(scene.size) + " "
    where = "" if scene.position == "centre" and rng.random() < 0.6 else say(scene.position)
    figure = f"{size}{say(scene.colour)} {say(scene.shape)}"
    if scene.count == 1:
        article = "an" if figure[0] in "aeiou" else "a"
        figure = rng.choice((*(f"{article} {figure}",) * 3, figure, f"one {figure}"))
    else:
        figure = f"{say(scene.count)} {plural(figure)}"
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


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("x") else "s")


def wish(scene: Scene, rng: random.Random) -> str:
    """What a person would say to get `scene`: "paint me a small green triangle please"."""
    return ask(describe(scene, rng), rng)
