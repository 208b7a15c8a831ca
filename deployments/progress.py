"""How far a call is, told from inside a model to whoever follows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Tell = Callable[[float], None]  # the fraction that is done, 0 to 1; may be called from any thread


@dataclass(frozen=True)
class Progress:
    """What a call that is followed gives before its answer."""

    fraction: float  # 0 to 1


_follower: ContextVar[Tell | None] = ContextVar("follower", default=None)


@contextmanager
def followed_by(tell: Tell) -> Iterator[None]:
    """Calls made in here, and tasks begun in here, tell how far they are."""
    token = _follower.set(tell)
    try:
        yield
    finally:
        _follower.reset(token)


def teller() -> Tell:
    """Where the call that asks this tells how far it is. It may always be called: perhaps nobody listens."""
    return _follower.get() or (lambda fraction: None)
