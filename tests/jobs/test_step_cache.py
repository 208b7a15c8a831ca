"""A step that was asked before is answered from what was kept: cheaper, and only where that is right."""

import json
from pathlib import Path
from typing import Any

from serve_app.accounts import ledger
from serve_app.config.schema import JobsConfig
from serve_app.jobs import queue, rows
from serve_app.jobs.job import Job
from serve_app.jobs.runner import Runner
from serve_app.jobs.step_cache import trim
from serve_app.models.registry import Model
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id

from .work import GRAPHS, Scribe, drain, models_of, wish


def caching(database: Database, artifacts: Artifacts, scribe: Scribe, revision: str = "one") -> Runner:
    async def made_of(model: Model) -> str:
        return revision

    config = JobsConfig(step_cache_mb=1, cached_price=0.1)
    return Runner(database, artifacts, GRAPHS, models_of(scribe), config, new_id("owner"), {}, made_of)


async def ran(database: Database, runner: Runner, user: str = "ann", **fields: Any) -> Job:
    job, _ = await database.write(queue.create, wish("picture", user, **fields))
    await drain(runner)
    return await database.read(queue.find, user, job.id)


async def test_a_like_step_is_answered_from_the_cache_and_costs_less(database: Database, artifacts: Artifacts) -> None:
    await database.write(ledger.grant, "ann", 100)
    scribe = Scribe()
    first = await ran(database, caching(database, artifacts, scribe), text="a circle", seed=1, price=20)
    again = await ran(database, caching(database, artifacts, scribe), text="a circle", seed=1, price=20)
    assert scribe.calls == ["a circle", "paint A CIRCLE"]
    assert (first.charged, again.charged) == (20, 2)
    assert await database.read(ledger.balance, "ann") == 78
    assert all(step.cached for step in await database.read(rows.step_records, again.id))
    pictures = [json.loads(job.output or "")["image"] for job in (first, again)]
    assert (await artifacts.load("ann", pictures[0]))[1] == (await artifacts.load("ann", pictures[1]))[1]


async def test_another_seed_owner_revision_or_no_seed_asks_the_model(database: Database, artifacts: Artifacts) -> None:
    scribe = Scribe()
    await ran(database, caching(database, artifacts, scribe), text="a", seed=1)
    for user, revision, seed in (("ann", "one", 2), ("bob", "one", 1), ("ann", "two", 1), ("ann", "one", None)):
        before = len(scribe.calls)
        await ran(database, caching(database, artifacts, scribe, revision), user, text="a", seed=seed)
        assert len(scribe.calls) == before + 2, (user, revision, seed)
    before = len(scribe.calls)
    await ran(database, caching(database, artifacts, scribe), text="a", seed=None)
    assert len(scribe.calls) == before + 2, "unseeded sampling is never kept"


async def test_an_entry_whose_file_has_gone_is_no_answer(
    database: Database, artifacts: Artifacts, tmp_path: Path
) -> None:
    scribe = Scribe()
    await ran(database, caching(database, artifacts, scribe), text="a", seed=1)
    for path in (tmp_path / "artifacts" / "temp").rglob("*.png"):
        path.unlink()
    again = await ran(database, caching(database, artifacts, scribe), text="a", seed=1)
    assert again.status == "succeeded" and scribe.calls == ["a", "paint A", "paint A"]


async def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest(
    database: Database, artifacts: Artifacts
) -> None:
    scribe = Scribe()
    for text in ("a", "b", "c"):
        await ran(database, caching(database, artifacts, scribe), text=text, seed=1)
    assert await database.write(trim, 10**9) == 0
    dropped = await database.write(trim, 0)
    assert dropped == 6
    await ran(database, caching(database, artifacts, scribe), text="c", seed=1)
    assert scribe.calls[-2:] == ["c", "paint C"]
