import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .live import Live, started
from .samples import Samples


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A Medley of the tests' own, or, to save its start while writing tests, the one of MEDLEY_TEST_HOME."""
    if "MEDLEY_TEST_HOME" in os.environ:
        yield Live.of(Path(os.environ["MEDLEY_TEST_HOME"]))
        return
    with started(tmp_path_factory.mktemp("home")) as service:
        yield service


@pytest.fixture(scope="session")
def client(live: Live) -> Iterator[httpx.Client]:
    with live.client() as session:
        yield session


@pytest.fixture(scope="session")
def samples(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return Samples.make(client, tmp_path_factory.mktemp("samples"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"
