"""The identity that a run acts for, and the context in which every layer can read it."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

EVERYTHING = frozenset({"*"})  # the scopes of a key without restrictions
DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and project a request or a job acts for, and the scopes of its credential."""

    user: str
    project: str = DEFAULT_PROJECT
    scopes: frozenset[str] = EVERYTHING


_current: ContextVar[Identity | None] = ContextVar("identity", default=None)


def current_identity() -> Identity | None:
    """The identity that the calling task acts for; None outside requests and jobs."""
    return _current.get()


@contextmanager
def acting_as(identity: Identity | None) -> Generator[None]:
    """Code in this block, and tasks begun in it, act for `identity`."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)
