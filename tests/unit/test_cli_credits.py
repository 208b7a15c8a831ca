"""`medley credits` over a real database."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.cli.main import app
from serve_app.jobs import queue
from serve_app.jobs.job import NewJob
from serve_app.storage.database import Database


@pytest.fixture
def medley(tmp_path: Path):
    def call(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["credits", *arguments], env={"MEDLEY_HOME": str(tmp_path), "COLUMNS": "120"})
        return result.output if result.exit_code == 0 else f"{result.exit_code}: {result.output}"

    return call


async def test_what_is_granted_is_shown_and_can_be_spent(medley, tmp_path: Path) -> None:
    assert medley("show", "local") == "local has 0 credits.\n"
    assert medley("grant", "local", "1500") == "local has 1,500 credits.\n"
    assert medley("grant", "local", "5") == "local has 1,505 credits.\n"
    database = Database(f"sqlite:///{tmp_path}/medley.db")
    await database.write(queue.create, NewJob("job_1", "local", "chat", "{}", price=5))
    database.dispose()
    shown = medley("show", "local").splitlines()
    assert [line.split()[2:] for line in shown[1:-1]] == [["reserve", "5", "job_1"], ["grant", "5"], ["grant", "1,500"]]
    assert shown[-1] == "local has 1,500 credits."
    assert medley("show", "ann") == "ann has 0 credits.\n"


def test_a_grant_from_elsewhere_is_entered_once(medley) -> None:
    paid = ("grant", "local", "10", "--source", "invoice", "--external-id", "2026-17")
    assert medley(*paid) == medley(*paid) == "local has 10 credits.\n"


@pytest.mark.parametrize("amount", ["0", "-5", "many", "10000000000000"])
def test_other_amounts_are_refused(medley, amount: str) -> None:
    assert medley("grant", "--", "local", amount).startswith("2: ")
    assert medley("show", "local") == "local has 0 credits.\n"
