"""The methods of a capability and how they are called, read from their signatures."""

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deployments.call_options import parameters_of
from deployments.media import Media
from deployments.pieces import whole_of


@dataclass(frozen=True)
class Method:
    """The signature of one method of a capability, as far as calling it needs."""

    streams: bool  # yields instead of returning
    by_reference: bool  # media goes through the object store; other values travel with the call
    returns: Any  # the type of the answer, or of a stream's items
    sampled: bool  # takes a seed: without a seed, two answers differ
    parameters: tuple[str, ...] = ()  # their names in order
    whole: str = ""  # for a stream: the method that returns the same answer as a whole


FOLLOWED = Method(streams=True, by_reference=True, returns=Any, sampled=False)  # a call that reports its progress
POSTED = Method(
    streams=False, by_reference=False, returns=int, sampled=False
)  # a stream that goes to a stream receiver


@functools.cache
def methods_of(capability: type[Any]) -> dict[str, Method]:
    """Every method a graph may call on a model of this capability."""
    return {
        name: _method(function)
        for name, function in vars(capability).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }


def _is_media(annotation: Any) -> bool:
    """Whether a type is media, or a list of media. A picture within a message travels with the call: most messages have
    none, and theirs should not wait for the object store."""
    is_media = isinstance(annotation, type) and issubclass(annotation, Media)
    return is_media or any(_is_media(part) for part in typing.get_args(annotation))


def _method(function: Callable[..., Any]) -> Method:
    parameters, returned = parameters_of(function), typing.get_type_hints(function)["return"]
    streams = not inspect.iscoroutinefunction(function)
    return Method(
        streams=streams,
        by_reference=any(_is_media(hint) for hint in (*parameters.values(), returned)),
        returns=typing.get_args(returned)[0] if streams else returned,
        sampled="seed" in parameters,
        parameters=tuple(parameters),
        whole=whole_of(function) or "",
    )
