"""The bundle for a machine with a GPU and no network: what is in it, and what its table says."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS

from ..gpu import bundle, run
from ..gpu.groups import PARTS, Group
from ..gpu.table import NOT_RUN, rows_of, table
from ..gpu.tally import LATE, TESTS
from .test_layering import imports, loaded_by

GROUPS = [group for groups in PARTS.values() for group in groups]
FIRST, LAST = GROUPS[0].name, GROUPS[-1].name


def test_every_wheel_is_pinned() -> None:
    asked = bundle.pinned((bundle.ROOT / bundle.PINS).read_text())
    assert [one.partition("==")[0] for one in asked] == list(bundle.WHEELS)


def test_a_wheel_without_a_pin_is_named() -> None:
    with pytest.raises(bundle.BundleError, match=r"pins no version of diffusers, .*peft"):
        bundle.pinned("torch==2.11.0\n# a note\nnumpy==2.3.5\n")


def test_a_bundle_that_is_too_large_is_refused_with_the_largest_first() -> None:
    bundle.check({"wheels/small.whl": 1, "wheels/large.whl": bundle.MOST_BYTES - 1})
    with pytest.raises(bundle.BundleError) as refused:
        bundle.check({"wheels/small.whl": 2, "wheels/large.whl": bundle.MOST_BYTES - 1})
    head, first, second = str(refused.value).splitlines()
    assert "at most 55 fit" in head
    assert first.endswith("large.whl") and second.endswith("small.whl")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(bundle.BundleError, match="is no bundle, so it is left alone"):
        bundle.gather(tmp_path, wheels_only=True)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_what_is_packed_has_the_groups_tests_and_not_the_weights_that_none_uses() -> None:
    packed = set(bundle.files())
    assert {f"tests/{group.file}.py" for group in GROUPS} <= packed
    assert {"pyproject.toml", "tests/gpu/proof.py", "tests/backends/conftest.py", "deployments/__init__.py"} <= packed
    weights = {Path(name).parts[2] for name in packed if name.startswith("deployments/starter/") and "weights" in name}
    assert weights == {"painter", "restorer", "translator", "upscaler"}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_a_group_is_of_tests_and_backends_that_exist(group: Group) -> None:
    assert (TESTS / f"{group.file}.py").exists()
    assert set(group.backends) <= set(BACKENDS)


def test_a_test_belongs_to_a_group_by_its_file_and_its_backend() -> None:
    every, one = Group("every", "backends/test_x", 1), Group("one", "backends/test_x", 1, ("sam2",))
    assert every.has("backends/test_x", None) and every.has("backends/test_x", "mms")
    assert one.has("backends/test_x", "sam2") and not one.has("backends/test_x", "mms")
    assert not one.has("backends/test_x", None) and not one.has("backends/test_y", "sam2")


def test_the_harness_needs_neither_ray_nor_vllm() -> None:
    assert loaded_by("tests.gpu.conftest", ("ray", "vllm", "serve_app")) == []


@pytest.mark.parametrize("module", [bundle, run], ids=lambda module: module.__name__)
def test_the_scripts_need_nothing_but_python(module: Any) -> None:
    needed = {name.split(".")[0] for name in imports(Path(module.__file__))}
    assert needed <= sys.stdlib_module_names


def test_the_script_names_the_same_variables_as_what_it_starts() -> None:
    from ..gpu.proof import BEGUN, RESULTS

    texts = {
        node.value for node in ast.walk(ast.parse(Path(run.__file__).read_text())) if isinstance(node, ast.Constant)
    }
    assert {BEGUN, RESULTS} <= texts


def found(test: str, group: str = FIRST) -> dict[str, Any]:
    return {"event": "found", "test": test, "group": group}


def ran(
    test: str, outcome: str | None = None, reason: str = "", group: str = FIRST, **figures: float
) -> dict[str, Any]:
    said: dict[str, Any] = {"event": "ran", "test": test, "group": group, "seconds": 1.0, "gib": 0.5}
    return said if outcome is None else said | {"outcome": outcome, "reason": reason, "detail": "", "figures": figures}


def test_a_row_counts_each_test_once() -> None:
    events = [{"event": "begun", "machine": "no GPU"}, *map(found, "abcde")]
    events += [ran("a"), ran("a", "passed", ratio=0.98), ran("b", "skipped", "no network")]
    events += [ran("c", "passed"), ran("c", "failed", "it did not end"), ran("d", "skipped", LATE)]
    row = rows_of(events, {})[FIRST]
    assert row.outcomes == {"a": "passed", "b": "skipped", "c": "failed", "d": NOT_RUN, "e": NOT_RUN}
    assert (row.seconds, row.gib, row.figures) == (6.0, 0.5, {"ratio": 0.98})


def test_a_part_that_ended_is_told_of_all_that_it_did_not_run() -> None:
    rows = rows_of([found("a"), ran("a", "passed"), found("b")], {"memory": "the five minutes were over"})
    assert rows[FIRST].reasons["b"] == "the five minutes were over"
    lines = table(rows)
    assert f"  {FIRST}: 1 x the five minutes were over" in lines
    assert f"  {LAST}: 1 x no test of it was found" in lines


def test_the_table_says_what_failed_and_the_figures() -> None:
    lines = table(rows_of([found("a"), ran("a", "failed", "assert 1 == 2", ratio=0.9876543)], {}))
    assert "  a: assert 1 == 2" in lines
    assert "  ratio: 0.9877" in lines
    assert lines[0].split() == ["group", "passed", "failed", "skipped", "not", "run", "seconds", "peak", "GiB"]
