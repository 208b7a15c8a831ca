"""The steps of a run: model calls that are numbered, timed and recorded in the run's journal. A call is retried on
another replica if its own is lost, passed to the next model if a model cannot answer, and cancelled with its caller.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.errors import BeyondModel, MedleyError, ModelUnavailable
from deployments.progress import Progress
from deployments.provider_tasks import TaskCreated

from .errors import ModelFailed, ReceiverUnreachable, RunTimedOut
from .models.methods import Method
from .models.registry import Model, Models
from .models.startup_failures import unless_it_cannot_start
from .models.stream_receiver import ReceivedStream

T = TypeVar("T")
log = logging.getLogger("ray.serve")

ATTEMPTS = 3  # on one model, if its replica dies during the call
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
    cached: bool = False  # answered from the step cache, not by the model
    fraction: float | None = None  # how much is done, 0 to 1, where the model reports it
    graph: str = ""  # of the run
    capability: str = ""  # that the model offers


@dataclass(slots=True)  # not frozen: that makes each one three times as slow to make
class StepCall:
    """The call that a step makes: `name` is `parameter.method`, without a number."""

    name: str
    capability: str
    method: str
    signature: Method
    candidates: tuple[Model, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Recorded(NamedTuple):
    """A recorded answer (of a stream: the list of its items), and the model that gave it."""

    value: Any
    model: str


class Observer(Protocol):
    """An object that follows a run, to make its events or metrics."""

    def step(self, step: Step) -> None:
        """A step started, advanced or ended."""
        ...

    def piece(self, piece: BaseModel) -> None:
        """A graph that streams yielded a piece, and a client follows the pieces."""
        ...


class Journal(Observer, Protocol):
    """A record of the answers of a run's steps, so that another attempt, or an equal step, need not call the model."""

    @property
    def paid(self) -> bool:
        """Whether the run is a job, in whose transaction its price was reserved."""
        ...

    async def recall(self, step: Step, call: StepCall) -> Recorded | None:
        """The recorded answer, if there is one; an answer of another run marks the step as `cached`."""
        ...

    async def record(self, step: Step, call: StepCall, value: Any) -> None:
        """Keep an answer; returns when it is stored."""
        ...

    async def tasks(self, step: Step, call: StepCall) -> "ProviderTasks":
        """The tasks that earlier attempts at the step had providers do, by model."""
        ...

    async def keep_task(self, step: Step, call: StepCall, task: str) -> None:
        """Keep a task that the step's model has a provider do; returns when it is stored."""
        ...


ProviderTasks = dict[str, list[str]]  # tasks by the name of their model, see `deployments/provider_tasks.py`


class Steps:
    """The steps of one run.

    Args:
        models: the profile's models.
        observers: follow each step; the journal is among them.
        journal: keeps answers.
        longest_s: seconds the run may take, then what it waits for is cancelled; infinity: any time.
        graph: the graph's name; "" for calls outside of one.
    """

    __slots__ = (
        "_deadline",
        "_drivers",
        "_longest_s",
        "_named",
        "_tasks",
        "all",
        "breaker",
        "graph",
        "journal",
        "models",
        "observers",
    )

    def __init__(
        self,
        models: Models,
        observers: tuple[Observer, ...],
        journal: Journal | None,
        longest_s: float,
        graph: str = "",
    ) -> None:
        self.all: list[Step] = []
        self.models, self.breaker = models, models.breaker
        self.observers, self.journal, self.graph = observers, journal, graph
        self._named: Counter[str] = Counter()  # steps by name, to number them
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._drivers: set[asyncio.Task[Any] | None] = set()  # tasks that await the run itself
        self._longest_s = longest_s
        self._deadline = None if math.isinf(longest_s) else asyncio.get_running_loop().time() + longest_s

    async def answer(self, call: StepCall) -> Any:
        """The answer of the first model that can give one.

        Raises:
            MedleyError: the input is bad, no model could answer, or the time is over.
        """
        (answer,) = [item async for item in self.items(call)]  # to its end, where the step is recorded
        return answer

    async def items(self, call: StepCall) -> AsyncGenerator[Any]:
        """The items of a stream; of a call that does not stream, its one answer.

        Once an item has left there is no other attempt: the caller has seen it.
        """
        step, journal = self._start(call), self.journal
        fault, begun, given = _Fault(""), False, list[Any]()
        try:
            if journal and (recorded := await journal.recall(step, call)):
                self._recalled(step, recorded)
                if step.cached:  # from another run: this one has to keep it too
                    await journal.record(step, call, recorded.value)
                for item in recorded.value if call.signature.streams else (recorded.value,):
                    yield item
                return
            tasks = await journal.tasks(step, call) if journal else ProviderTasks()
            # First a model whose provider has begun, and billed, the work.
            models = self.breaker.order(call.candidates, call.method)
            for model in sorted(models, key=lambda model: model.name not in tasks) if tasks else models:
                for attempt in range(ATTEMPTS):
                    await self._attempt(step, model, attempt)
                    response = None
                    try:
                        response = self._send(call, model, tasks.get(model.name, ()))
                        next_item = self._reader(step, call, model, response, tasks)
                        item = await unless_it_cannot_start(model.deployment, next_item())
                        while item is not _END:
                            begun = True
                            if journal:
                                given.append(item)
                            yield item
                            item = await next_item() if call.signature.streams else _END
                    except Exception as error:
                        _cancel(response)
                        fault = _fault(error, model)
                        if begun:
                            if fault.counts:
                                self.breaker.failed(model.name, call.method)
                            raise ModelUnavailable(fault.reason) from None
                        if not fault.lost:
                            break
                    except BaseException:
                        # Cancelling the task that awaits does not stop the replica (measured); this does.
                        _cancel(response)
                        raise
                    else:
                        self.breaker.answered(model.name, call.method)
                        self._finish(step)
                        if journal:
                            await journal.record(step, call, given if call.signature.streams else given[0])
                        return
                if fault.counts:
                    self.breaker.failed(model.name, call.method)
            raise fault.refusal or ModelUnavailable(fault.reason)
        except BaseException as error:
            self._finish(step, error)
            raise

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
            raise self.timed_out() from None

    def driven(self) -> None:
        """Mark the calling task as the caller's, which awaits the run: `end` never cancels it."""
        self._drivers.add(asyncio.current_task())

    async def end(self) -> None:
        """Cancel the steps that still run: if one call of an `asyncio.gather` fails, the others run on, although nobody
        waits for them."""
        left = [task for task in self._tasks - self._drivers - {asyncio.current_task()} if task and not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    @property
    def deadline(self) -> float | None:
        """When the run's time is over, by the event loop's clock; None: never."""
        return self._deadline

    def _start(self, call: StepCall) -> Step:
        self._named[call.name] += 1
        number = self._named[call.name]
        name = f"{call.name}-{number}" if number > 1 else call.name
        step = Step(name, started=time.time(), graph=self.graph, capability=call.capability)
        self.all.append(step)
        self._tasks.add(asyncio.current_task())
        return step

    def tell_piece(self, piece: BaseModel) -> None:
        """Show the observers a piece of the graph's result."""
        for observer in self.observers:
            try:
                observer.piece(piece)
            except Exception:
                log.exception("an observer failed at a piece of %s", self.graph)

    def _tell(self, step: Step) -> None:
        for observer in self.observers:
            try:
                observer.step(step)
            except Exception:  # a metric that fails is no reason for a run to fail
                log.exception("an observer failed at step %s", step.name)

    async def _attempt(self, step: Step, model: Model, attempt: int) -> None:
        """Count one more attempt of a step on a model, after a pause if the last one lost its replica."""
        if attempt:
            await asyncio.sleep(RETRY_PAUSE_S * attempt)
        if step.model:
            self.models.calls[step.model] -= 1
        self.models.calls[model.name] += 1
        step.model, step.fraction = model.name, None
        step.attempts += 1
        self._tell(step)

    def _send(self, call: StepCall, model: Model, tasks: Sequence[str]) -> Any:
        """Serve's response to the call, not awaited."""
        if not call.signature.streams and model.tells_progress:
            return model.followed(call.method, tasks)(*call.args, **call.kwargs)
        return model.caller(call.method, call.signature)(*call.args, **call.kwargs)

    def _reader(
        self, step: Step, call: StepCall, model: Model, response: Any, tasks: ProviderTasks
    ) -> Callable[[], Awaitable[Any]]:
        """A function that returns the response's next item, `_END` after the last."""
        if not call.signature.streams:
            answer = self._followed(step, call, response, tasks) if model.tells_progress else response
            return lambda: answer  # read once
        items = aiter(response)
        if not isinstance(response, ReceivedStream):
            return lambda: self.within(anext(items, _END))
        if self._deadline is not None:  # one timer for the stream: one for each item would cost as much as the item
            response.fail_at(self._deadline, self.timed_out())
        return lambda: anext(items, _END)

    async def _followed(self, step: Step, call: StepCall, response: Any, tasks: ProviderTasks) -> Any:
        """The answer of a model that reports its progress, which the step passes to observers, and its provider's
        tasks, which are kept for another attempt."""
        async for item in response:
            if isinstance(item, Progress):
                step.fraction = item.fraction
                self._tell(step)
            elif isinstance(item, TaskCreated):
                tasks.setdefault(step.model, []).append(item.task)
                if self.journal:
                    await self.journal.keep_task(step, call, item.task)
            else:
                return item
        raise ModelFailed(f"{step.model} gave no answer")

    def _recalled(self, step: Step, recorded: Recorded) -> None:
        step.model, step.status = recorded.model, "succeeded"
        self._tell(step)

    def _finish(self, step: Step, error: BaseException | None = None) -> None:
        if step.model and step.status == "running":  # a recalled step has ended already
            self.models.calls[step.model] -= 1
        step.seconds = time.time() - step.started
        if error is None:
            step.status = "succeeded"
        else:
            step.status = "cancelled" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "failed"
            step.error = str(error) or step.status
        self._tell(step)

    def timed_out(self) -> RunTimedOut:
        """The error of a run whose time is over."""
        return RunTimedOut(f"The run took longer than {self._longest_s:g} s and was cancelled.")


_END = object()  # of a response's items


def _cancel(response: Any) -> None:
    if response is not None:
        response.cancel()


class _Fault(NamedTuple):
    """The reason why a model did not answer, whether another replica may, whether it counts against the model, and the
    error if it is the request that is beyond the model."""

    reason: str
    lost: bool = False
    counts: bool = True
    refusal: BeyondModel | None = None


def cause_of(error: Exception) -> Exception:
    """The error that a replica raised, without Ray's wrapper."""
    if isinstance(error, RayTaskError):
        return cast(Exception, error.cause)  # pyright: ignore[reportUnknownMemberType]  # Ray leaves it untyped
    return error


def _fault(error: Exception, model: Model) -> _Fault:
    """The fault behind an error, which says whether to retry or try the next model; raises errors that would recur."""
    cause = cause_of(error)
    if isinstance(cause, REPLICA_LOST):
        return _Fault(f"A replica of {model.name} was lost.", lost=True)
    if isinstance(cause, BackPressureError):
        return _Fault(f"{model.name} has too many requests waiting.", counts=False)  # a busy model is not a failing one
    if isinstance(cause, DeploymentUnavailableError):
        return _Fault(f"{model.name} is not running.")
    if isinstance(cause, ReceiverUnreachable):
        log.warning("streams of %s now come over Serve, one message per item: %s", model.name, cause.detail)
        if model.receiver is not None:
            model.receiver.give_up(model.name)
        return _Fault(f"{model.name}: {cause.detail}", lost=True)
    if isinstance(cause, ModelUnavailable):
        return _Fault(f"{model.name}: {cause.detail}")
    if isinstance(cause, BeyondModel):
        return _Fault(f"{model.name}: {cause.detail}", counts=False, refusal=cause)
    if isinstance(cause, MedleyError):
        raise cause from None
    log.error("model %s failed", model.name, exc_info=error)
    raise ModelFailed(f"{model.name} failed: {type(cause).__name__}") from error
