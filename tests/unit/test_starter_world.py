"""The world's judge is right about true renderings and about wrong ones."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deployments.starter.world import (
    COLOURS,
    LANDSCAPES,
    POSITIONS,
    SHAPES,
    SIZES,
    Scene,
    describe,
    judge,
    random_scene,
    render,
)


def scenes(count: int, held_out: bool = False) -> list[Scene]:
    rng = random.Random("test")
    return [random_scene(rng, held_out, landscapes=0.2) for _ in range(count)]


def agrees(scene: Scene, picture: Image.Image) -> bool:
    return replace(judge(picture), seed=scene.seed) == scene


def test_true_renderings_are_read_whole_and_those_of_others_are_not() -> None:
    drawn = scenes(300)
    pictures = [render(scene) for scene in drawn]
    right = sum(map(agrees, drawn, pictures)) / len(drawn)
    shuffled = sum(map(agrees, drawn, pictures[1:] + pictures[:1])) / len(drawn)
    print(f"judge: {right:.3f} of true renderings, {shuffled:.3f} of shuffled ones")
    assert right >= 0.98 and shuffled <= 0.05


@pytest.mark.parametrize("field", ["shape", "colour", "size", "position", "count", "background"])
def test_a_picture_that_is_wrong_in_one_thing_is_judged_wrong(field: str) -> None:
    others = {
        "shape": SHAPES, "colour": COLOURS, "size": SIZES, "position": POSITIONS, "count": (1, 2, 3),
        "background": (*COLOURS, *LANDSCAPES),
    }  # fmt: skip
    rng, caught, tried = random.Random(field), 0, 0
    for scene in scenes(200):
        if scene.shape is None or (scene.count != 1 and field in ("size", "position", "count")):
            continue
        if field == "count":
            scene = replace(scene, size="small", position="centre")
        wrong = replace(scene, **{field: rng.choice([v for v in others[field] if v != getattr(scene, field)])})
        if wrong.colour == wrong.background:
            continue
        tried += 1
        caught += getattr(judge(render(wrong)), field) != getattr(scene, field)
    assert tried >= 5 and caught / tried >= 0.98, (caught, tried)


@pytest.mark.parametrize("name", ["noise", "plain", "grey"])
def test_a_picture_of_nothing_shows_no_figure_of_a_prompt(name: str) -> None:
    rng = np.random.default_rng(0)
    pixels = {
        "noise": rng.integers(0, 256, (64, 64, 3)),
        "plain": np.full((64, 64, 3), COLOURS["blue"]),
        "grey": np.full((64, 64, 3), 128),
    }[name]
    seen = judge(Image.fromarray(pixels.astype(np.uint8)))
    assert not any(agrees(scene, Image.fromarray(pixels.astype(np.uint8))) for scene in scenes(50) if scene.shape)
    assert name == "noise" or seen.shape is None


def test_no_training_scene_is_a_held_out_combination() -> None:
    def combination(scene: Scene) -> tuple[object, ...]:
        return scene.count, scene.shape, scene.colour, scene.background, scene.position

    held = {combination(scene) for scene in scenes(500, held_out=True)}
    seen = {combination(scene) for scene in scenes(3000)}
    assert held and held.isdisjoint(seen)


def test_every_description_names_shape_and_number() -> None:
    rng = random.Random(0)
    for scene in scenes(300):
        said = describe(scene, rng)
        if scene.count and scene.count > 1:
            assert any(word in said for word in ("two", "three", "a pair of")), said
