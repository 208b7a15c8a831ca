"""Artifacts in a folder and in a bucket: whole or not at all, nobody else's, and back when the store is back."""

import asyncio
import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import boto3
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from moto.server import ThreadedMotoServer
from sqlalchemy import select, update
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import MedleyError
from serve_app.accounts.keys import Identity
from serve_app.accounts.usage import Usage
from serve_app.config.schema import GatewayConfig, JobsConfig
from serve_app.config.settings import Settings
from serve_app.errors import InvalidConfig, NotFound, StorageUnavailable
from serve_app.gateway.error_responses import error_response
from serve_app.gateway.middleware import is_signed
from serve_app.gateway.routes.artifacts import byte_range, router
from serve_app.storage import tables
from serve_app.storage.artifacts import FOLDERS, Artifact, Artifacts, insert, open_signing_key
from serve_app.storage.database import Database

from .fakes import picture_bytes, wav_bytes
from .test_media import film, recording

DAY = 86400
PATH = "/api/v1/artifacts"
DATA = bytes(range(256)) * 3000  # 768,000 bytes: three pieces of a folder
OUTSIDE = ["../../etc/passwd", "art_../../../etc/passwd", "art_", "", "art_" + "0" * 29, "ART_" + "0" * 28, "a\x00b"]


@dataclass
class Place:
    """Where the bytes are kept, seen from outside."""

    url: str
    files: Callable[[], list[str]]
    stop: Callable[[], None]
    start: Callable[[], None]


def folder_place(tmp_path: Path) -> Place:
    root, away = tmp_path / "artifacts", tmp_path / "unmounted"

    def files() -> list[str]:
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def stop() -> None:
        root.rename(away)

    def start() -> None:
        away.rename(root)

    return Place(str(root), files, stop, start)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    values = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "id-of-key", "SECRET_ACCESS_KEY": "s3cr3t-key"}
    for name, value in {**values, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


def bucket_place(endpoint: str) -> Place:
    service: Any = boto3.resource("s3")
    bucket = service.create_bucket(Bucket=f"b{secrets.token_hex(6)}")

    def files() -> list[str]:
        return sorted(entry.key.removeprefix("some/where/") for entry in bucket.objects.all())

    def never() -> None:
        raise AssertionError("a shared server stays up")

    return Place(f"s3://{bucket.name}/some/where/", files, never, never)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "folder":
        return folder_place(tmp_path)
    endpoint = request.getfixturevalue("endpoint")
    aws(monkeypatch, endpoint)
    return bucket_place(endpoint)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/medley.db", threads=2)
    database.upgrade()
    yield database
    database.dispose()


@pytest.fixture
def artifacts(place: Place, database: Database) -> Artifacts:
    return Artifacts(database, place.url, b"key")


@pytest.fixture
def in_folder(tmp_path: Path, database: Database) -> tuple[Place, Artifacts]:
    place = folder_place(tmp_path)
    return place, Artifacts(database, place.url, b"key")


def rows(database: Database) -> list[str]:
    return database.read_here(lambda connection: list(connection.scalars(select(tables.artifacts.c.id))))


def set_expiry(database: Database, id: str, seconds: float) -> None:
    """As if it had been made so that it expires in so many seconds."""
    change = update(tables.artifacts).where(tables.artifacts.c.id == id)
    database.write_here(lambda connection: connection.execute(change.values(expires_at=tables.now() + seconds)))


async def join(pieces: AsyncIterator[bytes]) -> list[bytes]:
    return [piece async for piece in pieces]


# What is kept ---------------------------------------------------------------------------------------------------------


async def test_what_goes_in_comes_out(artifacts: Artifacts, place: Place) -> None:
    before = time.time()
    artifact = await artifacts.add("ann", "inputs", DATA, "image/png", job_id="job_1", name="a cat / ../dog.png")
    assert await artifacts.load("ann", artifact.id) == (artifact, DATA)
    assert await artifacts.find("ann", artifact.id) == artifact == artifacts.find_here("ann", artifact.id)
    assert (artifact.size, artifact.digest) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert artifact.key == f"inputs/ann/job_1/{artifact.id}-a-cat-dog-png.png"
    assert place.files() == [artifact.key]
    assert before - 2 < artifact.created_at < time.time() + 2
    assert artifact.expires_at == pytest.approx(artifact.created_at + 7 * DAY, abs=0.1)


async def test_no_bytes_at_all_are_bytes_too(artifacts: Artifacts) -> None:
    artifact = await artifacts.add("ann", "outputs", b"", "application/json")
    assert await artifacts.load("ann", artifact.id) == (artifact, b"")
    assert b"".join(await join(artifacts.chunks(artifact))) == b""


async def test_pieces_are_small_and_ranges_exact(artifacts: Artifacts) -> None:
    big = DATA * 4
    artifact = await artifacts.add("ann", "outputs", big, "video/mp4")
    pieces = await join(artifacts.chunks(artifact))
    assert b"".join(pieces) == big
    assert len(pieces) > 1
    assert max(map(len, pieces)) <= 2 * 1024 * 1024
    for start, end in [(0, 0), (5, 9), (262_143, 262_144), (2_097_151, 2_097_152), (len(big) - 1, len(big) + 50)]:
        assert b"".join(await join(artifacts.chunks(artifact, start, end))) == big[start : end + 1]


async def test_another_users_an_unknown_and_an_expired_one_look_alike(artifacts: Artifacts, database: Database) -> None:
    theirs = await artifacts.add("ann", "inputs", DATA, "image/png")
    old = await artifacts.add("bob", "inputs", DATA, "image/png")
    set_expiry(database, old.id, -1)
    gone = await artifacts.add("bob", "inputs", DATA, "image/png")
    artifacts.delete_here([gone])
    unknown = tables.new_id("art")
    for read in (artifacts.find, artifacts.load):
        for id in (theirs.id, old.id, gone.id, unknown):
            with pytest.raises(NotFound) as caught:
                await read("bob", id)
            assert caught.value.detail == f"There is no artifact '{id}'."
    assert (await artifacts.find("ann", theirs.id)).id == theirs.id


@pytest.mark.parametrize("id", OUTSIDE)
async def test_what_is_no_id_is_not_found(in_folder: tuple[Place, Artifacts], id: str) -> None:
    for read in (in_folder[1].find("local", id), in_folder[1].load("local", id), in_folder[1].find_signed(id)):
        with pytest.raises(NotFound):
            await read


@pytest.mark.parametrize(
    "user", ["..", ".", "", "../..", "/", "/etc", "a/b", "a\x00b", "é" * 60, "*", "%2e%2e", "\\.."]
)
async def test_no_users_name_leaves_the_root(artifacts: Artifacts, place: Place, tmp_path: Path, user: str) -> None:
    def others() -> set[Path]:
        root = Path(place.url)
        return {path for path in tmp_path.rglob("*") if root not in path.parents and path != root}

    outside = others()
    made = [
        artifacts.write_here(user, "inputs", b"x", "image/png", job_id=job, name=user) for job in (None, "..", user)
    ]
    keys = [artifact.key for artifact in made]
    assert place.files() == sorted(keys)
    assert all(len(key.split("/")) == 4 and ".." not in key.split("/")[:3] for key in keys)
    assert others() == outside


def test_no_two_users_share_a_folder(in_folder: tuple[Place, Artifacts]) -> None:
    users = ["a", "a.", "%61", "a%2E", "..", "%2E%2E", "", "%", "x" * 200, "x" * 201]
    keys = [in_folder[1].write_here(user, "inputs", b"x", "image/png").key.split("/")[1] for user in users]
    assert len(set(keys)) == len(users)


async def test_changed_and_cut_bytes_are_noticed(in_folder: tuple[Place, Artifacts]) -> None:
    place, artifacts = in_folder
    artifact = await artifacts.add("ann", "inputs", DATA, "image/png")
    file = Path(place.url) / artifact.key
    file.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(StorageUnavailable, match="have changed"):
        await artifacts.load("ann", artifact.id)
    file.write_bytes(DATA[:-1])
    with pytest.raises(StorageUnavailable, match="have changed"):
        await join(artifacts.chunks(artifact))
    file.unlink()
    with pytest.raises(NotFound):
        await artifacts.load("ann", artifact.id)


def test_a_row_goes_in_twice_and_counts_once(artifacts: Artifacts, database: Database) -> None:
    artifact = artifacts.write_here("ann", "outputs", DATA, "image/png", job_id="job_1")
    assert rows(database) == []
    database.write_here(insert, artifact)
    database.write_here(insert, dataclasses.replace(artifact, size=1))
    assert rows(database) == [artifact.id]
    assert artifacts.load_here("ann", artifact.id)[1] == DATA


async def test_times_are_the_databases(in_folder: tuple[Place, Artifacts], monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time()
    monkeypatch.setattr("serve_app.storage.artifacts.time.time", lambda: real + 30 * DAY)
    artifact = await in_folder[1].add("ann", "outputs", DATA, "image/png")
    assert abs(artifact.created_at - real) < 60
    assert artifact.expires_at == pytest.approx(artifact.created_at + 7 * DAY, abs=0.1)
    assert in_folder[1].expire_here() == 0


async def test_one_without_an_end_never_expires(tmp_path: Path, database: Database) -> None:
    artifacts = Artifacts(database, str(tmp_path / "a"), b"key", keep_s=None)
    artifact = await artifacts.add("ann", "references", DATA, "image/png")
    assert artifact.expires_at is None
    assert artifacts.expire_here() == 0
    assert await artifacts.find("ann", artifact.id) == artifact


# What is deleted ------------------------------------------------------------------------------------------------------


async def test_what_is_over_goes_and_the_rest_stays(artifacts: Artifacts, place: Place, database: Database) -> None:
    made = [await artifacts.add("ann", "outputs", DATA, "image/png") for _ in range(5)]
    for artifact in made[:3]:
        set_expiry(database, artifact.id, -1)
    set_expiry(database, made[3].id, 60)
    assert artifacts.expire_here(limit=2) == 2
    assert artifacts.expire_here(limit=2) == 1
    assert artifacts.expire_here(limit=2) == 0
    assert sorted(rows(database)) == sorted([made[3].id, made[4].id])
    assert place.files() == sorted([made[3].key, made[4].key])


async def test_deleting_twice_is_fine(artifacts: Artifacts, place: Place, database: Database) -> None:
    artifact = await artifacts.add("ann", "inputs", DATA, "image/png")
    artifacts.delete_here([artifact])
    artifacts.delete_here([artifact])
    artifacts.delete_here([])
    assert (place.files(), rows(database)) == ([], [])


async def test_a_job_goes_with_all_its_files(artifacts: Artifacts, place: Place, database: Database) -> None:
    for folder in FOLDERS:
        await artifacts.add("ann", folder, DATA, "image/png", job_id="job_1")
        artifacts.write_here("ann", folder, b"a dead worker's", "image/png", job_id="job_1")
    others = [
        await artifacts.add("ann", "outputs", b"1", "image/png", job_id="job_10"),
        await artifacts.add("bob", "outputs", b"2", "image/png", job_id="job_1"),
        await artifacts.add("ann", "references", b"3", "image/png"),
    ]
    assert len(place.files()) == 11
    artifacts.delete_job_here("ann", "job_1")
    artifacts.delete_job_here("ann", "job_unknown")
    assert place.files() == sorted(artifact.key for artifact in others)
    assert sorted(rows(database)) == sorted(artifact.id for artifact in others)


def test_a_bucket_lists_and_deletes_beyond_one_answer(
    endpoint: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws(monkeypatch, endpoint)
    place = bucket_place(endpoint)
    artifacts = Artifacts(database, place.url, b"key")
    first = artifacts.write_here("ann", "temp", b"x", "image/png", job_id="job_1")
    client: Any = boto3.client("s3")
    bucket = place.url.split("/")[2]
    with ThreadPoolExecutor(8) as pool:
        names = [f"some/where/{first.key}{number}" for number in range(1005)]
        list(pool.map(lambda name: client.put_object(Bucket=bucket, Key=name, Body=b"x"), names))
    assert len(place.files()) == 1006
    artifacts.delete_job_here("ann", "job_1")
    assert place.files() == []


def test_a_folder_is_emptied_and_filled_at_once(in_folder: tuple[Place, Artifacts]) -> None:
    """Deleting takes away empty folders, also under the hands of one that is about to write."""
    place, artifacts = in_folder

    def work(_: int) -> None:
        for _ in range(40):
            artifacts.delete_here([artifacts.write_here("ann", "temp", b"x", "image/png", job_id="job_1")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert place.files() == []


# When the store is away -----------------------------------------------------------------------------------------------


async def all_fail(artifacts: Artifacts, artifact: Artifact) -> list[str]:
    """What each operation says while the store is away; each must say it within seconds."""
    operations: list[Callable[[], Awaitable[Any]]] = [
        lambda: artifacts.add("ann", "inputs", DATA, "image/png"),
        lambda: artifacts.load("ann", artifact.id),
        lambda: join(artifacts.chunks(artifact)),
        lambda: asyncio.to_thread(artifacts.delete_here, [artifact]),
        lambda: asyncio.to_thread(artifacts.delete_job_here, "ann", "job_1"),
    ]
    said: list[str] = []
    for operation in operations:
        began = time.monotonic()
        with pytest.raises(StorageUnavailable) as caught:
            await operation()
        assert time.monotonic() - began < 12
        said.append(caught.value.detail)
    return said


async def test_a_folder_that_went_away_comes_back(in_folder: tuple[Place, Artifacts], database: Database) -> None:
    place, artifacts = in_folder
    artifact = await artifacts.add("ann", "inputs", DATA, "image/png", job_id="job_1")
    place.stop()
    for text in await all_fail(artifacts, artifact):
        assert place.url not in text
    assert place.files() == []  # not made anew in the place of a disk that is not there
    assert rows(database) == [artifact.id]
    place.start()
    assert await artifacts.load("ann", artifact.id) == (artifact, DATA)
    assert (await artifacts.add("ann", "inputs", DATA, "image/png")).size == len(DATA)


async def test_a_bucket_that_went_away_comes_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    aws(monkeypatch, f"http://127.0.0.1:{port}")
    place = bucket_place(f"http://127.0.0.1:{port}")
    artifacts = Artifacts(database, place.url, b"key")
    artifact = await artifacts.add("ann", "inputs", DATA, "image/png", job_id="job_1")
    server.stop()
    for text in await all_fail(artifacts, artifact):
        assert all(secret not in text for secret in ("id-of-key", "s3cr3t-key", "127.0.0.1", artifact.key))
    assert rows(database) == [artifact.id]
    again = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    again.start()
    try:
        assert await artifacts.load("ann", artifact.id) == (artifact, DATA)
        another = await artifacts.add("ann", "inputs", DATA, "image/png")
        assert place.files() == sorted([artifact.key, another.key])
    finally:
        again.stop()


async def test_a_bucket_that_is_not_there_is_the_store_away(
    endpoint: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws(monkeypatch, endpoint)
    artifacts = Artifacts(database, "s3://no-such-bucket/x", b"key")
    artifact = row_without_bytes(database)
    await all_fail(artifacts, artifact)
    boto3.client("s3").create_bucket(Bucket="no-such-bucket")
    with pytest.raises(NotFound):
        await artifacts.load("ann", artifact.id)
    assert (await artifacts.add("ann", "inputs", DATA, "image/png")).size == len(DATA)


def row_without_bytes(database: Database) -> Artifact:
    """A row whose bytes are nowhere."""
    now = time.time()
    key = "inputs/ann/job_1/x.png"
    artifact = Artifact(tables.new_id("art"), "ann", "job_1", "inputs", key, "image/png", 9, "0" * 64, now, None)
    database.write_here(insert, artifact)
    return artifact


async def test_a_bucket_that_never_answers_is_given_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        aws(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        artifacts, row = Artifacts(database, "s3://bucket", b"key"), row_without_bytes(database)
        began = time.monotonic()
        operations: list[Awaitable[Any]] = [
            artifacts.add("ann", "inputs", DATA, "image/png"),
            artifacts.load("ann", row.id),
            asyncio.to_thread(artifacts.delete_here, [row]),
        ]
        answers = await asyncio.gather(*operations, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StorageUnavailable] * 3
        assert time.monotonic() - began < 15
        assert rows(database) == [row.id]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "replace"])
async def test_a_full_or_broken_disk_leaves_nothing_half(
    in_folder: tuple[Place, Artifacts], database: Database, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    place, artifacts = in_folder
    kept = await artifacts.add("ann", "inputs", b"before", "image/png")

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number), "/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr(f"serve_app.storage.blobs.os.{call}", fail)
        with pytest.raises(StorageUnavailable) as caught:
            await artifacts.add("ann", "inputs", DATA, "image/png")
    assert caught.value.detail == f"The artifact store does not answer: {os.strerror(number)}."
    assert (place.files(), rows(database)) == ([kept.key], [kept.id])
    assert (await artifacts.add("ann", "inputs", DATA, "image/png")).size == len(DATA)


async def test_no_row_leaves_no_bytes(
    artifacts: Artifacts, place: Place, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StorageUnavailable("The database does not answer.")

    monkeypatch.setattr("serve_app.storage.artifacts.insert", fail)
    with pytest.raises(StorageUnavailable, match="database"):
        await artifacts.add("ann", "inputs", DATA, "image/png")
    assert (place.files(), rows(database)) == ([], [])


def test_no_reader_sees_part_of_a_file(in_folder: tuple[Place, Artifacts], monkeypatch: pytest.MonkeyPatch) -> None:
    place, artifacts = in_folder
    seen: list[list[str]] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        seen.append([Path(name).name[:4] for name in place.files()])
        real(descriptor)

    monkeypatch.setattr("serve_app.storage.blobs.os.fsync", watched)
    artifacts.write_here("ann", "inputs", DATA, "image/png")
    assert "art_" not in seen[0]
    assert seen[-1] == ["art_"]


@pytest.mark.parametrize("url", ["", "relative/folder", "s3://", "ftp://host/x", "file.txt"])
def test_a_place_that_is_none_is_refused(database: Database, url: str) -> None:
    with pytest.raises(InvalidConfig, match="MEDLEY_ARTIFACTS_URL"):
        Artifacts(database, url, b"key")


def test_the_signing_key_is_made_once_and_the_environment_wins(tmp_path: Path) -> None:
    settings = Settings.from_environment({"MEDLEY_HOME": str(tmp_path / "home")})
    key = open_signing_key(settings)
    assert len(key) >= 32
    assert open_signing_key(settings) == key
    assert (tmp_path / "home" / "signing_key").stat().st_mode & 0o777 == 0o600
    assert open_signing_key(dataclasses.replace(settings, signing_key="from outside")) == b"from outside"
    assert open_signing_key(dataclasses.replace(settings, home=tmp_path / "other")) != key


def test_a_signature_is_for_one_artifact_one_time_and_one_key(database: Database, tmp_path: Path) -> None:
    artifacts, others = (Artifacts(database, str(tmp_path), key) for key in (b"key", b"another"))
    artifact = artifacts.write_here("ann", "outputs", b"x", "image/png")
    url = httpx.URL(asyncio.run(artifacts.url(artifact, 60)))
    expires, signature = int(url.params["expires"]), url.params["signature"]
    assert artifacts.verify(artifact.id, expires, signature)
    assert not artifacts.verify(artifact.id, expires + 1, signature)
    assert not artifacts.verify(tables.new_id("art"), expires, signature)
    assert not others.verify(artifact.id, expires, signature)
    assert not any(artifacts.verify(artifact.id, expires, wrong) for wrong in ("", signature[:-1], "é", "\ud800"))
    past = httpx.URL(asyncio.run(artifacts.url(artifact, -1)))
    assert not artifacts.verify(artifact.id, int(past.params["expires"]), past.params["signature"])


# Over HTTP ------------------------------------------------------------------------------------------------------------


class Callers:
    """The envelope's part: `x-user` names the caller; without it only signed URLs get by."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = dict(scope["headers"]).get(b"x-user")
        scope["identity"] = Identity(user.decode()) if user else None
        scope["request_id"] = "r1"
        assert user or is_signed(scope)
        await self.app(scope, receive, send)


def http_client(
    artifacts: Artifacts, user: str | None = "ann", max_bytes: int = 10_000_000, video_s: float = 300
) -> httpx.AsyncClient:
    app = FastAPI()
    gateway = GatewayConfig(
        max_body_mb=max_bytes / 1e6, max_image_pixels=10_000, max_video_s=video_s, public_url="http://medley.example"
    )
    app.include_router(router(artifacts, Usage(artifacts._database, JobsConfig()), gateway))

    async def answer(request: Any, error: Exception) -> Any:
        assert isinstance(error, MedleyError)
        return error_response(error, request.url.path, "r1")

    app.add_exception_handler(MedleyError, answer)
    headers = {"x-user": user} if user else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(Callers(app)), base_url="http://medley.example", headers=headers
    )


@pytest.fixture
async def ann(artifacts: Artifacts) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(artifacts) as client:
        yield client


@pytest.fixture
async def web(in_folder: tuple[Place, Artifacts]) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(in_folder[1]) as client:
        yield client


async def upload(client: httpx.AsyncClient, data: bytes) -> dict[str, Any]:
    answer = await client.post(PATH, files={"file": ("x", data)})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_upload_is_described_and_read_back(ann: httpx.AsyncClient) -> None:
    picture = picture_bytes()
    answer = await ann.post(PATH, files={"file": ("../../evil.exe", picture, "text/html")})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    assert made["url"] == f"http://medley.example{PATH}/{made['id']}"
    assert (made["media_type"], made["size"], made["folder"]) == ("image/png", len(picture), "references")
    assert made["digest"] == hashlib.sha256(picture).hexdigest()
    assert made["created_at"].endswith("Z") and made["expires_at"] > made["created_at"]
    assert (await ann.get(f"{PATH}/{made['id']}/metadata")).json() == made
    back = await ann.get(answer.headers["location"])
    assert (back.status_code, back.content) == (200, picture)
    assert back.headers["content-type"] == "image/png"
    assert back.headers["content-length"] == str(len(picture))
    assert back.headers["content-security-policy"] == "sandbox"
    assert back.headers["content-disposition"] == f'attachment; filename="{made["id"]}.png"'
    head = await ann.head(answer.headers["location"], headers={"range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(back.headers)


@pytest.mark.parametrize(
    ("claimed", "data", "media_type"),
    [
        ("image/jpeg", picture_bytes(), "image/png"),
        ("audio/mpeg", picture_bytes("JPEG"), "image/jpeg"),
        ("video/mp4", wav_bytes(), "audio/wav"),
        ("image/png", film(), "video/mp4"),
        ("video/mp4", film(), "video/mp4"),
        ("audio/mp4", recording("mp4", "aac"), "audio/mp4"),
        ("application/json", b'{"a": [1]}', "application/json"),
    ],
)
async def test_a_body_is_what_it_is_and_not_what_it_claims(
    web: httpx.AsyncClient, claimed: str, data: bytes, media_type: str
) -> None:
    answer = await web.post(PATH, content=data, headers={"content-type": claimed})
    assert (answer.status_code, answer.json()["media_type"]) == (201, media_type)
    answer = await web.post(PATH, files={"file": ("x", data, claimed)})
    assert (answer.status_code, answer.json()["media_type"]) == (201, media_type)


@pytest.mark.parametrize(
    ("status", "field", "sent"),
    [
        (415, "content-type", {"content": picture_bytes(), "headers": {"content-type": "text/html"}}),
        (415, "content-type", {"content": picture_bytes()}),
        (415, "file", {"content": b"<svg/>", "headers": {"content-type": "image/svg+xml"}}),
        (415, "file", {"files": {"file": ("x.html", b"<script>1</script>", "text/html")}}),
        (415, "file", {"files": {"file": ("x", b"MZ" + bytes(500))}}),
        (422, "file", {"content": picture_bytes("JPEG", (90, 90))[:400], "headers": {"content-type": "image/jpeg"}}),
        (422, "file", {"content": picture_bytes(size=(101, 100)), "headers": {"content-type": "image/png"}}),
        (422, "file", {"content": b"{'a'}", "headers": {"content-type": "application/json"}}),
        (422, "file", {"content": b"[" * 200_000, "headers": {"content-type": "application/json"}}),
        (422, "file", {"content": b"", "headers": {"content-type": "image/png"}}),
        (422, "file", {"files": {"file": ("x", b"")}}),
        (422, "file", {"files": {"other": ("x", picture_bytes())}}),
        (422, "file", {"files": [("file", ("x", picture_bytes())), ("file", ("y", picture_bytes()))]}),
        (422, "file", {"files": {"file": ("x", picture_bytes())}, "data": {"folder": "outputs"}}),
        (422, "body", {"content": b"junk", "headers": {"content-type": "multipart/form-data"}}),
    ],
)
async def test_what_is_not_taken_is_refused_and_not_kept(
    web: httpx.AsyncClient, in_folder: tuple[Place, Artifacts], status: int, field: str, sent: dict[str, Any]
) -> None:
    answer = await web.post(PATH, **sent)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field)
    assert in_folder[0].files() == []


async def test_an_upload_has_a_largest_size(in_folder: tuple[Place, Artifacts]) -> None:
    data = picture_bytes()
    async with http_client(in_folder[1], max_bytes=len(data) - 1) as client:
        assert (await client.post(PATH, files={"file": ("x", data)})).status_code == 413
    async with http_client(in_folder[1], max_bytes=len(data)) as client:
        assert (await client.post(PATH, files={"file": ("x", data)})).status_code == 201


def film_with_sound() -> bytes:
    """One second of both."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        pictures: Any = file.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound: Any = file.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        for _ in range(10):
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        file.mux(sound.encode(frame))
        file.mux(pictures.encode(None))
        file.mux(sound.encode(None))
    return buffer.getvalue()


async def test_a_film_that_is_too_long_is_no_recording(in_folder: tuple[Place, Artifacts]) -> None:
    async with http_client(in_folder[1]) as client:
        assert (await upload(client, film_with_sound()))["media_type"] == "video/webm"
    async with http_client(in_folder[1], video_s=0.5) as client:
        answer = await client.post(PATH, files={"file": ("x", film_with_sound())})
        assert (answer.status_code, "longer than the 0.5 s" in answer.json()["detail"]) == (422, True)


async def test_nobody_reads_or_deletes_anothers(artifacts: Artifacts, ann: httpx.AsyncClient) -> None:
    made, unknown = await upload(ann, picture_bytes()), tables.new_id("art")
    async with http_client(artifacts, "bob") as bob:
        assert (await bob.get(PATH)).json() == {"artifacts": [], "next_cursor": None}
        for method, path in [
            ("GET", "{}"),
            ("HEAD", "{}"),
            ("GET", "{}/metadata"),
            ("POST", "{}/url"),
            ("DELETE", "{}"),
        ]:
            theirs, none = [await bob.request(method, f"{PATH}/{path.format(id)}") for id in (made["id"], unknown)]
            assert theirs.status_code == none.status_code == 404
            assert theirs.text.replace(made["id"], unknown) == none.text
    assert (await ann.get(f"{PATH}/{made['id']}")).status_code == 200


@pytest.mark.parametrize("id", ["%2e%2e%2f%2e%2e%2fetc%2fpasswd", "art_..", "art_" + "g" * 28, "art_%00", "x" * 3000])
async def test_paths_are_no_ids(web: httpx.AsyncClient, id: str) -> None:
    assert (await web.get(f"{PATH}/{id}")).status_code == 404
    assert (await web.delete(f"{PATH}/{id}")).status_code == 404


async def test_a_deleted_one_is_gone(ann: httpx.AsyncClient, place: Place) -> None:
    made = await upload(ann, picture_bytes())
    answer = await ann.delete(f"{PATH}/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await ann.get(f"{PATH}/{made['id']}")).status_code == 404
    assert (await ann.delete(f"{PATH}/{made['id']}")).status_code == 404
    assert place.files() == []


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", (0, 99)),
        ("bytes=0-0", (0, 0)),
        ("bytes=10-19", (10, 19)),
        ("Bytes= 10-19 ", (10, 19)),
        ("bytes=90-1000", (90, 99)),
        ("bytes=90-" + "9" * 40, (90, 99)),
        ("bytes=99-", (99, 99)),
        ("bytes=-1", (99, 99)),
        ("bytes=-100", (0, 99)),
        ("bytes=-5000", (0, 99)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=²-", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str | None, part: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == part


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_of_nothing_is_none(header: str, size: int) -> None:
    start, end = byte_range(header, size) or (0, 0)
    assert start > end


async def test_ranges_are_served(ann: httpx.AsyncClient) -> None:
    data = wav_bytes(5)
    path = f"{PATH}/{(await upload(ann, data))['id']}"
    size = len(data)

    async def part(header: str) -> tuple[int, bytes, str | None]:
        answer = await ann.get(path, headers={"range": header})
        assert answer.headers["content-length"] == str(len(answer.content))
        return answer.status_code, answer.content, answer.headers.get("content-range")

    assert await part("bytes=4-9") == (206, data[4:10], f"bytes 4-9/{size}")
    assert await part("bytes=0-") == (206, data, f"bytes 0-{size - 1}/{size}")
    assert await part(f"bytes={size - 3}-{size + 7}") == (206, data[-3:], f"bytes {size - 3}-{size - 1}/{size}")
    assert await part("bytes=-10") == (206, data[-10:], f"bytes {size - 10}-{size - 1}/{size}")
    for ignored in ("bytes=0-1,4-5", "bytes=9-4", "bytes=x-", "lines=1-2"):
        assert await part(ignored) == (200, data, None)
    status, body, where = await part(f"bytes={size}-")
    assert (status, where) == (416, f"bytes */{size}")
    assert json.loads(body)["status"] == 416


async def test_an_etag_saves_the_second_transfer(ann: httpx.AsyncClient) -> None:
    made = await upload(ann, picture_bytes())
    path, etag = f"{PATH}/{made['id']}", f'"{made["digest"]}"'
    assert (await ann.get(path)).headers["etag"] == etag
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = await ann.get(path, headers={"if-none-match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (await ann.get(path, headers={"if-none-match": '"other"'})).status_code == 200
    assert (await ann.get(path, headers={"range": "bytes=0-1", "if-range": etag})).status_code == 206
    assert (await ann.get(path, headers={"range": "bytes=0-1", "if-range": '"other"'})).status_code == 200


async def test_a_signed_url_needs_no_key(ann: httpx.AsyncClient, artifacts: Artifacts, place: Place) -> None:
    picture = picture_bytes()
    made = await upload(ann, picture)
    answer = await ann.post(f"{PATH}/{made['id']}/url", json={"seconds": 60})
    assert answer.status_code == 200
    url = answer.json()["url"]
    if place.url.startswith("s3://"):
        assert place.url.split("/")[2] in url
        async with httpx.AsyncClient() as anyone:
            answer = await anyone.get(url)
            assert answer.headers["content-disposition"].startswith("attachment; filename=")
    else:
        assert url.startswith(made["url"])
        async with http_client(artifacts, None) as anyone, http_client(artifacts, "bob") as bob:
            answer = await anyone.get(url)
            assert (await bob.get(url)).content == picture
            assert (await anyone.head(url)).headers["content-length"] == str(len(picture))
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, picture, "image/png")


async def test_a_tampered_or_old_signed_url_is_refused(
    web: httpx.AsyncClient, in_folder: tuple[Place, Artifacts]
) -> None:
    artifacts = in_folder[1]
    made, other = await upload(web, picture_bytes()), await upload(web, wav_bytes())
    url = httpx.URL((await web.post(f"{PATH}/{made['id']}/url")).json()["url"])
    expires, signature = url.params["expires"], url.params["signature"]
    assert abs(int(expires) - time.time() - 3600) < 60
    tampered = [
        url.copy_set_param("expires", int(expires) + 1),
        url.copy_set_param("expires", "-1"),
        url.copy_set_param("expires", "9" * 5000),
        url.copy_remove_param("expires"),
        url.copy_set_param("signature", signature[::-1]),
        url.copy_set_param("signature", ""),
        url.copy_set_param("signature", "é"),
        url.copy_with(path=f"{PATH}/{other['id']}"),
    ]
    async with http_client(artifacts, None) as anyone, http_client(artifacts, "bob") as bob:
        assert (await anyone.get(url)).status_code == 200
        for wrong in tampered:
            answer = await anyone.get(wrong)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert (await bob.get(wrong)).status_code == 404
            assert (await web.get(wrong)).status_code == 200  # the owner's key needs no signature
        with contextlib.ExitStack() as later:
            patch = later.enter_context(pytest.MonkeyPatch.context())
            patch.setattr("serve_app.storage.artifacts.time.time", lambda: int(expires))
            assert (await anyone.get(url)).status_code == 401
        assert (await anyone.get(url)).status_code == 200
        await web.delete(f"{PATH}/{made['id']}")
        assert (await anyone.get(url)).status_code == 404


@pytest.mark.parametrize(
    "body", ['{"seconds": 0}', '{"seconds": 604801}', '{"seconds": "x"}', '{"second": 5}', "[", "7"]
)
async def test_a_signed_url_is_asked_for_in_bounds(web: httpx.AsyncClient, body: str) -> None:
    made = await upload(web, picture_bytes())
    assert (await web.post(f"{PATH}/{made['id']}/url", content=body)).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "query", "signed"),
    [
        ("GET", f"{PATH}/art_{'0' * 28}", b"expires=1&signature=2", True),
        ("HEAD", f"{PATH}/art_{'0' * 28}", b"expires=1&signature=2", True),
        ("DELETE", f"{PATH}/art_{'0' * 28}", b"expires=1&signature=2", False),
        ("POST", f"{PATH}/art_{'0' * 28}/url", b"expires=1&signature=2", False),
        ("GET", f"{PATH}/art_{'0' * 28}/metadata", b"expires=1&signature=2", False),
        ("GET", f"{PATH}/art_{'0' * 28}", b"", False),
        ("GET", PATH, b"expires=1&signature=2", False),
        ("GET", f"{PATH}/art_{'0' * 28}\n", b"expires=1&signature=2", False),
        ("GET", "/api/v1/models", b"expires=1&signature=2", False),
    ],
)
def test_only_reading_one_artifact_goes_by_a_signature(method: str, path: str, query: bytes, signed: bool) -> None:
    assert is_signed({"type": "http", "method": method, "path": path, "query_string": query}) is signed


async def test_the_list_is_paged_newest_first(web: httpx.AsyncClient) -> None:
    made: list[str] = []
    for _ in range(5):
        made.insert(0, (await upload(web, picture_bytes()))["id"])
        await asyncio.sleep(0.003)  # ids sort by the millisecond
    seen: list[list[str]] = []
    cursor: str | None = None
    while True:
        page = (await web.get(PATH, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        seen.append([row["id"] for row in page["artifacts"]])
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == [made[:2], made[2:4], made[4:]]
    whole = (await web.get(PATH, params={"limit": 5})).json()
    assert (len(whole["artifacts"]), whole["next_cursor"]) == (5, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", value) for value in ("0", "101", "-1", "x", "1.5", "", "9" * 5000, "²")]
    + [("cursor", value) for value in ("", "x", "é", "AAAA", "../..", "YXJ0X19f", "%00", "A" * 43)],
)
async def test_a_list_is_asked_for_in_bounds(web: httpx.AsyncClient, name: str, value: str) -> None:
    answer = await web.get(PATH, params={name: value})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)


async def test_while_the_store_is_away_the_answer_is_503(
    web: httpx.AsyncClient, in_folder: tuple[Place, Artifacts]
) -> None:
    path = f"{PATH}/{(await upload(web, picture_bytes()))['id']}"
    in_folder[0].stop()
    for answer in (await web.get(path), await web.delete(path), await web.post(PATH, files={"file": picture_bytes()})):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["type"].endswith("storage-unavailable")
    in_folder[0].start()
    assert (await web.get(path)).content == picture_bytes()
