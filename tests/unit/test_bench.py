"""What the benchmark measured comes into the documentation, and what it did not stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.report import FRONT_PAGE, front_page, update_figures

MACHINE = {"cores": 2, "memory_gib": 23.5, "python": "3.11.7"}
README = "# M\n\n| a killed worker's job goes on after | 44.7 s | <= 90 | yes |\n| another | 1 s | | |\n"
PAGE = (
    "before\n<!-- bench:gateway -->\nold\n<!-- bench:end -->\nbetween\n<!-- bench:jobs -->\nkept\n<!-- bench:end -->\n"
)


def row(name: str, value: float, met: bool | None = True) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": "s", "target": "<= 90", "met": met}


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("README.md", README), ("benchmarks.md", PAGE)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "BENCHMARKS", tmp_path / "benchmarks.md")
    rows = [row("SQLite: killed worker's job goes on after", 95.25, met=False)]
    document = {"machine": MACHINE, "date": "2026-11-27T10:00:00", "rows": rows}
    (tmp_path / "gateway.json").write_text(json.dumps(document))
    return tmp_path


def test_the_part_that_was_measured_is_replaced_and_the_others_stay(docs: Path) -> None:
    update_figures(docs)
    page = (docs / "benchmarks.md").read_text()
    assert "old" not in page
    assert "| SQLite: killed worker's job goes on after | 95.2 s | <= 90 | **no** |" in page
    assert "2026-11-27, 2 cores, 23.5 GiB, Python 3.11.7." in page
    assert "kept" in page
    assert "| a killed worker's job goes on after | 95.2 s | <= 90 | **no** |" in (docs / "README.md").read_text()
    assert "| another | 1 s | | |" in (docs / "README.md").read_text()


def test_the_readme_has_each_of_its_six_figures() -> None:
    rows = {name: row(name, 1.0) for name in FRONT_PAGE.values()}
    text = front_page(Path("README.md").read_text(), rows)
    assert [text.count(f"| {words} | 1 s | <= 90 | yes |") for words in FRONT_PAGE] == [1] * 6


def test_a_figure_with_its_spread_in_its_name_is_found() -> None:
    name = "language, streaming, 32 callers: medley / vllm serve (quartiles 0.8 and 1.2)"
    text = front_page("| 32 streams of tokens, beside vLLM's own server | 0 | | |", {name: row(name, 2.0)})
    assert text == "| 32 streams of tokens, beside vLLM's own server | 2 s | <= 90 | yes |"
