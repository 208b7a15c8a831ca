"""A run: one execution of a graph on behalf of an identity. `Executor.execute` is the only place where a Run is made.

A graph does not see its surroundings: its parameters are proxies with the capability's methods, and each call of a
proxy is a step (`steps.py`).
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel

from .config.schema import AUTO, DEFAULT
from .errors import UnpaidRun
from .graph import Graph
from .identity import Identity, acting_as
from .models.methods import Method, methods_of
from .models.registry import Model, Models
from .steps import Journal, Observer, Step, StepCall, Steps


@dataclass(frozen=True)
class RunOptions:
    """The options of a run.

    Args:
        respond_async: answer with the job at once.
        wait_s: seconds to wait for the result before the run goes on as a job; None: until it ends.
        idempotency_key: the request's key; an equal request with the same key gets the same job.
        priority: the job's priority, -10 to 10; higher first.
        timeout_s: longest the run may take, in seconds; None: the service's limit.
        webhook: URL that is called when the job has ended.
    """

    respond_async: bool = False
    wait_s: float | None = None
    idempotency_key: str | None = None
    priority: int = 0
    timeout_s: float | None = None
    webhook: str | None = None

    @property
    def durable(self) -> bool:
        """Whether the run must be a job from the start."""
        return self.respond_async or self.idempotency_key is not None or self.webhook is not None

    def limited_s(self, longest_s: float) -> float:
        """Longest the run may take where a run may take `longest_s` seconds at most."""
        return longest_s if self.timeout_s is None else min(self.timeout_s, longest_s)


DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True)
class Executor:
    """The models, prices and observers that the runs of one process share.

    Args:
        models: the profile's models.
        prices: credits that a run of a graph costs, by the graph's name; others cost none.
        longest_s: longest a run may take, in seconds; infinity: any time.
        observers: follow every run.
    """

    models: Models
    prices: Mapping[str, int] = field(default_factory=dict[str, int])
    longest_s: float = math.inf
    observers: tuple[Observer, ...] = ()

    def price(self, graph: Graph[..., Any]) -> int:
        """Credits that a run of the graph costs."""
        return self.prices.get(graph.name, 0)

    def execute(
        self,
        graph: Graph[..., Any],
        call: BaseModel,
        identity: Identity,
        options: RunOptions = DEFAULT_OPTIONS,
        *,
        journal: Journal | None = None,
        observers: tuple[Observer, ...] = (),
        streams: bool = False,
    ) -> "Run":
        """A run of a graph, not begun; call this where an event loop runs.

        Args:
            call: the validated request, with the models it names (`graph.call`).
            journal: keeps what steps answer; a graph with a price needs one that is paid when the run begins.
            observers: follow this run, beside those that follow every run.
            streams: whether a client follows the pieces of a graph that streams; else models answer as a whole.
        """
        followers = (*self.observers, *observers, *((journal,) if journal else ()))
        steps = Steps(self.models, followers, journal, options.limited_s(self.longest_s), graph.name)
        return Run(graph, call, identity, steps, self.price(graph), journal, streams)


T = TypeVar("T")

_END = object()  # of a graph's pieces


class Run:
    """One execution of a graph. Either `result` or `pieces` is used, once."""

    def __init__(
        self,
        graph: Graph[..., Any],
        call: BaseModel,
        identity: Identity,
        steps: Steps,
        price: int = 0,
        journal: Journal | None = None,
        streams: bool = False,
    ) -> None:
        self.graph, self.call, self.identity = graph, call, identity
        self._steps, self._price, self._journal, self._streams = steps, price, journal, streams
        self._models = graph.models_of(call)  # that the call names, by parameter

    @property
    def steps(self) -> list[Step]:
        """The steps so far, in the order they began."""
        return self._steps.all

    def observe(self, observer: Observer) -> None:
        """Have one more observer follow the run from here on."""
        self._steps.observers = (*self._steps.observers, observer)

    async def result(self) -> Any:
        """The graph's result; for a graph that streams, all its pieces joined.

        Raises:
            MedleyError: the input is bad, no model could answer, or the time is over.
        """
        self._check_paid()
        if self.graph.piece is not None:
            return await self._joined()
        try:
            with acting_as(self.identity):
                return await self._steps.within(self.graph.function(self.call, **self._proxies()))
        finally:
            await self._steps.end()

    async def pieces(self) -> AsyncGenerator[Any]:
        """The pieces of a graph that streams, as they come; for any other graph its result.

        Raises:
            MedleyError: as `result`.
        """
        if self.graph.piece is None:
            yield await self.result()
            return
        self._check_paid()
        deadline = Deadline(self._steps.deadline, self._steps.timed_out)
        try:
            async with aclosing(self.graph.function(self.call, **self._proxies())) as pieces:
                while True:
                    self._steps.driven()  # each time: a server may continue in another task
                    with acting_as(self.identity):  # not around the `yield`: the caller's context is its own
                        piece = await deadline.next(pieces, _END)
                    if piece is _END:
                        return
                    if self._streams:
                        self._steps.tell_piece(piece)
                    yield piece
        finally:
            deadline.close()
            await self._steps.end()

    def model(self, parameter: str, capability: type[Any], usual: str | None = None) -> Any:
        """The object that a graph's parameter is bound to: it has the capability's methods, whose calls are steps.

        Args:
            usual: the model's name if the call names none; None: the profile's order.

        Raises:
            MedleyError: the profile has no such model.
        """
        models = self._steps.models
        name = models.meant(self._models.get(parameter) or DEFAULT)
        name = usual if name == DEFAULT else name
        candidates = models.offering(capability) if name in (None, AUTO) else (models.named(name, capability),)
        return Proxy(self._steps, parameter, capability, candidates, name == AUTO, self._streams)

    async def _joined(self) -> BaseModel:
        async with aclosing(self.pieces()) as pieces:
            return self.graph.join([piece async for piece in pieces])

    def _proxies(self) -> dict[str, Any]:
        return {
            parameter: self.model(parameter, offered, AUTO if parameter in self.graph.auto else None)
            for parameter, offered in self.graph.capabilities.items()
        }

    def _check_paid(self) -> None:
        if self._price and not (self._journal and self._journal.paid):
            raise UnpaidRun(f"A run of {self.graph.name} costs {self._price} credits, and none are reserved for it.")


class Proxy:
    """One parameter of a running graph: the capability's methods, over the models that offer it.

    Args:
        candidates: the models that may answer, first choice first.
        auto: whether the selector orders the candidates for each call.
        streams: whether a client follows pieces; else a method that streams is answered by its whole method.
    """

    __slots__ = ("_auto", "_candidates", "_capability", "_parameter", "_steps", "_streams")

    def __init__(
        self,
        steps: Steps,
        parameter: str,
        capability: type[Any],
        candidates: tuple[Model, ...],
        auto: bool = False,
        streams: bool = True,
    ) -> None:
        self._steps, self._parameter, self._capability, self._candidates = steps, parameter, capability, candidates
        self._auto, self._streams = auto, streams

    def __getattr__(self, method: str) -> Callable[..., Any]:
        signature = methods_of(self._capability).get(method)
        if signature is None:
            raise AttributeError(f"{self._capability.__name__} has no method {method!r}")
        if not signature.streams:
            return partial(self._answer, method, signature)
        if signature.whole and not (self._streams and self._able(method)):
            return partial(self._whole_in_pieces, signature)
        return partial(self._items, method, signature)

    def _able(self, method: str) -> tuple[Model, ...]:
        """The candidates that implement `method`: calling any other might start a model that sleeps, only to refuse."""
        return tuple(model for model in self._candidates if method not in model.lacks)

    def _call(self, method: str, signature: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
        candidates = self._able(method) or self._candidates[:1]  # if all would refuse, the first says so
        if self._auto:
            candidates = self._steps.models.selected(candidates, signature, args, kwargs)
        name, capability = f"{self._parameter}.{method}", self._capability.__name__
        return StepCall(name, capability, method, signature, candidates, args, kwargs)

    async def _answer(self, method: str, signature: Method, /, *args: Any, **kwargs: Any) -> Any:
        return await self._steps.answer(self._call(method, signature, args, kwargs))

    def _items(self, method: str, signature: Method, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        return self._steps.items(self._call(method, signature, args, kwargs))

    async def _whole_in_pieces(self, signature: Method, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        whole = methods_of(self._capability)[signature.whole]
        answer = await self._answer(signature.whole, whole, *args, **kwargs)
        for piece in signature.returns.split(answer):
            yield piece


class Deadline:
    """The deadline of a stream: cancels the task that waits for the next item when the time is over. One timer serves
    the whole stream, since one per item would cost as much as the item.

    Args:
        at: by the event loop's clock; None: never.
        error: makes what is raised then.
    """

    __slots__ = ("_error", "_expired", "_task", "_timer")

    def __init__(self, at: float | None, error: Callable[[], Exception]) -> None:
        self._error, self._expired = error, False
        self._task: asyncio.Task[Any] | None = None
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self._expire)

    async def next(self, items: AsyncIterator[T], end: Any) -> T | Any:
        """The next item, or `end`.

        Raises:
            Exception: the time is over.
        """
        if self._expired:
            raise self._error()
        self._task = asyncio.current_task()
        try:
            return await anext(items, end)
        except asyncio.CancelledError:
            if not self._expired or self._task is None or self._task.uncancel() > 0:
                raise  # the caller's own
            raise self._error() from None
        finally:
            self._task = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()
