"""The `@graph` decorator: reads a typed async function into a Graph, from which every surface is derived.

    @graph(title="Speech to image")
    async def speech_to_image(request: Wish, ears: SpeechToText, painter: TextToImage) -> Painted:

The first parameter is the request (a pydantic model). Every other parameter is a model, typed by the capability it must
offer. The return type is the result. The decorator only reads the signature: it registers nothing, and the graph can
still be called like its function. `graphs/__init__.py` lists the graphs of a service.

A graph that streams returns `AsyncIterator[Piece]` and yields its pieces. `Piece.join` makes the result from all of
them; the return type of `join` is the type of the result. Without `join` the result is the list of the pieces.

    @graph(title="Chat")
    async def chat(request: ChatRequest, writer: Language) -> AsyncIterator[Delta]:
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, get_args, get_origin, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from deployments.capabilities import CAPABILITIES
from deployments.media import has_media
from deployments.nulls import without_nulls

P = ParamSpec("P")
R = TypeVar("R", bound=BaseModel)

BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
NULLS: Any = model_validator(mode="before")(cast(Any, classmethod(without_nulls)))  # are absent in every request
MODELS_FIELD = "models"  # the one field a surface adds to a graph's request


class GraphError(TypeError):
    """The function cannot be read as a graph"""


@dataclass(frozen=True, eq=False)
class Graph(Generic[P, R]):
    """A pipeline: its request, its result and the capabilities it composes."""

    name: str
    title: str
    description: str
    function: Callable[P, Any] = field(repr=False)  # returns an awaitable result, or an iterator of pieces
    request: type[BaseModel]
    result: type[R]
    capabilities: dict[str, type[Any]]  # parameter name -> capability
    auto: frozenset[str] = frozenset()  # parameters whose model is selected by the request, unless it is named
    piece: type[BaseModel] | None = None  # of a graph that streams

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.function(*args, **kwargs)

    def join(self, pieces: Sequence[BaseModel]) -> R:
        """The result made from all pieces of a run."""
        joined: Any = getattr(self.piece, "join", None)
        return joined(pieces) if joined else self.result(pieces=pieces)

    def models_of(self, call: BaseModel) -> dict[str, str]:
        """The models that a call names, by parameter."""
        return getattr(call, MODELS_FIELD).model_dump(exclude_none=True)

    @cached_property
    def call(self) -> type[BaseModel]:
        """The request as surfaces accept it: unknown fields refused, and `models` to name the models to use."""
        names: dict[str, Any] = {
            parameter: (str | None, Field(default=None, description=f"Name of a {capability.__name__} model, or auto"))
            for parameter, capability in self.capabilities.items()
        }
        choices = create_model(f"{self.request.__name__}Models", __config__=ConfigDict(extra="forbid"), **names)
        make: Any = type(self.request)  # pydantic's metaclass, whose call is not typed
        return make(
            f"{self.request.__name__}Call",
            (self.request,),
            {
                "__module__": self.request.__module__,
                "__doc__": self.request.__doc__,
                "model_config": ConfigDict(extra="forbid"),
                "nulls": NULLS,
                "__annotations__": {MODELS_FIELD: choices},
                MODELS_FIELD: Field(
                    default_factory=choices, description="Models to use instead of the profile's first"
                ),
            },
        )

    @cached_property
    def takes_media(self) -> bool:
        """Whether requests contain media, which take a while to open."""
        return has_media(self.request)

    @cached_property
    def makes_media(self) -> bool:
        """Whether results contain media, which take a while to write as JSON."""
        return has_media(self.result)

    @cached_property
    def streams_media(self) -> bool:
        """Whether pieces contain media."""
        return self.piece is not None and has_media(self.piece)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields of a request, and those of `models` as `models.NAME`, for hints at misspelt names."""
        return (*self.call.model_fields, *(f"{MODELS_FIELD}.{name}" for name in self.capabilities))


class _Declare:
    """The decorator that `graph` returns; its overloads give type checkers the type of a graph's result."""

    def __init__(self, title: str, auto: Collection[str]) -> None:
        self._title, self._auto = title, auto

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]]) -> Graph[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[BaseModel]]) -> Graph[P, Any]: ...
    def __call__(self, function: Callable[P, Any]) -> Graph[P, Any]:
        name = function.__name__
        hints = get_type_hints(function)
        returned = hints.pop("return", None)
        parameters = inspect.signature(function).parameters
        if not parameters or set(parameters) - set(hints):
            raise GraphError(f"graph {name}: every parameter needs a type")
        request, *models = parameters
        if not _is_model(hints[request]):
            raise GraphError(f"graph {name}: `{request}` must be a pydantic model, the request")
        if MODELS_FIELD in hints[request].model_fields:
            raise GraphError(f"graph {name}: a request cannot have a field `{MODELS_FIELD}`")
        piece, result = _answer(name, function, returned)
        for parameter in models:
            if hints[parameter] not in CAPABILITIES:
                known = ", ".join(capability.__name__ for capability in CAPABILITIES)
                raise GraphError(f"graph {name}: `{parameter}` must be a capability: {known}")
            if parameters[parameter].kind not in BY_NAME:
                raise GraphError(f"graph {name}: `{parameter}` must be a parameter that takes one model by its name")
        if unknown := set(self._auto) - set(models):
            raise GraphError(f"graph {name}: has no model {', '.join(sorted(unknown))} to select")
        return Graph(
            name=name,
            title=self._title,
            description=inspect.getdoc(function) or self._title,
            function=function,
            request=hints[request],
            result=result,
            capabilities={parameter: hints[parameter] for parameter in models},
            auto=frozenset(self._auto),
            piece=piece,
        )


def graph(*, title: str, auto: Collection[str] = ()) -> _Declare:
    """A decorator that reads an async function's signature into a Graph.

    Args:
        title: the name shown to people.
        auto: parameters for which the selector chooses the model.

    Raises:
        GraphError: the signature lacks a request or a result, has a parameter that is not a capability, or declares a
            stream although the function returns one value (or the reverse).
    """
    return _Declare(title, auto)


def _answer(name: str, function: Callable[..., Any], returned: Any) -> tuple[type[BaseModel] | None, type[BaseModel]]:
    """The type of a graph's pieces (None if it does not stream) and the type of its result."""
    streams = get_origin(returned) is AsyncIterator
    if streams and not inspect.isasyncgenfunction(function):
        raise GraphError(f"graph {name}: its signature streams (AsyncIterator), so it must `yield` its pieces")
    if not streams:
        if inspect.isasyncgenfunction(function):
            raise GraphError(f"graph {name}: yields pieces, so it must return AsyncIterator[...] of their type")
        if not inspect.iscoroutinefunction(function):
            raise GraphError(f"graph {name}: must be `async def`")
        if not _is_model(returned):
            raise GraphError(f"graph {name}: must return a pydantic model, the result")
        return None, returned
    (piece,) = get_args(returned)
    if not _is_model(piece):
        raise GraphError(f"graph {name}: its pieces must be a pydantic model")
    join = getattr(piece, "join", None)
    if join is None:
        fields: dict[str, Any] = {"pieces": (list[piece], Field(description="All pieces, in their order"))}
        return piece, create_model(f"{piece.__name__}List", **fields)
    if not inspect.ismethod(join) and not isinstance(inspect.getattr_static(piece, "join"), staticmethod):
        raise GraphError(f"graph {name}: `{piece.__name__}.join` must be a classmethod, which gets all the pieces")
    result = get_type_hints(join).get("return")
    result = piece if result is Self else result
    if not _is_model(result):
        raise GraphError(f"graph {name}: `{piece.__name__}.join` must return a pydantic model, the result")
    return piece, cast(type[BaseModel], result)


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
