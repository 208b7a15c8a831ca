"""The table at the end of a run says what the run did."""

from pathlib import Path
from types import SimpleNamespace as Fake
from typing import Any

from .covered import Covered


def item(file: str, kind: str | None = None, **params: Any) -> Any:
    cls = type(kind, (), {}) if kind else None
    return Fake(path=Path(f"{file}.py"), cls=cls, **({"callspec": Fake(params=params)} if params else {}))


def report(outcome: str, when: str = "call") -> Any:
    return Fake(outcome=outcome, when=when, passed=outcome == "passed")


def test_each_test_counts_once_for_the_backend_that_it_drives() -> None:
    covered = Covered()
    for when in ("setup", "call", "teardown"):
        covered.count(item("test_segmentation", model="sam2", hint="a box"), report("passed", when))
    covered.count(item("test_segmentation", "TestSAM2"), report("failed"))
    covered.count(item("test_registry", name="sam2"), report("passed"))
    covered.count(item("test_text_to_speech", model="xtts"), report("skipped", "setup"))
    covered.count(item("test_vllm_tools"), report("passed"))
    covered.count(item("test_audio", format="wav"), report("passed"))
    _, *rows = [line.split() for line in covered.table()]
    assert rows == [
        ["sam2", "segmentation", "1", "0", "1", "registry", "1", "passed"],
        ["vllm", "language", "0", "0", "0", "vllm_tools", "1", "passed"],
        ["xtts", "text_to_speech", "0", "1", "0"],
    ]


def test_a_run_that_drove_none_prints_no_table() -> None:
    assert Covered().table() == []
