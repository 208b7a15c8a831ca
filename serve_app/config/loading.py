"""Loading of the backends and graphs that a profile names, and the check of its other names."""

import functools
import importlib
from collections.abc import Collection, Iterable
from typing import Any, cast

from deployments import BACKENDS
from deployments.backend import Backend
from deployments.capabilities import capabilities_of

from ..errors import InvalidConfig, nearest
from ..graph import Graph
from .schema import AppConfig


@functools.cache
def load_backend(name: str) -> type[Backend]:
    """The backend class of a short name or `package.module:Class`.

    Raises:
        InvalidConfig: the class does not exist, is not a `Backend`, or offers no capability.
    """
    backend = BACKENDS.get(name) or (_attribute(name) if ":" in name else None)
    if backend is None:
        raise InvalidConfig(f"There is no backend {name!r}.{nearest(name, BACKENDS)}")
    if not isinstance(backend, type) or not issubclass(backend, Backend):
        raise InvalidConfig(f"{name!r} is not a backend: it must be a class that inherits deployments.backend.Backend.")
    if not capabilities_of(backend):
        raise InvalidConfig(f"Backend {name!r} offers no capability.")
    return backend


def load_graphs(places: Iterable[str]) -> dict[str, Graph[..., Any]]:
    """The graphs in packages or modules, by name.

    Raises:
        InvalidConfig: a place has no graphs, or two graphs have the same name.
    """
    graphs: dict[str, Graph[..., Any]] = {}
    for place in places:
        value = _attribute(place if ":" in place else f"{place}:GRAPHS")
        for graph in cast(list[Any], value) if isinstance(value, list | tuple) else [value]:
            if not isinstance(graph, Graph):
                raise InvalidConfig(f"graphs: {place} has an entry that is not a graph: {graph!r}")
            if graph.name in graphs:
                raise InvalidConfig(f"graphs: the name {graph.name!r} is used twice")
            graphs[graph.name] = graph
    return graphs


def check_names(app: AppConfig, graphs: Collection[str], at: str) -> None:
    """Check that the profile has every graph that it prices and every kind of node that its models name.

    Args:
        graphs: the names of the profile's graphs.
        at: the path of the `args` in the profile.

    Raises:
        InvalidConfig: names the key's path and the nearest name.
    """
    for name in app.jobs.prices:
        if name not in graphs:
            raise InvalidConfig(f"{at}.jobs.prices.{name}: there is no graph {name!r}.{nearest(name, graphs)}")
    nodes = [node.name for node in app.nodes]
    for index, model in enumerate(app.models):
        if model.node is not None and model.node not in nodes:
            where = f"{at}.models[{index}].node"
            raise InvalidConfig(f"{where}: there is no kind of node {model.node!r}.{nearest(model.node, nodes)}")


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: an invalid module name
        raise InvalidConfig(f"{place!r} cannot be imported: {error}") from None
