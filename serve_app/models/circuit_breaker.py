"""A circuit breaker for models: one that keeps failing is not asked first while it rests."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

FAILURES = 3  # in a row, then it rests
COOLDOWN_S = 30.0


class Named(Protocol):
    """What has a name: a model."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


class CircuitBreaker:
    """Remembers which models failed, and puts those that rest behind the others.

    A model whose `method` failed `failures` times in a row rests from it for `rest_s` seconds: it is asked after all
    others, so that it still answers where nobody else does. After the rest one call asks it in its place again; what
    comes of it decides whether it is back or rests once more. Methods are counted apart, since a model may not have
    them all: a painter that cannot edit goes on painting. For one event loop, that of the runs.

    Args:
        failures: calls in a row without an answer.
        rest_s: seconds.
        clock: seconds that never go back.
    """

    def __init__(
        self, failures: int = FAILURES, rest_s: float = COOLDOWN_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._rest_s, self._clock = failures, rest_s, clock
        self._failed: dict[tuple[str, str], int] = {}  # by model and method; empty while all is well
        self._rests_until: dict[tuple[str, str], float] = {}

    def order(self, candidates: tuple[N, ...], method: str) -> tuple[N, ...]:
        """The candidates as they are to be asked: those that rest come last, each group in its order."""
        if not self._rests_until or len(candidates) == 1:
            return candidates
        now = self._clock()
        first: list[N] = []
        last: list[N] = []
        for model in candidates:
            key = (model.name, method)
            until = self._rests_until.get(key)
            if until is None:
                first.append(model)
            elif now < until:
                last.append(model)
            else:
                if not first:  # this call asks it, and is the only one to do so for another rest
                    self._rests_until[key] = now + self._rest_s
                first.append(model)
        return (*first, *last)

    def answered(self, name: str, method: str) -> None:
        """A model answered: all is forgotten."""
        if self._failed:
            self._failed.pop((name, method), None)
            self._rests_until.pop((name, method), None)

    def failed(self, name: str, method: str) -> None:
        """A model could not answer."""
        key = (name, method)
        self._failed[key] = count = self._failed.get(key, 0) + 1
        if count >= self._most:
            self._rests_until[key] = self._clock() + self._rest_s
