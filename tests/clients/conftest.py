"""The service that the clients talk to, and the table of what each could do."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from .cells import ROOT, Service

# Without the clients' own environment (`make test-clients`) there is nothing to test.
collect_ignore_glob = [] if find_spec("litellm") else ["test_*.py"]
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}  # clients talk to Medley only
RESULTS = pytest.StashKey[dict[tuple[str, str], str]]()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The Medley at MEDLEY_URL with MEDLEY_API_KEY if these are set, else one that is started by `.venv`."""
    if url := os.environ.get("MEDLEY_URL"):
        yield Service(url, os.environ["MEDLEY_API_KEY"])
        return
    python = os.environ.get("MEDLEY_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    command = [python, "-m", "tests.clients.service"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        yield Service(**json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(60)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report: pytest.TestReport = yield
    cell = getattr(item, "callspec", None)
    if cell and {"client", "cell"} <= set(cell.params) and (report.when == "call" or not report.passed):
        word = {"passed": "yes", "failed": "FAILED", "skipped": "-"}[report.outcome]
        item.config.stash[RESULTS][cell.params["client"], cell.params["cell"]] = word
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    results = config.stash[RESULTS]
    if not results:
        return
    cells = list(dict.fromkeys(cell for _, cell in results))
    lines = [
        "| client | " + " | ".join(cell.replace("_", " ") for cell in cells) + " |",
        "|---" * (len(cells) + 1) + "|",
    ]
    for client in dict.fromkeys(client for client, _ in results):
        lines.append(f"| {client} | " + " | ".join(results.get((client, cell), "") for cell in cells) + " |")
    terminalreporter.write_line("\n".join(["", *lines, f"Python {sys.version.split()[0]}"]))
