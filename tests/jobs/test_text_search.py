"""Searching jobs for a text, on each database: what its user wrote is found, and nothing else."""

import json
from typing import Any

import pytest

from serve_app.jobs import lease, queue
from serve_app.jobs.job import NewJob, Outcome
from serve_app.jobs.queue import Filters
from serve_app.jobs.serialization import stored
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id

from .work import wish

WRITTEN = [
    "Straße",
    "赤い円",
    "a 🦊 in the snow",
    'he said "no"',
    "C:\\new\\folder",
    "first\nsecond\tthird",
    "100 % [red] _under_ /slash/",
    "u00df",
    "a\u2028b",
    "a\0b",
    "\x1f",
    "null",
]


async def add(database: Database, value: Any, user: str = "ann") -> str:
    new = NewJob(new_id("job"), user, "steps", stored(value))
    await database.write(queue.create, new)
    return new.id


async def found(database: Database, text: str, limit: int = 100, before: str | None = None) -> list[str]:
    return [job.id for job in await database.read(queue.page, "ann", Filters(text=text), limit, before)]


async def test_what_the_user_wrote_is_found_and_nothing_else(database: Database) -> None:
    made = [await add(database, {"text": text, "seed": None, "nested": [{"more": [text]}]}) for text in WRITTEN]
    await add(database, {"text": WRITTEN[0]}, user="bob")
    for id, text in zip(made, WRITTEN, strict=True):
        if "\0" not in text:  # no database takes it in a query
            assert await found(database, text) == [id], text
        value = (await database.read(queue.find, "ann", id)).input
        assert json.loads(value)["text"] == text


@pytest.mark.parametrize("text", ["text", "nested", "seed", "u0000", "u001f", "u2028", "nsecond", "\\n", '","', '":'])
async def test_what_json_adds_is_not_found(text: str, database: Database) -> None:
    for written in WRITTEN[:7]:
        await add(database, {"text": written, "seed": None, "nested": True})
    assert await found(database, text) == (await found(database, "C:\\new") if text == "\\n" else [])


@pytest.mark.parametrize(
    ("written", "asked"), [("CIRCLE", "circle"), ("Äpfel", "äPFEL"), ("ПРИВЕТ", "привет"), ("STRAßE", "straße")]
)
async def test_upper_and_lower_case_are_the_same(written: str, asked: str, database: Database) -> None:
    id = await add(database, {"text": f"an {written} b"})
    assert await found(database, asked) == [id]
    await add(database, {"text": "strasse apfel"})  # other letters are others
    assert await found(database, asked) == [id]


async def test_a_number_and_an_output_are_found(database: Database) -> None:
    id = await add(database, {"seed": 4217, "exact": True})
    assert (await found(database, "4217"), await found(database, "true")) == ([id], [])
    (claimed,) = await database.write(lease.claim, "owner", lease.Terms())
    outcome = Outcome("succeeded", {"text": "größer \ud800"})
    await database.write(lease.finish, claimed.held, outcome, 9)
    assert await found(database, "GRÖßER") == [id]
    assert json.loads((await database.read(queue.find, "ann", id)).output or "") == {"text": "größer \ufffd"}


async def test_pages_of_a_search_have_every_hit_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SEARCHED", 5)  # more than one read
    made = [await add(database, {"circle": "circle" if number % 3 == 0 else "square"}) for number in range(23)]
    pages, before = [], None
    while page := await found(database, "circle", 3, before):  # every job has it as the name of a field
        pages.append(page)
        before = page[-1]
    assert [len(page) for page in pages] == [3, 3, 2]
    assert [id for page in pages for id in page] == made[::3][::-1]


async def test_a_list_leaves_out_what_may_have_megabytes(database: Database) -> None:
    for number in range(3):
        await database.write(queue.create, wish(text=f"{number} " + "x" * 1_000_000))
    for filters in (queue.Filters(), queue.Filters(text="1 x")):
        jobs = await database.read(queue.page, "ann", filters, 10)
        assert len(jobs) == (1 if filters.text else 3)
        assert all(job.input == "{}" and job.output is None for job in jobs)
