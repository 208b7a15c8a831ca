"""The translators' judge tells true renderings from everything else."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

from deployments.starter.translator.data import DOMAINS
from deployments.starter.translator.judge import judge


def drawn(domain: str, count: int = 50) -> list[Image.Image]:
    rng = random.Random(f"judge/{domain}")
    return [DOMAINS[domain](rng) for _ in range(count)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_true_renderings_are_of_their_domain_and_of_no_other(domain: str) -> None:
    assert Counter(judge(picture) for picture in drawn(domain))[domain] >= 49


@pytest.mark.parametrize("domain", DOMAINS)
def test_wrong_answers_are_of_no_domain(domain: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mean = np.asarray(drawn(domain, 1)[0]).mean((0, 1)).round().astype(np.uint8)
    plain = Image.fromarray(np.broadcast_to(mean, (64, 64, 3)).copy())
    assert judge(Image.fromarray(noise)) != domain
    assert judge(plain) != domain
    if domain != "photo":  # of middle tones, so its negative has them too: the judge does not see the difference
        assert sum(judge(ImageOps.invert(picture)) == domain for picture in drawn(domain)) <= 2


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_seed_gives_the_same_scenes(domain: str) -> None:
    assert drawn(domain, 2)[1].tobytes() == drawn(domain, 2)[1].tobytes()
