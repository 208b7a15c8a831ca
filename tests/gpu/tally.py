"""A plugin of pytest for the bundle: it runs one part's groups, each within its time, and writes down what happened.

A line of JSON for each event, as it happens, so that a process that dies or is ended has said what it did. The
environment names the part and the file.
"""

import json
import os
import platform
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from .groups import PARTS, Group

PART, EVENTS = "MEDLEY_BUNDLE_PART", "MEDLEY_BUNDLE_EVENTS"
TESTS = Path(__file__).parents[1]
LATE = "the group's time was over"


def group_of(item: pytest.Item) -> Group | None:
    """The group that a test belongs to, of those that this process runs."""
    from ..backends.covered import backend_of

    file, backend = str(item.path.relative_to(TESTS).with_suffix("")), backend_of(item)
    return next((group for group in PARTS[os.environ[PART]] if group.has(file, backend)), None)


def write(**event: Any) -> None:
    with open(os.environ[EVENTS], "a") as file:
        file.write(json.dumps(event) + "\n")


def gpu() -> Any:
    """`torch.cuda` where there is a GPU."""
    import torch

    return torch.cuda if torch.cuda.is_available() else None


def machine() -> str:
    """The GPU and the versions that the figures are of."""
    import torch
    import transformers

    gpu = "no GPU"
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        gpu = f"{about.name} with {about.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    return f"{gpu}; {os.cpu_count()} cores; {versions}"


@pytest.hookimpl(trylast=True)  # after those that are left out by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    groups = {item.nodeid: group for item in items if (group := group_of(item))}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in groups])
    items[:] = [item for item in items if item.nodeid in groups]
    config.stash[KNOWN] = groups
    for name, group in groups.items():
        write(event="found", test=name, group=group.name)


KNOWN = pytest.StashKey[dict[str, Group]]()
SPENT = pytest.StashKey[defaultdict[str, float]]()  # seconds, by group


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SPENT] = defaultdict(float)
    write(event="begun", machine=machine())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    group = item.config.stash[KNOWN][item.nodeid]
    if item.config.stash[SPENT][group.name] > group.seconds:
        pytest.skip(LATE)
    if cuda := gpu():
        cuda.reset_peak_memory_stats()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    group = item.config.stash[KNOWN][item.nodeid]
    item.config.stash[SPENT][group.name] += report.duration
    cuda = gpu()
    peak = cuda.max_memory_allocated() / 2**30 if cuda else 0.0
    said: dict[str, Any] = {"group": group.name, "seconds": report.duration, "gib": peak}
    if report.when == "call" or not report.passed:
        said |= {"outcome": report.outcome, "reason": reason_of(report)}
        said |= {"detail": report.longreprtext if report.failed else "", "figures": dict(report.user_properties)}
    write(event="ran", test=item.nodeid, **said)
    return report


def reason_of(report: pytest.TestReport) -> str:
    """Why a test was skipped or failed, in one line."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr or "")
    return (text.strip().splitlines() or [""])[0]
