"""A method's options, declared once: a TypedDict that its signature unpacks, and what follows from it.

`async def chat(self, messages: list[Message], **options: Unpack[ChatOptions])` takes every key of `ChatOptions` as a
keyword. A request with these options as fields, the call that passes them on, and the refusal of one that a backend has
not learned are all made of the TypedDict: a new key is a new option everywhere.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, Unpack, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model

from .errors import InvalidInput

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")  # a TypedDict


def parameters_of(method: Callable[..., Any]) -> dict[str, Any]:
    """A method's parameters without `self`, in their order: name -> type; unpacked options are among them."""
    hints = get_type_hints(method)
    types = dict[str, Any]()
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and get_origin(hints[name]) is Unpack:
            types |= get_type_hints(get_args(hints[name])[0])
        else:
            types[name] = hints[name]
    return types


def with_options(options: type[Any], without: Collection[str] = ()) -> Callable[[type[M]], type[M]]:
    """Gives a request these options as fields after its own, each None unless its caller gives a value.

    Args:
        without: options that the request has in a form of its own.
    """

    def made(request: type[M]) -> type[M]:
        fields: dict[str, Any] = {
            name: (annotation, None)
            for name, annotation in get_type_hints(options, include_extras=True).items()
            if name not in without
        }
        about = {"__doc__": request.__doc__, "__module__": request.__module__}
        return create_model(request.__name__, __base__=request, **about, **fields)

    return made


def options_in(request: BaseModel, options: type[T], without: Collection[str] = ()) -> T:
    """Those of these options that a request has a value for, as the keywords of a call."""
    values = {name: getattr(request, name) for name in get_type_hints(options) if name not in without}
    return cast(T, {name: value for name, value in values.items() if value is not None})


def refuse_unknown(options: Mapping[str, object], known: Collection[str]) -> None:
    """Refuses an option that a model has not learned. None is never refused: it leaves the option to the model.

    Raises:
        InvalidInput: one that has a value is not among the known; names it.
    """
    for name, value in options.items():
        if value is not None and name not in known:
            raise InvalidInput(name, "is not supported by this model")
