"""Model multiplexing: several models in the replicas of one deployment, at most `max_loaded` in memory at once.

A replica has a backend instance for each model in memory. A call names its model by Serve's multiplexed model id. Serve
tracks the order of use and unloads the least recently used model *before* it loads the next. Unloading waits until the
model's calls have ended and its memory is free, so there are never more than `max_loaded` models in memory.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import logging
import time
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
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

COOLDOWN_S = 30.0  # after a failed load: another try would unload a model that works
RELEASE_PAUSES_S = (
    0.0,
    0.05,
    0.2,
    1.0,
)  # between checks whether an unloaded model is gone; a failed call may hold it a moment


def multiplexed_replica(
    backend: type[Any],
    host: str,
    multiplexed: Mapping[str, Mapping[str, Any]],
    max_loaded: int,
    sees_gpus: bool = True,
) -> type[Any]:
    """The class that Serve deploys for `host` and the models multiplexed with it.

    Args:
        backend: the class that implements the models' capabilities.
        host: the name of the model whose deployment this is.
        multiplexed: the `user_config` of each other model, by name.
        max_loaded: models in memory at once, the host among them; 1 or more.
        sees_gpus: whether the replica may use any GPU of its machine.

    Raises:
        InvalidConfig: the backend does not accept the options of a multiplexed model.
    """
    options = {name: _options(backend, name, user_config) for name, user_config in multiplexed.items()}

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


def _options(backend: type[Any], name: str, user_config: Mapping[str, Any]) -> Any:
    try:
        return backend.Options.model_validate(dict(user_config))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (name, "user_config", *first["loc"])))
        raise InvalidConfig(f"{where}: {first['msg']}") from None


class Loaded:
    """A model in memory. Its calls are counted, and unloading waits for them."""

    def __init__(self, backend: Any, options: Any, revision: str) -> None:
        self.backend: Any = backend  # None once unloaded
        self.options, self.revision = options, revision
        self._calls = 0
        self._idle = asyncio.Event()
        # Serve awaits `__del__` of the instance to unload it. Python looks it up in the class, so never calls this one.
        setattr(self, "__del__", self.unload)  # noqa: B010  # pyright takes an assignment for a method of the class

    def begin(self, calls: int) -> None:
        """Count calls that begin, 1 or more."""
        self._calls += calls
        self._idle.clear()

    def end(self) -> None:
        """Count a call that ended."""
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    async def unload(self) -> None:
        """Wait for the model's calls, unload it, and return when its memory is free."""
        while self._calls:
            await self._idle.wait()
        reference, last = weakref.ref(self.backend), [self.backend]
        self.backend = None
        for pause_s in RELEASE_PAUSES_S:
            await asyncio.sleep(pause_s)
            await asyncio.to_thread(_drop, last)
            if reference() is None:
                return
        log.warning("unloaded %s is still referenced, so its memory is not free yet", type(reference()).__name__)


def _drop(last: list[Any]) -> None:
    last.clear()  # in a thread, because an engine may take seconds to end
    give_back()


def _end_call(loading: "asyncio.Task[Loaded]") -> None:
    if not loading.cancelled() and loading.exception() is None:
        loading.result().end()


@dataclass(frozen=True)
class _Failed:
    """A load that failed, and the end of its cooldown (`time.monotonic`)."""

    kind: type[ModelUnavailable]
    detail: str
    until: float


class MultiplexedReplica:
    """The replica of a deployment with several models, without the methods of their capabilities."""

    loaded: Any  # Serve's function: returns a model by name, loading it after unloading the least recently used

    def __init__(self, backend: type[Any], host: str, multiplexed: Mapping[str, Any]) -> None:
        self._backend, self._host = backend, host
        self._options: dict[str, Any] = dict(multiplexed)  # the host's come with `reconfigure`
        self._names = frozenset((host, *multiplexed))
        self._in_memory = weakref.WeakValueDictionary[str, Loaded]()
        self._loading = dict[str, asyncio.Task[Loaded]]()
        self._callers = Counter[str]()  # calls that wait for a model
        self._failed = dict[str, _Failed]()
        self._sender = StreamSender()
        show_ray()

    async def reconfigure(self, options: dict[str, Any]) -> None:
        """Load the host with new options: in place if it is in memory, else in its turn, so that bad options fail now.

        Raises:
            MedleyError: the host cannot be loaded; the old options stay.
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
        """Check every model in memory; raises if one cannot answer, since the others share its process."""
        check_gpu()
        for loaded in list(self._in_memory.values()):
            if loaded.backend is not None:
                loaded.backend.check_health()

    async def revision(self) -> str:
        """A digest of everything that determines an answer of the called model, which is not loaded for this."""
        name = self.called_model()
        loaded = self._in_memory.get(name)
        if loaded is not None and loaded.backend is not None:
            return loaded.revision
        return await asyncio.to_thread(revision_of, self._backend, self._options[name])

    async def posted(self, address: Address, number: int, method: str, *args: Any, **kwargs: Any) -> int:
        """Post the items of a stream to a stream receiver; returns their number."""
        async with self.in_use(self.called_model()) as loaded:
            return await self._sender.post(address, number, getattr(loaded.backend, method)(*args, **kwargs))

    async def followed(self, method: str, tasks: Sequence[str], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Call `method` and yield its progress and its provider's tasks, then its answer; `tasks` are those that
        earlier attempts at the call created."""
        async with (
            self.in_use(self.called_model()) as loaded,
            aclosing(following(getattr(loaded.backend, method)(*args, **kwargs), tasks)) as items,
        ):
            async for item in items:
                yield item

    @asynccontextmanager
    async def in_use(self, name: str) -> AsyncGenerator[Loaded]:
        """A model by name, kept in memory until the context ends.

        Raises:
            ModelUnavailable: the model cannot be loaded, or is in its cooldown after a failed load.
        """
        failed = self._failed.get(name)
        if failed and time.monotonic() < failed.until:
            raise failed.kind(failed.detail)
        self._callers[name] += 1
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.create_task(self._load_for_callers(name))
        try:
            # A cancelled caller does not stop the load: the model that was unloaded for it is gone anyway.
            loaded = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_end_call)
            raise
        try:
            yield loaded
        finally:
            loaded.end()

    async def _load_for_callers(self, name: str) -> Loaded:
        """Load a model and begin all calls that wait for it, before another model can have it unloaded.

        The calls begin together: if each waited for its own turn, two models in demand would be loaded anew for every
        call, and a model that cannot be loaded would be tried for every call.
        """
        try:
            loaded: Loaded = await self.loaded(name)
        finally:
            callers = self._callers.pop(name)
            del self._loading[name]
        loaded.begin(callers)
        return loaded

    async def load(self, name: str) -> Loaded:
        """Load a model by name.

        Raises:
            ModelUnavailable: the model cannot be loaded; the next try comes after `COOLDOWN_S` seconds.
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
        del backend  # with the weights it had loaded before it failed
        await asyncio.to_thread(give_back)
        raise failed.kind(failed.detail)

    def called_model(self) -> str:
        """The name of the model that this call is for.

        Raises:
            ModelUnavailable: this deployment does not serve the model.
        """
        name = serve.get_multiplexed_model_id() or self._host
        if name not in self._names:
            raise ModelUnavailable(f"{name} is not served by the replicas of {self._host}")
        return name


def _call(method: str) -> Callable[..., Any]:
    async def call(self: MultiplexedReplica, *args: Any, **kwargs: Any) -> Any:
        async with self.in_use(self.called_model()) as loaded:
            return await getattr(loaded.backend, method)(*args, **kwargs)

    return call


def _stream(method: str) -> Callable[..., Any]:
    async def stream(self: MultiplexedReplica, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with (
            self.in_use(self.called_model()) as loaded,
            aclosing(getattr(loaded.backend, method)(*args, **kwargs)) as items,
        ):
            async for item in items:
                yield item

    return stream
