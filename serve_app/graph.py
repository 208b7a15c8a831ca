"""`@graph`: a typed async function read into a Graph, from which every surface is derived.

    @graph(title="Speech to image")
    async def speech_to_image(request: Wish, ears: SpeechToText, painter: TextToImage) -> Painted:

The first parameter is the request (a pydantic model), each other one a model, by the capability it must offer, and the
return type is the result. Declaring only reads the signature: nothing is registered, and the graph stays callable as
the function it is. `graphs/__init__.py` lists the graphs that exist.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from deployments.capabilities import CAPABILITIES
from deployments.media import has_media

P = ParamSpec("P")
R = TypeVar("R", bound=BaseModel)

BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
MODELS_FIELD = "models"  # the one field a surface adds to a graph's request


class GraphError(TypeError):
    """The function cannot be read as a graph"""


@dataclass(frozen=True, eq=False)
class Graph(Generic[P, R]):
    """A pipeline: what goes in, what comes out and which capabilities it composes."""

    name: str
    title: str
    description: str
    function: Callable[P, Awaitable[R]] = field(repr=False)
    request: type[BaseModel]
    result: type[R]
    capabilities: dict[str, type[Any]]  # parameter name -> capability
    auto: frozenset[str] = frozenset()  # parameters whose model is selected by what is asked, unless it is named

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self.function(*args, **kwargs)

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
                "__annotations__": {MODELS_FIELD: choices},
                MODELS_FIELD: Field(
                    default_factory=choices, description="Models to use instead of the profile's first"
                ),
            },
        )

    @cached_property
    def takes_media(self) -> bool:
        """Whether its requests have media in them, which take a while to open."""
        return has_media(self.request)

    @cached_property
    def makes_media(self) -> bool:
        """Whether its results have media in them, which take a while to write as JSON."""
        return has_media(self.result)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Every name a request may have, nested ones too, for hints at misspelt ones."""
        return (*self.call.model_fields, *self.capabilities)


def graph(*, title: str, auto: Collection[str] = ()) -> Callable[[Callable[P, Awaitable[R]]], Graph[P, R]]:
    """Read an async function's signature into a Graph. For parameters in `auto` the selector chooses the model.

    Raises:
        GraphError: the signature lacks a request model, a result model or has a parameter that is no capability.
    """

    def read(function: Callable[P, Awaitable[R]]) -> Graph[P, R]:
        name = function.__name__
        if not inspect.iscoroutinefunction(function):
            raise GraphError(f"graph {name}: must be `async def`")
        hints = get_type_hints(function)
        result = hints.pop("return", None)
        signature = inspect.signature(function).parameters
        parameters = list(signature)
        if not parameters or set(parameters) - set(hints):
            raise GraphError(f"graph {name}: every parameter needs a type")
        request, *models = parameters
        if not _is_model(hints[request]):
            raise GraphError(f"graph {name}: `{request}` must be a pydantic model, the request")
        if MODELS_FIELD in hints[request].model_fields:
            raise GraphError(f"graph {name}: a request cannot have a field `{MODELS_FIELD}`")
        if not _is_model(result):
            raise GraphError(f"graph {name}: must return a pydantic model, the result")
        for parameter in models:
            if hints[parameter] not in CAPABILITIES:
                known = ", ".join(capability.__name__ for capability in CAPABILITIES)
                raise GraphError(f"graph {name}: `{parameter}` must be a capability: {known}")
            if signature[parameter].kind not in BY_NAME:
                raise GraphError(f"graph {name}: `{parameter}` must be a parameter that takes one model by its name")
        if unknown := set(auto) - set(models):
            raise GraphError(f"graph {name}: has no model {', '.join(sorted(unknown))} to select")
        return Graph(
            name=name,
            title=title,
            description=inspect.getdoc(function) or title,
            function=function,
            request=hints[request],
            result=result,  # type: ignore[arg-type]
            capabilities={parameter: hints[parameter] for parameter in models},
            auto=frozenset(auto),
        )

    return read


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
