"""Tasks that a call has a provider do. A task is billed when it is created, so a call that is repeated, because its
replica was lost or its job went to another worker, takes its tasks up again.

The caller of a backend (`progress.following`) hands in the tasks of earlier attempts and keeps those that are told.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TaskCreated:
    """A task that a call has created at a provider: an item of a followed call, before its answer."""

    task: str  # for `Tasks` of a later attempt


class Tasks:
    """The provider's tasks of one call.

    Args:
        earlier: tasks of earlier attempts, not taken up yet.
        tell: keeps a task that was created.
    """

    def __init__(self, earlier: Iterable[str] = (), tell: Callable[[TaskCreated], None] = lambda task: None) -> None:
        self._earlier, self._tell = list(earlier), tell

    def take_up(self, request: str) -> str | None:
        """The provider's id of a task that an earlier attempt created for the same request; None if there is none."""
        for task in self._earlier:
            asked, _, id = task.partition(":")
            if asked == request:
                self._earlier.remove(task)
                return id
        return None

    def created(self, request: str, id: str) -> None:
        """Keep a task for later attempts."""
        self._tell(TaskCreated(f"{request}:{id}"))


def digest_of(*request: Any) -> str:
    """A short name for a request to a provider, by which its task is found again."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


_tasks: ContextVar[Tasks | None] = ContextVar("tasks", default=None)


@contextmanager
def calling(tasks: Tasks) -> Iterator[None]:
    """Calls made in here, and tasks begun in here, have these provider's tasks."""
    token = _tasks.set(tasks)
    try:
        yield
    finally:
        _tasks.reset(token)


def tasks_of_call() -> Tasks:
    """The provider's tasks of the present call. It may always be called: perhaps nobody keeps them."""
    return _tasks.get() or Tasks()
