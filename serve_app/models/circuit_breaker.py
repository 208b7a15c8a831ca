"""A circuit breaker for models: a model that keeps failing is tried last until its cooldown is over."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

FAILURES = 3  # in a row, then the circuit opens
COOLDOWN_S = 30.0


class Named(Protocol):
    """A model, of which only the name matters here."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


class CircuitBreaker:
    """The failures of models, and the order in which calls try them.

    If a `method` of a model fails `failures` times in a row, its circuit opens for `cooldown_s` seconds: calls try the
    model after all others, so it still answers where no other model does. After the cooldown one call probes the model
    in its usual place; the result closes the circuit or opens it again. Methods are counted separately, since a model
    may not have them all: a painter that cannot edit goes on painting. For use in one event loop, that of the runs.

    Args:
        failures: calls in a row without an answer.
        cooldown_s: seconds that the circuit stays open.
        clock: gives seconds that never go back.
    """

    def __init__(
        self, failures: int = FAILURES, cooldown_s: float = COOLDOWN_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures, self._cooldown_s, self._clock = failures, cooldown_s, clock
        self._failed: dict[tuple[str, str], int] = {}  # by model and method; empty while no model fails
        self._open_until: dict[tuple[str, str], float] = {}

    def order(self, candidates: tuple[N, ...], method: str) -> tuple[N, ...]:
        """The candidates in the order to try them: those with an open circuit last, each group in its order."""
        if not self._open_until or len(candidates) == 1:
            return candidates
        now = self._clock()
        first: list[N] = []
        last: list[N] = []
        for model in candidates:
            key = (model.name, method)
            until = self._open_until.get(key)
            if until is None:
                first.append(model)
            elif now < until:
                last.append(model)
            else:
                if not first:  # this call probes the model, and is the only one to do so for another cooldown
                    self._open_until[key] = now + self._cooldown_s
                first.append(model)
        return (*first, *last)

    def answered(self, name: str, method: str) -> None:
        """Close the circuit of a model that answered."""
        if self._failed:
            self._failed.pop((name, method), None)
            self._open_until.pop((name, method), None)

    def failed(self, name: str, method: str) -> None:
        """Count a failure of a model, and open its circuit after too many in a row."""
        key = (name, method)
        self._failed[key] = count = self._failed.get(key, 0) + 1
        if count >= self._failures:
            self._open_until[key] = self._clock() + self._cooldown_s
