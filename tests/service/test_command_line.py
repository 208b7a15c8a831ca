"""`medley` as a person uses it."""

import contextlib
import os
import stat
from pathlib import Path

import nbclient
import nbformat
import psutil
import pytest

from .live import Live


def test_the_key_is_its_owners_alone(live: Live) -> None:
    mode = stat.S_IMODE((live.home / "api_key").stat().st_mode)
    assert mode == 0o600


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux alone has these policies")
def test_no_process_of_it_takes_a_core_from_the_one_that_runs(live: Live) -> None:
    policies = dict[tuple[str, int], int]()
    for process in psutil.Process(live.state.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # one may end meanwhile
            policies[process.name(), process.pid] = os.sched_getscheduler(process.pid)
    assert set[int]().union(*live.pids().values()) <= {pid for _, pid in policies}
    assert "haproxy" in {name for name, _ in policies}
    assert set(policies.values()) == {os.SCHED_BATCH}, policies


def test_a_second_up_says_that_one_runs(live: Live) -> None:
    ran = live.medley("up")
    assert ran.returncode == 1
    assert "already runs" in ran.stderr
    assert "medley down" in ran.stderr


def test_run_says_what_is_wrong(live: Live, tmp_path: Path) -> None:
    for arguments, wanted in (
        (["speeech", "text=x"], "Did you mean 'speech'?"),
        (["speech", "txt=x"], "Did you mean 'text'?"),
        (["speech", "text"], "name=value"),
        (["transcription", f"audio=@{tmp_path}/none.wav"], "cannot be read"),
        (["speech", "text=x", "models.voice=espeek"], "Did you mean 'espeak'?"),
    ):
        ran = live.medley("run", *arguments)
        assert ran.returncode == 1
        assert wanted in ran.stderr, ran.stderr
        assert "Traceback" not in ran.stderr


def test_jobs_says_what_is_wrong(live: Live) -> None:
    for arguments, wanted in (
        (["list", "--status", "done"], "status"),
        (["list", "--graph", "speeech"], "Did you mean 'speech'?"),
        (["show", "nothing"], "There is no job 'nothing'."),
        (["watch", "nothing"], "There is no job 'nothing'."),
        (["cancel", "nothing"], "There is no job 'nothing'."),
        (["list", "--url", "http://127.0.0.1:9"], "did not answer"),
    ):
        ran = live.medley("jobs", *arguments)
        assert ran.returncode == 1
        assert wanted in ran.stderr, ran.stderr
        assert "Traceback" not in ran.stderr


def test_doctor_finds_nothing_to_mend(live: Live) -> None:
    ran = live.medley("doctor")
    assert ran.returncode == 0, ran.stdout
    assert "!!" not in ran.stdout


@pytest.mark.parametrize("path", sorted(Path("notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run(path: Path, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in live.environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": "."}}).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
