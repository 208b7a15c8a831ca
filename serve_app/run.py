"""A run: one execution of a graph. Every model call inside it is a step.

A step is timed, retried when its replica is lost, handed to the next model of the capability when a model cannot
answer, and cancelled on the replica when the caller goes away. A graph sees none of it: its parameters are proxies
with the capability's methods.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.errors import MedleyError, ModelUnavailable
from deployments.progress import Progress

from .config.schema import AUTO
from .errors import InboxUnreachable, ModelFailed, RunTimedOut
from .graph import Graph
from .models.methods import Method, methods_of
from .models.registry import Model, Models
from .models.startup_failures import unless_it_cannot_start
from .models.stream_receiver import Arriving

R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")
log = logging.getLogger("ray.serve")

ATTEMPTS = 3  # on one model, when its replica dies under the call
RETRY_PAUSE_S = 0.2  # times the attempt; the router needs a moment to see that a replica is gone
REPLICA_LOST = (RayActorError, WorkerCrashedError, ObjectLostError)  # RayActorError: ActorDied and ActorUnavailable too


@dataclass(slots=True)
class Step:
    """One model call: `name` is `parameter.method`, with a number from the second such call on."""

    name: str
    model: str = ""
    status: Literal["running", "succeeded", "failed", "cancelled"] = "running"
    attempts: int = 0
    started: float = 0.0  # seconds since the epoch
    seconds: float = 0.0
    error: str | None = None
    cached: bool = False  # answered from what was kept, not by the model
    fraction: float | None = None  # done of it, where the model tells


@dataclass(frozen=True, slots=True)
class Call:
    """What a step asks: `name` is `parameter.method`, without a number."""

    name: str
    how: Method
    candidates: tuple[Model, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Kept(NamedTuple):
    """An answer that was kept (of a stream: the list of its items), and the model that gave it."""

    value: Any
    model: str


class Journal(Protocol):
    """Keeps what the steps of a run answered, so that another attempt, or a like step, need not ask again."""

    def tell(self, step: Step) -> None:
        """A step started or ended."""
        ...

    async def recall(self, step: Step, call: Call) -> Kept | None:
        """The answer, if it was kept; the step is marked `cached` where it comes from another run's."""
        ...

    async def record(self, step: Step, call: Call, value: Any) -> None:
        """Keep an answer. Returns when it is safe."""
        ...


class Run:
    """One execution of a graph over a table of models.

    Args:
        models: the profile's models.
        chosen: parameter name -> model name, for those the caller named; a named model has no fallback.
        on_step: told of each step when it starts and when it ends.
        longest_s: seconds the run may take, a stream included; then what it waits for is cancelled.
        journal: where answers are kept, if they are.
    """

    __slots__ = (
        "_chosen",
        "_deadline",
        "_longest_s",
        "_named",
        "_on_step",
        "_tasks",
        "breaker",
        "journal",
        "models",
        "steps",
    )

    def __init__(
        self,
        models: Models,
        chosen: Mapping[str, str] | None = None,
        on_step: Callable[[Step], None] | None = None,
        longest_s: float | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.steps: list[Step] = []
        self._named: Counter[str] = Counter()  # steps by name, to number them
        self.journal = journal
        self._longest_s = longest_s
        self._deadline = None if longest_s is None else asyncio.get_running_loop().time() + longest_s
        self.models = models
        self.breaker = models.breaker
        self._chosen = chosen or {}
        self._on_step = on_step
        self._tasks: set[asyncio.Task[Any] | None] = set()

    def choose(self, chosen: Mapping[str, str]) -> None:
        """Name models, before the run is executed."""
        self._chosen = chosen

    async def execute(self, graph: Graph[..., R], request: BaseModel) -> R:
        """Run the graph's function with a proxy for each model.

        Raises:
            MedleyError: the input is bad, no model could answer, or the time is over.
        """
        proxies = {
            parameter: self.model(parameter, offered, AUTO if parameter in graph.auto else None)
            for parameter, offered in graph.capabilities.items()
        }
        try:
            return await self.within(graph.function(request, **proxies))
        finally:
            # `asyncio.gather` lets its other calls run on when one fails: nobody waits for them any more.
            left = [task for task in self._tasks - {asyncio.current_task()} if task and not task.done()]
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)

    def model(self, parameter: str, capability: type[Any], usual: str | None = None) -> Any:
        """What a graph's parameter is bound to: an object with the capability's methods, whose calls are steps.

        Args:
            usual: the name that holds if the caller named none; None: the profile's order.

        Raises:
            MedleyError: the profile has no such model.
        """
        name = self._chosen.get(parameter) or usual
        if name in (None, AUTO):
            return _Proxy(self, parameter, capability, self.models.offering(capability), name == AUTO)
        return _Proxy(self, parameter, capability, (self.models.named(name, capability),), False)

    def start(self, name: str) -> Step:
        self._named[name] += 1
        number = self._named[name]
        step = Step(f"{name}-{number}" if number > 1 else name, started=time.time())
        self.steps.append(step)
        self._tasks.add(asyncio.current_task())
        return step

    def tell(self, step: Step) -> None:
        if self._on_step:
            self._on_step(step)
        if self.journal:
            self.journal.tell(step)

    async def attempt(self, step: Step, model: Model, attempt: int) -> None:
        """Count one more attempt of a step on a model, after a pause if the last one lost its replica."""
        if attempt:
            await asyncio.sleep(RETRY_PAUSE_S * attempt)
        if step.model:
            self.models.calls[step.model] -= 1
        self.models.calls[model.name] += 1
        step.model, step.fraction = model.name, None
        step.attempts += 1
        self.tell(step)

    async def within(self, answer: Awaitable[T]) -> T:
        """The answer, if it comes before the run's time is over; it is cancelled otherwise.

        Raises:
            RunTimedOut: it did not come.
        """
        bound = asyncio.timeout_at(self._deadline)
        try:
            async with bound:
                return await answer
        except TimeoutError:
            if not bound.expired():  # the answer's own
                raise
            raise self._timed_out() from None

    def reader(self, response: Any) -> Callable[[], Awaitable[Any]]:
        """What gives a stream's next item, `_END` after the last, and fails when the run's time is over."""
        items = aiter(response)
        if not isinstance(response, Arriving):
            return lambda: self.within(anext(items, _END))
        if self._deadline is not None:  # one timer for the stream: one for each item would cost as much as the item
            response.fail_at(self._deadline, self._timed_out())
        return lambda: anext(items, _END)

    def _timed_out(self) -> RunTimedOut:
        return RunTimedOut(f"The run took longer than {self._longest_s:g} s and was cancelled.")

    def recalled(self, step: Step, kept: Kept) -> None:
        """End a step whose answer was kept."""
        step.model, step.status = kept.model, "succeeded"
        self.tell(step)

    def finish(self, step: Step, error: BaseException | None = None) -> None:
        if step.model and step.status == "running":  # it may have ended, and then not been recorded
            self.models.calls[step.model] -= 1
        step.seconds = time.time() - step.started
        if error is None:
            step.status = "succeeded"
        else:
            step.status = "cancelled" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "failed"
            step.error = str(error) or step.status
        self.tell(step)


class _Proxy:
    """One parameter of a running graph."""

    __slots__ = ("_auto", "_candidates", "_capability", "_parameter", "_run")

    def __init__(
        self, run: Run, parameter: str, capability: type[Any], candidates: tuple[Model, ...], auto: bool
    ) -> None:
        self._run, self._parameter, self._capability, self._candidates = run, parameter, capability, candidates
        self._auto = auto

    def __getattr__(self, method: str) -> Callable[..., Any]:
        how = methods_of(self._capability).get(method)
        if how is None:
            raise AttributeError(f"{self._capability.__name__} has no method {method!r}")
        # A model that would only refuse is not asked, which would wake one that sleeps; where all would, one says so.
        able = tuple(model for model in self._candidates if method not in model.lacks) or self._candidates[:1]
        call = _stream if how.streams else _call
        if not self._auto:
            return partial(call, self._run, able, self._parameter, method, how)

        def selected(*args: Any, **kwargs: Any) -> Any:
            candidates = self._run.models.selected(able, how, args, kwargs)
            return call(self._run, candidates, self._parameter, method, how, *args, **kwargs)

        return selected


async def _call(
    run: Run, candidates: tuple[Model, ...], parameter: str, method: str, how: Method, /, *args: Any, **kwargs: Any
) -> Any:
    step = run.start(f"{parameter}.{method}")
    fault, journal = _Fault(""), run.journal
    try:
        call = Call(f"{parameter}.{method}", how, candidates, args, kwargs) if journal else None
        if journal and call and (kept := await journal.recall(step, call)):
            run.recalled(step, kept)
            if step.cached:  # another run's: this one has to keep it too
                await journal.record(step, call, kept.value)
            return kept.value
        for model in run.breaker.order(candidates, method):
            for attempt in range(ATTEMPTS):
                await run.attempt(step, model, attempt)
                try:
                    if model.tells_progress:
                        answer = _followed(run, step, model.followed(method)(*args, **kwargs))
                    else:
                        answer = _answer(model.caller(method, how)(*args, **kwargs))
                    result = await unless_it_cannot_start(model.deployment, answer)
                except Exception as error:
                    fault = _fault(error, model)
                    if not fault.lost:
                        break
                else:
                    run.breaker.answered(model.name, method)
                    run.finish(step)
                    if journal and call:
                        await journal.record(step, call, result)
                    return result
            if fault.counts:
                run.breaker.failed(model.name, method)
        raise ModelUnavailable(fault.reason)
    except BaseException as error:
        run.finish(step, error)
        raise


async def _stream(
    run: Run, candidates: tuple[Model, ...], parameter: str, method: str, how: Method, /, *args: Any, **kwargs: Any
) -> AsyncIterator[Any]:
    """As `_call`, but once an item has left there is no other attempt: the caller has seen it."""
    step = run.start(f"{parameter}.{method}")
    fault, begun, journal = _Fault(""), False, run.journal
    items_kept: list[Any] = []
    try:
        call = Call(f"{parameter}.{method}", how, candidates, args, kwargs) if journal else None
        if journal and call and (kept := await journal.recall(step, call)):
            run.recalled(step, kept)
            if step.cached:
                await journal.record(step, call, kept.value)
            for item in kept.value:
                yield item
            return
        for model in run.breaker.order(candidates, method):
            for attempt in range(ATTEMPTS):
                await run.attempt(step, model, attempt)
                response = None
                try:
                    response = model.caller(method, how)(*args, **kwargs)
                    next_item = run.reader(response)
                    item = await unless_it_cannot_start(model.deployment, next_item())
                    while item is not _END:
                        begun = True
                        if journal:
                            items_kept.append(item)
                        yield item
                        item = await next_item()
                except Exception as error:
                    if response is not None:
                        response.cancel()
                    fault = _fault(error, model)
                    if begun:
                        if fault.counts:
                            run.breaker.failed(model.name, method)
                        raise ModelUnavailable(fault.reason) from None
                    if not fault.lost:
                        break
                except BaseException:
                    if response is not None:
                        response.cancel()
                    raise
                else:
                    run.breaker.answered(model.name, method)
                    run.finish(step)
                    if journal and call:
                        await journal.record(step, call, items_kept)
                    return
            if fault.counts:
                run.breaker.failed(model.name, method)
        raise ModelUnavailable(fault.reason)
    except BaseException as error:
        run.finish(step, error)
        raise


_END = object()  # of a stream


async def _answer(response: Any) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        # Cancelling the task that awaits does not stop the replica (measured); this does.
        response.cancel()
        raise


async def _followed(run: Run, step: Step, response: Any) -> Any:
    """The answer of a model that tells how far it is, which its step tells on."""
    try:
        async for item in response:
            if not isinstance(item, Progress):
                return item
            step.fraction = item.fraction
            run.tell(step)
        raise ModelFailed(f"{step.model} gave no answer")
    except asyncio.CancelledError:
        response.cancel()
        raise


class _Fault(NamedTuple):
    """Why a model did not answer, whether another replica of it may, and whether it counts against the model."""

    reason: str
    lost: bool = False
    counts: bool = True


def _fault(error: Exception, model: Model) -> _Fault:
    """What to do about an error: ask again, ask the next model, or raise what would come again."""
    cause = error
    if isinstance(error, RayTaskError):
        cause = cast(Exception, error.cause)  # pyright: ignore[reportUnknownMemberType]  # Ray leaves it untyped
    if isinstance(cause, REPLICA_LOST):
        return _Fault(f"A replica of {model.name} was lost.", lost=True)
    if isinstance(cause, BackPressureError):
        return _Fault(f"{model.name} has too many requests waiting.", counts=False)  # it works as much as it can
    if isinstance(cause, DeploymentUnavailableError):
        return _Fault(f"{model.name} is not running.")
    if isinstance(cause, InboxUnreachable):
        log.warning("streams of %s come over Serve, one message an item: %s", model.name, cause.detail)
        if model.inbox is not None:
            model.inbox.give_up(model.name)
        return _Fault(f"{model.name}: {cause.detail}", lost=True)
    if isinstance(cause, ModelUnavailable):
        return _Fault(f"{model.name}: {cause.detail}")
    if isinstance(cause, MedleyError):
        raise cause from None
    log.error("model %s failed", model.name, exc_info=error)
    raise ModelFailed(f"{model.name} failed: {type(cause).__name__}") from error
