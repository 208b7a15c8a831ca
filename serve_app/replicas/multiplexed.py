"""Several models in the replicas of one deployment, taking turns in memory.

A replica has a backend instance for each model that is in memory, at most `max_loaded` of them. A call says which
model it is for by Serve's multiplexed model id. Serve keeps the order of use and unloads the least recently used
*before* it loads the next; that waits until the calls in the old one have ended and its memory is free, so there is
never more in memory than was said.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import logging
import time
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from ray import serve

from deployments.capabilities import capabilities_of
from deployments.engine import check_gpu
from deployments.errors import MedleyError, ModelUnavailable, OutOfMemory
from deployments.progress import following

from ..errors import InvalidConfig
from ..models.callback_board import listen
from ..models.methods import methods_of
from ..models.stream_receiver import Address
from .gpu import hide_other_gpus, loading_alone
from .memory import give_back
from .replica import revision_of, show_ray
from .stream_sender import StreamSender

log = logging.getLogger("ray.serve")

COOLDOWN_S = 30.0  # after a failed load: another try turns out a model that works
RELEASE_PAUSES_S = (
    0.0,
    0.05,
    0.2,
    1.0,
)  # between looks whether an unloaded model is gone; a failed call may hold it a moment


def multiplexed_replica(
    backend: type[Any],
    host: str,
    multiplexed: Mapping[str, Mapping[str, Any]],
    max_loaded: int,
    sees_gpus: bool = True,
) -> type[Any]:
    """The class to deploy for `host` and those that live in its replicas.

    Args:
        sharers: the `user_config` of each, by name.
        max_loaded: models in memory at once, the host among them; 1 or more.
        sees_cards: whether they may use any GPU of their machine.

    Raises:
        InvalidConfig: the backend does not take the options of a sharer.
    """
    options = {name: _options(backend, name, given) for name, given in multiplexed.items()}

    class Replica(MultiplexedReplica):
        def __init__(self) -> None:
            if not sees_gpus:
                hide_other_gpus()
            super().__init__(backend, host, options)

        @serve.multiplexed(max_num_models_per_replica=max_loaded)
        async def loaded(self, name: str) -> Loaded:
            return await self.load(name)

    for capability in capabilities_of(backend):
        for method, how in methods_of(capability).items():
            setattr(Replica, method, _stream(method) if how.streams else _call(method))
    Replica.__name__ = Replica.__qualname__ = backend.__name__
    return Replica


def _options(backend: type[Any], name: str, given: Mapping[str, Any]) -> Any:
    try:
        return backend.Options.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (name, "user_config", *first["loc"])))
        raise InvalidConfig(f"{where}: {first['msg']}") from None


class Loaded:
    """A model in memory. Its calls are counted, and unloading waits for them."""

    def __init__(self, backend: Any, options: Any, revision: str) -> None:
        self.backend: Any = backend  # None once it is unloaded
        self.options, self.revision = options, revision
        self._calls = 0
        self._idle = asyncio.Event()
        # Serve awaits what has this name when it unloads. Python looks for it in the class, so it never calls this one.
        setattr(self, "__del__", self.unload)  # noqa: B010  # pyright takes an assignment for the class's own

    def begin(self, calls: int) -> None:
        """So many calls begin; 1 or more."""
        self._calls += calls
        self._idle.clear()

    def end(self) -> None:
        """A call has ended."""
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    async def unload(self) -> None:
        """Wait for the calls in it, let it go, and return when its memory is free."""
        while self._calls:
            await self._idle.wait()
        gone, last = weakref.ref(self.backend), [self.backend]
        self.backend = None
        for pause_s in RELEASE_PAUSES_S:
            await asyncio.sleep(pause_s)
            await asyncio.to_thread(_let_go, last)
            if gone() is None:
                return
        log.warning("an unloaded %s is still held by something; its memory is not free yet", type(gone()).__name__)


def _let_go(last: list[Any]) -> None:
    last.clear()  # here, in a thread, because an engine may take seconds to end
    give_back()


def _ended(taken: "asyncio.Task[Loaded]") -> None:
    if not taken.cancelled() and taken.exception() is None:
        taken.result().end()


@dataclass(frozen=True)
class _Failed:
    """A load that failed, and until when it is not tried again (`time.monotonic`)."""

    kind: type[ModelUnavailable]
    detail: str
    until: float


class MultiplexedReplica:
    """What the replica of a shared deployment does besides its backend's capabilities."""

    loaded: Any  # Serve's, a function: the model of a name, loaded if it was not, the oldest unloaded before

    def __init__(self, backend: type[Any], host: str, multiplexed: Mapping[str, Any]) -> None:
        self._backend, self._host = backend, host
        self._options: dict[str, Any] = dict(multiplexed)  # the host's come with `reconfigure`
        self._names = frozenset((host, *multiplexed))
        self._in_memory = weakref.WeakValueDictionary[str, Loaded]()
        self._taking = dict[str, asyncio.Task[Loaded]]()  # what calls wait for, and how many
        self._callers = Counter[str]()
        self._failed = dict[str, _Failed]()
        self._sender = StreamSender()
        show_ray()

    async def reconfigure(self, options: dict[str, Any]) -> None:
        """Load the host's weights: in place where it is in memory, else by its turn, so that bad ones are found now.

        Raises:
            MedleyError: they cannot be loaded; the old options hold.
        """
        checked = self._backend.Options.model_validate(options)
        before, self._options[self._host] = self._options.get(self._host), checked
        self._failed.clear()
        try:
            async with self.in_use(self._host) as loaded:
                if loaded.options is not checked:
                    async with loading_alone():
                        await loaded.backend.reconfigure(checked)
                    loaded.options, loaded.revision = checked, revision_of(self._backend, checked)
                    await asyncio.to_thread(give_back)
        except BaseException:
            self._options[self._host] = before
            self._failed.pop(self._host, None)
            raise

    def check_health(self) -> None:
        """Raises if a model in memory cannot answer: its process is of no use to the others either."""
        check_gpu()
        for loaded in list(self._in_memory.values()):
            if loaded.backend is not None:
                loaded.backend.check_health()

    async def revision(self) -> str:
        """Of all that decides an answer of the asked model, which is not loaded for this."""
        name = self.asked()
        loaded = self._in_memory.get(name)
        if loaded is not None and loaded.backend is not None:
            return loaded.revision
        return await asyncio.to_thread(revision_of, self._backend, self._options[name])

    async def posted(self, address: Address, number: int, method: str, *args: Any, **kwargs: Any) -> int:
        """A stream whose items go to an stream receiver; returns how many there were."""
        async with self.in_use(self.asked()) as loaded:
            return await self._sender.post(address, number, getattr(loaded.backend, method)(*args, **kwargs))

    async def followed(self, method: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """A call of `method` as those see it who want to know how far it is."""
        async with (
            self.in_use(self.asked()) as loaded,
            aclosing(following(getattr(loaded.backend, method)(*args, **kwargs))) as told,
        ):
            async for one in told:
                yield one

    @asynccontextmanager
    async def in_use(self, name: str) -> AsyncGenerator[Loaded]:
        """The model of a name, in memory until the end.

        Raises:
            ModelUnavailable: it cannot be loaded, or could not a moment ago.
        """
        failed = self._failed.get(name)
        if failed and time.monotonic() < failed.until:
            raise failed.kind(failed.detail)
        self._callers[name] += 1
        task = self._taking.get(name)
        if task is None:
            task = self._taking[name] = asyncio.create_task(self._taken(name))
        try:
            # A caller that leaves while it is loaded stops nothing: what was unloaded for it cannot be brought back.
            loaded = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_ended)
            raise
        try:
            yield loaded
        finally:
            loaded.end()

    async def _taken(self, name: str) -> Loaded:
        """The model of a name with the calls in it that wait for it, before anyone else can have it unloaded.

        All of them together: were each to wait for its own turn, two models that are both asked would be loaded anew
        for every call, and one that cannot be loaded tried as often.
        """
        try:
            loaded: Loaded = await self.loaded(name)
        finally:
            callers = self._callers.pop(name)
            del self._taking[name]
        loaded.begin(callers)
        return loaded

    async def load(self, name: str) -> Loaded:
        """Load the model of a name.

        Raises:
            ModelUnavailable: it cannot be loaded. It is not tried again for `COOLDOWN_S` seconds.
        """
        backend, options = self._backend(), self._options[name]
        listen(backend)
        try:
            async with loading_alone():
                await backend.reconfigure(options)
        except Exception as error:
            if not isinstance(error, MedleyError):
                log.exception("model %s cannot be loaded", name)
            kind = OutOfMemory if isinstance(error, OutOfMemory) else ModelUnavailable
            self._failed[name] = failed = _Failed(kind, f"cannot be loaded: {error}", time.monotonic() + COOLDOWN_S)
        else:
            self._failed.pop(name, None)
            stamp = await asyncio.to_thread(revision_of, self._backend, options)
            self._in_memory[name] = loaded = Loaded(backend, options, stamp)
            return loaded
        del backend  # with what it had loaded before it failed
        await asyncio.to_thread(give_back)
        raise failed.kind(failed.detail)

    def asked(self) -> str:
        """The model that this call is for.

        Raises:
            ModelUnavailable: none of that name lives here.
        """
        name = serve.get_multiplexed_model_id() or self._host
        if name not in self._names:
            raise ModelUnavailable(f"{name} does not live in the replicas of {self._host}")
        return name


def _call(method: str) -> Callable[..., Any]:
    async def call(self: MultiplexedReplica, *args: Any, **kwargs: Any) -> Any:
        async with self.in_use(self.asked()) as loaded:
            return await getattr(loaded.backend, method)(*args, **kwargs)

    return call


def _stream(method: str) -> Callable[..., Any]:
    async def stream(self: MultiplexedReplica, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with (
            self.in_use(self.asked()) as loaded,
            aclosing(getattr(loaded.backend, method)(*args, **kwargs)) as items,
        ):
            async for item in items:
                yield item

    return stream
