"""The step cache: answers of earlier steps with the same user, model revision, method, parameters, seed and inputs.

A sampled answer without a seed is not kept: a user who repeats the request expects a different answer.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from ..errors import StorageUnavailable
from ..models.registry import Model
from ..steps import StepCall
from ..storage.compiled_statement import insert_new
from ..storage.database import Database
from ..storage.tables import now, step_cache
from .job import StepRecord

REVISION_TTL_S = 1.0  # how long a model's revision is reused before the model is called for it again


class CachedAnswer(NamedTuple):
    output: str
    model: str


class StepCache:
    """The cached answers of a profile's models.

    Args:
        revision: gets a model's revision, a digest of its weights, options and version.
    """

    def __init__(self, database: Database, revision: Callable[[Model], Awaitable[str]]) -> None:
        self._database = database
        self._revision = revision
        self._known: dict[str, tuple[float, str]] = {}

    async def lookup(self, user: str, call: StepCall, digest: str) -> CachedAnswer | None:
        """The cached answer of the call's first candidate, if there is one and the step may be cached."""
        if not cacheable(call):
            return None
        model = call.candidates[0]
        try:
            key = await self._key(user, model, digest)
            return await self._database.write(_find, key)
        except StorageUnavailable:
            return None  # the model answers instead

    async def keep(self, user: str, call: StepCall, digest: str, record: StepRecord, size: int) -> None:
        """Cache an answer, if the step may be cached."""
        model = next((candidate for candidate in call.candidates if candidate.name == record.model), None)
        if model is None or not cacheable(call):
            return
        try:
            key = await self._key(user, model, digest)
            await self._database.write(_keep, key, user, record, size)
        except StorageUnavailable:
            return

    async def _key(self, user: str, model: Model, digest: str) -> str:
        read_at, revision = self._known.get(model.name, (0.0, ""))
        if time.monotonic() - read_at > REVISION_TTL_S:
            revision = await self._revision(model)
            self._known[model.name] = (time.monotonic(), revision)
        return hashlib.sha256("\0".join((user, model.name, revision, digest)).encode()).hexdigest()


def cacheable(call: StepCall) -> bool:
    """Whether equal calls have equal answers: nothing is sampled, or the caller set the seed."""
    if not call.signature.sampled:
        return True
    return call.kwargs.get("seed") is not None or call.kwargs.get("temperature") == 0


def trim(connection: Connection, most_bytes: int) -> int:
    """Delete the least recently used answers until the rest fits in `most_bytes`; returns how many were deleted."""
    total = connection.execute(select(func.coalesce(func.sum(step_cache.c.size), 0))).scalar() or 0
    dropped = 0
    oldest = select(step_cache.c.key, step_cache.c.size).order_by(step_cache.c.used_at)
    for key, size in connection.execute(oldest).all() if total > most_bytes else ():
        connection.execute(delete(step_cache).where(step_cache.c.key == key))
        total, dropped = total - size, dropped + 1
        if total <= most_bytes:
            break
    return dropped


def _find(connection: Connection, key: str) -> CachedAnswer | None:
    used = update(step_cache).where(step_cache.c.key == key).values(used_at=now())
    row = connection.execute(used.returning(step_cache.c.output, step_cache.c.model)).first()
    return None if row is None else CachedAnswer(row.output, row.model)


def _keep(connection: Connection, key: str, user: str, record: StepRecord, size: int) -> None:
    row = {"key": key, "user_id": user, "model": record.model, "output": record.output, "size": size}
    connection.execute(insert_new(connection, step_cache, **row, created_at=now(), used_at=now()))
