"""Loaded backends, one of each for the whole run, and the tiny weights some are loaded with."""

import asyncio
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS
from deployments.backend import GPU_MEMORY
from deployments.engine import GIB

from .covered import Covered
from .encoder_weights import write_encoder, write_judge, write_ranker
from .harness import OPTIONS, VOICE_TAGS, need
from .kokoro_weights import write_kokoro
from .piper_weights import SPEAKERS, write_piper
from .reader_weights import write_reader
from .speech_weights import write_voice
from .vision_weights import write_depth, write_fastsam, write_sam2
from .weights import write_gguf, write_language_model, write_painter, write_whisper
from .xtts_weights import write_xtts

COVERED = Covered()
PART_OF_THE_GPU, MOST_GIB = 0.15, 4.0  # vLLM's cache takes all of it, and tests empty it over and over


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test-gpu` runs the contracts for the sake of the GPU: without one they would be tested as ever."""
    if not os.environ.get("MEDLEY_TEST_GPU"):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="there is no GPU here: `make test` runs the contracts without one"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    COVERED.count(item, report)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if table := COVERED.table():
        terminalreporter.section("backends that were driven")
        for line in table:
            terminalreporter.write_line(line)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, in a thread of its own: the test that asks may have an event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Torch splits sums by the number of its threads, which each thread that calls it has for itself, and CTranslate2
    changes: with one everywhere, the same call gives the same numbers whoever makes it."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def part_of_the_gpu() -> None:
    """On a GPU several backends are loaded at once, and one of them twice while it reloads: each gets a part, as a
    profile would declare it. vLLM would take all."""
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        os.environ.setdefault(GPU_MEMORY, str(min(PART_OF_THE_GPU * total / GIB, MOST_GIB)))


@pytest.fixture(scope="session")
def lm_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="session")
def gguf_weights(lm_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf"), lm_weights)


@pytest.fixture(scope="session")
def encoder_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def ranker_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ranker(tmp_path_factory.mktemp("ranker"))


@pytest.fixture(scope="session")
def piper_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_piper(tmp_path_factory.mktemp("piper"), speakers=SPEAKERS)


@pytest.fixture(scope="session")
def pp_ocr_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def judge_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="session")
def kokoro_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kokoro(tmp_path_factory.mktemp("kokoro"))


@pytest.fixture(scope="session")
def painter_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_painter(tmp_path_factory.mktemp("painter"))


@pytest.fixture(scope="session")
def whisper_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="session")
def sam2_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="session")
def depth_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_depth(tmp_path_factory.mktemp("depth"))


@pytest.fixture(scope="session")
def voices_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one for each of `VOICE_TAGS`."""
    folder = tmp_path_factory.mktemp("voices")
    for seed, tag in enumerate(VOICE_TAGS):
        write_voice(folder / tag, seed)
    return folder


@pytest.fixture(scope="session")
def fastsam_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("fastsam")
    return write_fastsam(tmp_path_factory.mktemp("fastsam"))


@pytest.fixture(scope="session")
def xtts_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("xtts")
    return write_xtts(tmp_path_factory.mktemp("xtts"))


@pytest.fixture(scope="session")
def options_of(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`options_of(name, **changes)`: a backend's options for the tests."""

    def options(name: str, **changes: Any) -> Any:
        made = OPTIONS[name]
        parameters = inspect.signature(made).parameters.values()
        kinds = [one.name for one in parameters if one.kind is not one.VAR_POSITIONAL]
        folders = {kind: request.getfixturevalue(f"{kind}_weights") for kind in kinds}
        return BACKENDS[name].Options(**{**made(**folders), **changes})

    return options


@pytest.fixture(scope="session")
def load(options_of: Callable[..., Any]) -> Iterator[Callable[[str], Any]]:
    """`load(name)`: that backend, loaded once and shared by all tests. Tests that reload make their own."""

    @cache
    def loaded(name: str) -> Any:
        need(name)
        backend = BACKENDS[name]()
        run(backend.reconfigure(options_of(name)))
        return backend

    yield loaded
    loaded.cache_clear()  # those with processes of their own end them


@pytest.fixture(scope="session")
def fresh(options_of: Callable[..., Any]) -> Callable[..., Any]:
    """`fresh(name, **changes)`: a backend of the asker's own, loaded."""

    def loaded(name: str, **changes: Any) -> Any:
        need(name)
        backend = BACKENDS[name]()
        run(backend.reconfigure(options_of(name, **changes)))
        return backend

    return loaded


@pytest.fixture
def ray_of_its_own() -> Iterator[None]:
    """A Ray with one core in this process, beside any other on this machine."""
    import ray

    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: the names of Ray's sockets have a limit
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=1,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
