"""Many who ask for the same at once: one job for a key, one for the credit there is."""

from collections import Counter

import pytest

from serve_app.errors import InvalidRequest
from serve_app.jobs import queue
from serve_app.jobs.job import NewJob
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id

from .fleet import Fleet, books, everything, grant
from .sizes import size


def asked(**more: object) -> dict[str, object]:
    return {"user_id": "ann", "graph": "steps", "input": "{}", **more}


async def test_a_thousand_creates_with_one_key_make_one_job(fleet: Fleet, database: Database, kind: str) -> None:
    count, processes = size(250, 2500), 4
    same = asked(idempotency_key="k", request_digest="d")
    answers = fleet.folder / "answers"
    running = [fleet.start("create", answers=str(answers), count=count, news=[same]) for _ in range(processes)]
    for process in running:
        await process.wait(120)
    found = Counter(answers.read_text().split())
    assert len(found) == 1 and found.total() == count * processes
    assert list(await database.read(everything)) == list(found)
    other = NewJob(id=new_id("job"), **{**same, "request_digest": "another body"})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        await database.write(queue.create, other)
    print(f"\n{kind}: {found.total()} creates with one key from {processes} processes: 1 job; another body: 422")


async def test_a_hundred_at_once_with_credit_for_one_admit_one(fleet: Fleet, database: Database, kind: str) -> None:
    await grant(database, "ann", 9)
    answers = fleet.folder / "answers"
    running = [fleet.start("create", answers=str(answers), count=25, news=[asked(price=5)]) for _ in range(4)]
    for process in running:
        await process.wait(120)
    found = Counter(answers.read_text().split())
    refused = found.pop("insufficient-credit")
    assert (refused, len(found)) == (99, 1)
    assert list(await database.read(everything)) == list(found)
    account = await database.read(books)
    assert account.exact and (account.available, account.reserved) == (4, 5)
    print(f"\n{kind}: 100 creates at once with credit for one: 1 admitted, {refused} refused, 4 of 9 credits left")
