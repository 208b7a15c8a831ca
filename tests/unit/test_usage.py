"""What a user may keep: artifacts, jobs, webhooks; and what is left of a job that was not made."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.accounts import usage
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database

from .fakes import RECORDING
from .services import Make, Served

JOBS = "/api/v1/jobs"
TRANSCRIBE = "/api/v1/graphs/transcription"
AT_ONCE = {"prefer": "respond-async"}


@pytest.fixture(autouse=True)
def counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "REFRESH_S", -1.0)


def files(served: Served) -> list[Path]:
    root = Path(served.jobs.artifacts._store._root)  # type: ignore[attr-defined]
    return [path for path in root.rglob("*") if path.is_file()]


async def submit(http: httpx.AsyncClient, key: str = "", text: str = "hello", **headers: str) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}]}
    named = {"idempotency-key": key} if key else {}
    return await http.post("/api/v1/graphs/chat", json=body, headers={**AT_ONCE, **named, **headers})


async def test_a_user_whose_storage_is_full_is_told_the_limit(make: Make) -> None:
    http = make(max_stored_gb=1e-6).client()  # a thousand bytes
    for size, status in ((800, 201), (800, 413), (100, 201)):
        answer = await http.post(
            "/api/v1/artifacts", content=b'"' + b"x" * (size - 2) + b'"', headers={"content-type": "application/json"}
        )
        assert answer.status_code == status, answer.text
    assert "jobs.max_stored_gb" in (await submit(http)).text or (await submit(http)).status_code == 202


@pytest.mark.parametrize("limit", ["max_jobs", "max_waiting"])
async def test_a_user_with_as_many_jobs_as_one_may_have_is_told_the_limit(make: Make, limit: str) -> None:
    served = make(**{limit: 3})
    await served.worker.stop()
    http = served.client()
    answers = [await submit(http) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert f"jobs.{limit}" in answers[-1].json()["detail"]
    assert answers[-1].json()["type"].endswith("/limit-reached")


async def test_the_webhook_urls_of_jobs_are_bounded(make: Make) -> None:
    served = make(max_webhooks=1, private_webhooks=["localhost"])
    http = served.client()
    await http.post("/api/v1/webhooks", json={"url": "http://localhost/mine"})
    body = {"messages": [{"role": "user", "content": "hello"}]}
    answer = await http.post("/api/v1/graphs/chat?webhook=http://localhost/own", json=body, headers=AT_ONCE)
    assert answer.status_code == 429
    assert "jobs.max_webhooks" in answer.json()["detail"]


async def test_a_repeated_key_leaves_no_file_behind(make: Make) -> None:
    served = make()
    http = served.client()

    async def repeat(key: str, recording: Any = RECORDING) -> httpx.Response:
        headers = {**AT_ONCE, "idempotency-key": key}
        return await http.post(TRANSCRIBE, json={"audio": recording.url}, headers=headers)

    assert (await repeat("one")).status_code == 202
    before = files(served)
    assert len(before) == 1
    for _ in range(3):
        assert (await repeat("one")).status_code == 202
    assert files(served) == before


async def test_a_run_that_costs_too_much_leaves_no_file_behind(make: Make) -> None:
    served = make(prices={"transcription": 5})
    http = served.client()
    for headers in (AT_ONCE, {}):
        answer = await http.post(TRANSCRIBE, json={"audio": RECORDING.url}, headers=headers)
        assert answer.status_code == 402
    assert files(served) == []


def test_a_sweep_deletes_old_bytes_without_a_row(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/medley.db")
    database.upgrade()
    artifacts = Artifacts(database, str(tmp_path / "artifacts"), b"key of the tests")
    kept = artifacts.write_here("ann", "references", b"kept", "text/plain")
    from serve_app.storage.artifacts import insert

    database.write_here(insert, kept)
    artifacts.write_here("ann", "inputs", b"orphan", "text/plain", job_id="job_1")
    (tmp_path / "artifacts" / "inputs" / "ann" / "job_1" / ".draft").write_bytes(b"half")
    assert artifacts.delete_orphans_here() == 0  # too young: their rows may be on their way
    time.sleep(0.05)
    assert artifacts.delete_orphans_here(older_than_s=0.01) == 2
    left = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in left] == [b"kept"]
    database.dispose()
