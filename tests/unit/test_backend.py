"""What a backend inherits from `Backend`, whatever it can do."""

from typing import Any

import pytest

from deployments.backend import Backend, Needs, Options
from deployments.capabilities import Depth, capabilities_of, lacking
from deployments.errors import ModelUnavailable
from deployments.media import Image


class Plain(Backend, Depth):
    """Says nothing but what it has to."""

    def _ready(self) -> Any:
        raise ModelUnavailable("not loaded yet")

    async def estimate(self, image: Image) -> Image:
        return image


class Sketch(Backend, Depth):
    """Says nothing at all, and has an `__init__` of its own."""

    def __init__(self) -> None:
        self.made = True

    async def estimate(self, image: Image) -> Image:
        return image


def test_a_backend_that_says_no_more_takes_the_usual_place_and_tells_no_progress() -> None:
    assert Plain.needs == Needs()
    assert not Plain.tells_progress
    assert capabilities_of(Plain) == (Depth,)
    assert not lacking(Plain)


def test_a_backend_is_as_healthy_as_what_it_has_loaded() -> None:
    with pytest.raises(ModelUnavailable, match="not loaded yet"):
        Plain().check_health()


async def test_what_a_backend_must_say_is_an_error_of_its_author_if_it_does_not() -> None:
    with pytest.raises(NotImplementedError, match="Sketch does not say how it is loaded"):
        await Sketch().reconfigure(Options())
    with pytest.raises(NotImplementedError, match="Sketch does not say what it has loaded"):
        Sketch().check_health()


def test_a_capabilitys_protocol_leaves_a_backends_init_alone() -> None:
    assert Sketch().made
    assert isinstance(Plain(), Plain)
    assert isinstance(Plain(), Plain)  # Protocol replaces `__init__` when the first is made
