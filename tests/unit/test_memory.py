"""What nothing uses any more is given back, though Serve hid it from the collector."""

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from deployments.backend import Options as BackendOptions
from deployments.capabilities import Depth
from serve_app.replicas.memory import give_back
from serve_app.replicas.replica import replica


class Weights:
    """In a cycle, as a network with hooks is."""

    def __init__(self) -> None:
        self.hook = lambda: self


class Estimator(Depth):
    class Options(BackendOptions):
        number: int = 0

    def __init__(self) -> None:
        self.weights: Weights | None = None

    async def reconfigure(self, options: Options) -> None:
        self.weights = Weights()


@pytest.fixture
def freeze() -> Iterator[Callable[[], None]]:
    """As Serve does once a replica has started."""

    def hide() -> None:
        gc.collect()
        gc.freeze()

    yield hide
    gc.unfreeze()


def test_what_was_hidden_from_the_collector_is_collected_and_the_rest_hidden_again(freeze: Callable[[], None]) -> None:
    weights = Weights()
    gone = weakref.ref(weights)
    freeze()
    del weights
    gc.collect()
    assert gone() is not None
    give_back()
    assert gone() is None
    assert gc.get_freeze_count() > 0


async def test_weights_that_others_replace_in_a_replica_are_gone(freeze: Callable[[], None]) -> None:
    made = replica(Estimator)()
    await made.reconfigure({"number": 1})
    first = weakref.ref(made.weights)
    freeze()
    await made.reconfigure({"number": 2})
    assert first() is None and made.weights is not None
