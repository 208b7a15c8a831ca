"""What the upscaler and the restorer are trained with and set against."""

import random

import numpy as np
import pytest

from deployments.image_reconstruction.membrane import fitted
from deployments.starter.restorer.data import GRID, MASKS, hidden, mask
from deployments.starter.upscaler.data import reduced, scene
from deployments.starter.upscaler.measure import bicubic, compare, psnr


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_covers_about_what_it_is_asked_to(kind: str) -> None:
    rng = random.Random(kind)
    for share in (0.05, 0.2, 0.4):
        assert abs(mask(rng, share, kind).mean() - share) < 0.08


def test_as_many_patches_are_hidden_in_every_row() -> None:
    rows = hidden(random.Random(0), 77, 5)
    assert rows.shape == (5, GRID * GRID)
    assert rows.sum(1).tolist() == [77] * 5


def test_the_membrane_mends_a_shift_and_leaves_the_rest() -> None:
    y, x = np.mgrid[:64, :64] / 64.0
    picture = np.stack([x, y, x * y], 2)
    inside = np.zeros((64, 64), bool)
    inside[20:40, 10:50] = True
    found = fitted(picture, picture + np.array([0.3, -0.2, 0.1]), inside)
    assert np.abs(found - picture).max() < 1e-3
    assert np.array_equal(found[~inside], picture[~inside])


@pytest.mark.parametrize("scale", [2, 4])
def test_the_upscaler_starts_as_bicubic(scale: int) -> None:
    from deployments.starter.upscaler.model import build, enlarge

    network, large = build(scale).eval(), scene(random.Random(1))
    small = reduced(large, scale)
    inner = (slice(16, -16), slice(16, -16))
    assert psnr(enlarge(network, small)[inner], bicubic(small, scale)[inner], 1) > 50
    own, plain = compare(network, [large])[0]
    assert abs(own - plain) < 0.1
