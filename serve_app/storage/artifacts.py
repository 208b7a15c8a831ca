"""Artifacts: the input and output files of jobs. The bytes are in a folder or a bucket; the database has one row each.

A row is written after its bytes and deleted after them, so every row has complete bytes. Bytes without a row have no
owner; `delete_job_here` deletes those that a job left behind.
"""

import asyncio
import contextlib
import functools
import hashlib
import hmac
import itertools
import re
import secrets
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, or_, select

from deployments.media import ARTIFACT_ID, Media

from ..config.schema import DAY_S
from ..config.settings import Settings
from ..errors import NotFound, StorageUnavailable
from . import tables
from .blobs import open_store
from .compiled_statement import insert_new
from .database import Database
from .secret_file import open_secret

Folder = Literal["inputs", "outputs", "references", "temp"]

FOLDERS: tuple[Folder, ...] = ("inputs", "outputs", "references", "temp")
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
PATH = "/api/v1/artifacts"
SIGNING_KEY_FILE = "signing_key"
KEEP_S = 7 * DAY_S
ORPHAN_BATCH = 500


@dataclass(frozen=True)
class Artifact:
    """The metadata of a file; times are seconds since the epoch."""

    id: str
    user_id: str
    job_id: str | None
    folder: Folder
    key: str  # where the store keeps the bytes
    media_type: str
    size: int  # bytes
    digest: str  # SHA-256, hexadecimal
    created_at: float
    expires_at: float | None  # None: never

    @property
    def name(self) -> str:
        """A file name that is safe anywhere."""
        return self.key.rpartition("/")[2]


class Artifacts:
    """The artifacts of a service.

    Args:
        database: the database with the rows.
        url: an absolute folder, or `s3://bucket/prefix` with endpoint and credentials from the usual AWS_* variables.
        signing_key: signs the URLs of a folder; S3 signs its own.
        keep_s: seconds until a new artifact expires; None keeps it until it is deleted.

    Raises:
        InvalidConfig: the URL is neither a folder nor a bucket.
    """

    def __init__(self, database: Database, url: str, signing_key: bytes, keep_s: float | None = KEEP_S) -> None:
        self._database = database
        self._store = open_store(url)
        self._signing_key = signing_key
        self._keep_s = keep_s

    def write_here(
        self, user: str, folder: Folder, data: bytes, media_type: str, *, job_id: str | None = None, name: str = ""
    ) -> Artifact:
        """Store the bytes, in the calling thread; the caller must `insert` the row.

        Raises:
            StorageUnavailable: the store does not answer or is full; nothing was stored.
        """
        id = tables.new_id("art")
        media_type = media_type if MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream"
        label = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
        suffix = re.sub(r"[^A-Za-z0-9.+-]+", "-", Media(b"", media_type).suffix)[:20]
        key = f"{_prefix(folder, user, job_id)}{id}{'-' if label else ''}{label}{suffix}"
        self._store.put(key, data)
        created = time.time()  # only the difference to `expires` counts: `insert` uses the database's clock
        expires = None if self._keep_s is None else created + self._keep_s
        digest = hashlib.sha256(data).hexdigest()
        return Artifact(id, user, job_id, folder, key, media_type, len(data), digest, created, expires)

    async def write(
        self, user: str, folder: Folder, data: bytes, media_type: str, *, job_id: str | None = None, name: str = ""
    ) -> Artifact:
        """Store the bytes in a thread, see `write_here`."""
        write = functools.partial(self.write_here, user, folder, data, media_type, job_id=job_id, name=name)
        return await asyncio.to_thread(write)

    async def add(
        self, user: str, folder: Folder, data: bytes, media_type: str, *, job_id: str | None = None, name: str = ""
    ) -> Artifact:
        """Store an artifact's bytes and row.

        Raises:
            StorageUnavailable: the store or the database does not answer.
        """
        artifact = await self.write(user, folder, data, media_type, job_id=job_id, name=name)
        try:
            return await self._database.write(_insert_and_read, artifact)
        except BaseException:
            with contextlib.suppress(StorageUnavailable):
                await asyncio.to_thread(self._store.delete, [artifact.key])
            raise

    async def find(self, user: str, id: str) -> Artifact:
        """The user's artifact with an id.

        Raises:
            NotFound: no artifact has the id, it is another user's or it has expired; the error does not reveal which.
            StorageUnavailable: the database does not answer.
        """
        return _existing(id, await self._database.read(_read, id, user))

    def find_here(self, user: str, id: str) -> Artifact:
        """The user's artifact with an id, see `find`; in the calling thread."""
        return _existing(id, self._database.read_here(_read, id, user))

    async def find_signed(self, id: str) -> Artifact:
        """The artifact with an id, for the holder of a signed URL; call `verify` first."""
        return _existing(id, await self._database.read(_read, id, None))

    async def page(self, user: str, limit: int, before: str | None = None) -> list[Artifact]:
        """The user's artifacts, newest first; `before` is the last id of the previous page."""
        return await self._database.read(_page, user, limit, before)

    def load_here(self, user: str, id: str) -> tuple[Artifact, bytes]:
        """The user's artifact with its bytes, in the calling thread.

        Raises:
            NotFound: as `find`.
            StorageUnavailable: the store or the database does not answer, or the bytes have changed.
        """
        artifact = self.find_here(user, id)
        data = self._read(artifact, 0, artifact.size)
        if hashlib.sha256(data).hexdigest() != artifact.digest:
            raise _damaged(artifact)
        return artifact, data

    def opener(self, user: str) -> Callable[[str], bytes]:
        """A function that returns the bytes of a user's artifact, for the validation of media."""
        return lambda id: self.load_here(user, id)[1]

    async def load(self, user: str, id: str) -> tuple[Artifact, bytes]:
        """The user's artifact with its bytes, loaded in a thread, see `load_here`."""
        return await asyncio.to_thread(self.load_here, user, id)

    async def chunks(self, artifact: Artifact, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` to `end`, both included, piece by piece, so that they are never all in memory.

        Raises:
            NotFound: the artifact was deleted.
            StorageUnavailable: the store does not answer, or has lost some of the bytes.
        """
        stop = artifact.size if end is None else min(end + 1, artifact.size)
        for at in range(start, stop, self._store.piece):
            yield await asyncio.to_thread(self._read, artifact, at, min(at + self._store.piece, stop))

    def _read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        data = self._store.read(artifact.key, start, stop) if stop > start else b""
        if data is None:
            raise _not_found(artifact.id)
        if len(data) != stop - start:
            raise _damaged(artifact)
        return data

    async def url(self, artifact: Artifact, seconds: int) -> str:
        """A URL at which anyone may read the artifact for some seconds: the bucket's (at most a week), or a path here.

        Raises:
            StorageUnavailable: S3 has no credentials to sign with.
        """
        address = await asyncio.to_thread(self._store.sign, artifact.key, artifact.media_type, artifact.name, seconds)
        if address:
            return address
        expires = int(time.time()) + seconds
        return f"{PATH}/{artifact.id}?expires={expires}&signature={self._signature(artifact.id, expires)}"

    def verify(self, id: str, expires: int, signature: str) -> bool:
        """Whether this service made the signature, and it has not expired."""
        expected = self._signature(id, expires).encode()
        # The comparison comes first, so that the response time reveals nothing.
        matches = hmac.compare_digest(signature.encode(errors="replace"), expected)
        return matches and time.time() < expires

    def _signature(self, id: str, expires: int) -> str:
        return hmac.new(self._signing_key, f"artifact\n{id}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def delete_here(self, artifacts: Sequence[Artifact]) -> None:
        """Delete artifacts, bytes first, then rows. Idempotent.

        Raises:
            StorageUnavailable: some artifacts may be left, each with its row.
        """
        if artifacts:
            self._store.delete([artifact.key for artifact in artifacts])
            self._database.write_here(_delete, [artifact.id for artifact in artifacts])

    async def discard(self, artifacts: Sequence[Artifact]) -> None:
        """Delete the bytes of artifacts that were stored and never inserted. What cannot be deleted now is an orphan,
        see `delete_orphans_here`."""
        with contextlib.suppress(StorageUnavailable):
            await asyncio.to_thread(self._store.delete, [artifact.key for artifact in artifacts])

    def delete_orphans_here(self, older_than_s: float = DAY_S) -> int:
        """Delete bytes without a row that are older than `older_than_s`; returns how many. Blocks for as long as the
        store takes to list everything.

        Raises:
            StorageUnavailable: the store or the database does not answer; the next sweep deletes the rest.
        """
        before, deleted = time.time() - older_than_s, 0
        old = (key for folder in FOLDERS for key in self._store.older(f"{folder}/", before))
        while batch := list(itertools.islice(old, ORPHAN_BATCH)):
            ids = {found[0]: key for key in batch if (found := ARTIFACT_ID.search(key.rpartition("/")[2]))}
            kept = self._database.read_here(_existing_ids, list(ids))
            orphans = [key for key in batch if key not in {ids[id] for id in kept}]
            self._store.delete(orphans)
            deleted += len(orphans)
        return deleted

    def delete_job_here(self, user: str, job_id: str) -> None:
        """Delete every file of a job, including files without a row because a worker died."""
        rows = self._database.read_here(_of_job, user, job_id)
        files = [key for folder in FOLDERS for key in self._store.names(_prefix(folder, user, job_id))]
        self._store.delete(sorted({*files, *(artifact.key for artifact in rows)}))
        if rows:
            self._database.write_here(_delete, [artifact.id for artifact in rows])

    def expire_here(self, limit: int = 500) -> int:
        """Delete at most `limit` artifacts that have expired by the database's clock; returns how many."""
        artifacts = self._database.read_here(_expired, limit)
        self.delete_here(artifacts)
        return len(artifacts)


def open_signing_key(settings: Settings) -> bytes:
    """The signing key: MEDLEY_SIGNING_KEY, else the content of a file that is made once and only its owner can read."""
    if settings.signing_key:
        return settings.signing_key.encode()
    key, _ = open_secret(settings.home / SIGNING_KEY_FILE, lambda: secrets.token_urlsafe(32))
    return key.encode()


def _prefix(folder: Folder, user: str, job_id: str | None) -> str:
    return f"{folder}/{_segment(user)}/{_segment(job_id or 'uploads')}/"


def _segment(text: str) -> str:
    """A text as one part of a path: no slash, no dot, never empty, at most 120 characters, unique for each text."""
    quoted = urllib.parse.quote(text, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    if 0 < len(quoted) <= 120:
        return quoted
    return "%" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


# The rows ------------------------------------------------------------------------------------------------------------


def insert(connection: Connection, artifact: Artifact) -> None:
    """Insert an artifact's row, with times by the database's clock, in the caller's transaction. Idempotent."""
    keep = None if artifact.expires_at is None else artifact.expires_at - artifact.created_at
    row = insert_new(
        connection,
        tables.artifacts,
        id=artifact.id,
        user_id=artifact.user_id,
        job_id=artifact.job_id,
        folder=artifact.folder,
        key=artifact.key,
        media_type=artifact.media_type,
        size=artifact.size,
        digest=artifact.digest,
        created_at=tables.now(),
        expires_at=None if keep is None else tables.now() + keep,
    )
    connection.execute(row)


def _insert_and_read(connection: Connection, artifact: Artifact) -> Artifact:
    insert(connection, artifact)
    row = connection.execute(select(tables.artifacts).where(tables.artifacts.c.id == artifact.id)).one()
    return Artifact(**row._mapping)  # pyright: ignore[reportPrivateUsage]  # public, but for its name


def _not_expired() -> ColumnElement[bool]:
    expires = tables.artifacts.c.expires_at
    return or_(expires.is_(None), expires > tables.now())


def _select(connection: Connection, *conditions: ColumnElement[bool], limit: int | None = None) -> list[Artifact]:
    query = select(tables.artifacts).where(*conditions).order_by(tables.artifacts.c.id.desc()).limit(limit)
    return [Artifact(**row) for row in connection.execute(query).mappings()]


def _read(connection: Connection, id: str, user: str | None) -> Artifact | None:
    if not ARTIFACT_ID.fullmatch(id):
        return None
    mine = [] if user is None else [tables.artifacts.c.user_id == user]
    return next(iter(_select(connection, tables.artifacts.c.id == id, _not_expired(), *mine)), None)


def _page(connection: Connection, user: str, limit: int, before: str | None) -> list[Artifact]:
    older = [] if before is None else [tables.artifacts.c.id < before]
    return _select(connection, tables.artifacts.c.user_id == user, _not_expired(), *older, limit=limit)


def _of_job(connection: Connection, user: str, job_id: str) -> list[Artifact]:
    return _select(connection, tables.artifacts.c.user_id == user, tables.artifacts.c.job_id == job_id)


def _expired(connection: Connection, limit: int) -> list[Artifact]:
    return _select(connection, tables.artifacts.c.expires_at <= tables.now(), limit=limit)


def _existing_ids(connection: Connection, ids: Sequence[str]) -> list[str]:
    return list(connection.execute(select(tables.artifacts.c.id).where(tables.artifacts.c.id.in_(ids))).scalars())


def _delete(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(delete(tables.artifacts).where(tables.artifacts.c.id.in_(ids)))


def _existing(id: str, artifact: Artifact | None) -> Artifact:
    if artifact is None:
        raise _not_found(id)
    return artifact


def _not_found(id: str) -> NotFound:
    return NotFound(f"There is no artifact {id[:64]!r}.")


def _damaged(artifact: Artifact) -> StorageUnavailable:
    return StorageUnavailable(f"The bytes of artifact {artifact.id} have changed since they were stored.")
