"""The backends and graphs that a profile names, imported."""

import functools
import importlib
from collections.abc import Iterable
from typing import Any, cast

from deployments import BACKENDS
from deployments.capabilities import capabilities_of

from ..errors import InvalidConfig, nearest
from ..graph import Graph


@functools.cache
def load_backend(name: str) -> type[Any]:
    """The backend class of a short name or `package.module:Class`.

    Raises:
        InvalidConfig: there is none, or it offers no capability.
    """
    backend = BACKENDS.get(name) or (_attribute(name) if ":" in name else None)
    if backend is None:
        raise InvalidConfig(f"There is no backend {name!r}.{nearest(name, BACKENDS)}")
    if not isinstance(backend, type) or not capabilities_of(backend):
        raise InvalidConfig(f"Backend {name!r} offers no capability.")
    return backend


def load_graphs(places: Iterable[str]) -> dict[str, Graph[..., Any]]:
    """The graphs by name.

    Raises:
        InvalidConfig: a place has no graphs, or a name is there twice.
    """
    found: dict[str, Graph[..., Any]] = {}
    for place in places:
        value = _attribute(place if ":" in place else f"{place}:GRAPHS")
        for graph in cast(list[Any], value) if isinstance(value, list | tuple) else [value]:
            if not isinstance(graph, Graph):
                raise InvalidConfig(f"graphs: {place} has something that is no graph: {graph!r}")
            if graph.name in found:
                raise InvalidConfig(f"graphs: the name {graph.name!r} is taken twice")
            found[graph.name] = graph
    return found


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: no name of a module
        raise InvalidConfig(f"{place!r} cannot be imported: {error}") from None
