"""The models of a profile: by name, and in the profile's order by capability."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from deployments.capabilities import CAPABILITIES, capabilities_of, lacking
from deployments.errors import ModelUnavailable

from ..config.loading import load_backend
from ..config.multiplexing import multiplexed
from ..config.schema import AppConfig, ModelConfig, Traits
from ..errors import UnknownName
from .circuit_breaker import CircuitBreaker
from .methods import FOLLOWED, POSTED, Method
from .selection import demand_of, ranked
from .stream_receiver import ReceivedStream, StreamReceiver


@dataclass(frozen=True, eq=False)
class Model:
    """One named model: its backend, its capabilities and the Serve handle (or plain object) that answers."""

    name: str
    backend: str
    capabilities: tuple[type[Any], ...]
    handle: Any = field(repr=False)
    tells_progress: bool = False
    traits: Traits = field(default_factory=Traits)
    concurrency: int = 4  # calls that a replica works on at once
    lacks: frozenset[str] = frozenset()  # methods of its capabilities that its backend only refuses
    host: str | None = None  # the model whose replicas it shares (a host names itself); None: it has its own
    receiver: StreamReceiver | None = field(
        default=None, repr=False
    )  # where streams of small items arrive; None: over Serve
    _callers: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]], repr=False)

    @property
    def deployment(self) -> str:
        """The name of the deployment that serves the model."""
        return self.host or self.name

    def caller(self, method: str, how: Method) -> Callable[..., Any]:
        """The `remote` of a method. Cached: making the options of a handle costs as much as a small call."""
        receiver = self.receiver if how.streams and not how.by_reference else None
        if receiver is not None and not receiver.is_reached_by(self.name):
            receiver = None
        key = method if receiver is None else f"{method} by stream receiver"
        call = self._callers.get(key)
        if call is None:
            call = self._callers[key] = self._posted(receiver, method, how) if receiver else self._remote(method, how)
        return call

    def _remote(self, method: str, how: Method) -> Callable[..., Any]:
        shared = {} if self.host is None else {"multiplexed_model_id": self.name}
        handle = self.handle.options(
            method_name=method,
            stream=how.streams,
            _by_reference=how.by_reference,
            # Every argument and answer is importable, so plain pickle does: a seventh of cloudpickle's time.
            request_serialization="pickle",
            response_serialization="pickle",
            **shared,
        )
        return handle.remote

    def _posted(self, receiver: StreamReceiver, method: str, how: Method) -> Callable[..., ReceivedStream]:
        post, read = self._remote("posted", POSTED), TypeAdapter(how.returns).validate_json

        def arriving(*args: Any, **kwargs: Any) -> ReceivedStream:
            return ReceivedStream(
                receiver, read, lambda address, number: post(address, number, method, *args, **kwargs)
            )

        return arriving

    def followed(self, method: str, tasks: Sequence[str] = ()) -> Callable[..., Any]:
        """The `remote` of a method that yields any number of `Progress` and `TaskCreated`, and then the answer.

        Args:
            tasks: provider's tasks that earlier attempts at the call created.
        """
        return functools.partial(self.caller("followed", FOLLOWED), method, tuple(tasks))


class Models:
    """The table of a profile's models, with their circuit breaker and the calls they work on."""

    def __init__(
        self,
        models: Iterable[Model],
        breaker: CircuitBreaker | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.all = tuple(models)
        self.aliases = aliases or {}
        self.breaker = breaker or CircuitBreaker()
        self.calls: Counter[str] = Counter()  # calls of this process that each model works on now
        self._by_name = {model.name: model for model in self.all}
        self._offering = {
            capability: tuple(model for model in self.all if capability in model.capabilities)
            for capability in CAPABILITIES
        }

    def offering(self, capability: type[Any]) -> tuple[Model, ...]:
        """The models of a capability, first choice first.

        Raises:
            ModelUnavailable: the profile has no such model.
        """
        models = self._offering[capability]
        if not models:
            raise ModelUnavailable(f"This profile has no model for {capability.__name__}.")
        return models

    def able(self, name: str | None, capability: type[Any], method: str) -> bool:
        """Whether the named model, or any model of the capability, implements `method`."""
        candidates = (self.named(name, capability),) if name else self.offering(capability)
        return any(method not in model.lacks for model in candidates)

    def selected(
        self, candidates: tuple[Model, ...], how: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Model, ...]:
        """The candidates for a call, the most suitable first (`selection.py`)."""
        demand = demand_of({**dict(zip(how.parameters, args, strict=False)), **kwargs})
        return tuple(choice.model for choice in ranked(candidates, demand, self.calls))

    def meant(self, name: str) -> str:
        """What an alias stands for: a model, `auto` or `default`. Any other name is itself."""
        return self.aliases.get(name, name)

    def named(self, name: str, capability: type[Any] | None = None) -> Model:
        """The model of a name or an alias, which must offer `capability` if given.

        Raises:
            UnknownName: there is no such model; names the nearest.
        """
        model = self._by_name.get(self.meant(name))
        if model is None or (capability is not None and capability not in model.capabilities):
            known = self._offering[capability] if capability else self.all
            kind = f"{capability.__name__} model" if capability else "model"
            raise UnknownName(kind, name, [model.name for model in known])
        return model


def bind_models(config: AppConfig, handles: Mapping[str, Any], receiver: StreamReceiver | None = None) -> Models:
    """The profile's models over handles (or plain objects that act like them), which are by deployment name."""
    hosts = multiplexed(config.models)
    models = (
        _model(
            model,
            handles[model.host or model.name],
            model.host or (model.name if model.name in hosts else None),
            receiver,
        )
        for model in config.models
    )
    return Models(models, aliases=config.aliases)


def _model(model: ModelConfig, handle: Any, host: str | None, receiver: StreamReceiver | None) -> Model:
    backend = load_backend(model.backend)
    return Model(
        model.name,
        model.backend,
        capabilities_of(backend),
        handle,
        tells_progress=backend.tells_progress,
        traits=model.traits,
        concurrency=backend.needs.concurrency,
        lacks=lacking(backend),
        host=host,
        receiver=receiver,
    )
