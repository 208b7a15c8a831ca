"""What is no longer kept goes, and nothing else does."""

from pathlib import Path

from sqlalchemy import update

from serve_app.config.schema import JobsConfig
from serve_app.jobs import queue
from serve_app.jobs.cleanup import clean
from serve_app.storage import tables
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database

from .work import Scribe, drain, runner_of, wish


async def test_an_expired_job_goes_with_its_artifacts_and_a_kept_one_stays(
    database: Database, artifacts: Artifacts, tmp_path: Path
) -> None:
    old, _ = await database.write(queue.create, wish("picture", text="old"))
    kept, _ = await database.write(queue.create, wish("picture", text="kept", key="k1"))
    await drain(runner_of(database, artifacts, Scribe()))
    files = sorted((tmp_path / "artifacts").rglob("*.png"))
    assert len(files) == 4
    assert clean(database, artifacts, JobsConfig()) == 0
    expire = update(tables.jobs).where(tables.jobs.c.id == old.id).values(expires_at=1.0)
    await database.write(lambda connection: connection.execute(expire))
    assert clean(database, artifacts, JobsConfig()) == 1
    left = sorted((tmp_path / "artifacts").rglob("*.png"))
    assert len(left) == 2 and all(kept.id in str(path) for path in left)
    page = await database.read(queue.page, "ann", queue.Filters(), 10)
    assert [job.id for job in page] == [kept.id]
    age = update(tables.jobs).values(created_at=1.0, finished_at=1.0)
    await database.write(lambda connection: connection.execute(age))
    clean(database, artifacts, JobsConfig())
    again, made = await database.write(queue.create, wish("picture", text="another", key="k1"))
    assert made and again.id != kept.id, "a key is free again after a day"
