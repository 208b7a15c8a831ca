"""The service behind the routes: its configuration, graphs, models and jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.schema import AppConfig
from ..errors import UnknownName
from ..graph import Graph
from ..jobs.dispatch import Dispatch
from ..models.registry import Models


@dataclass(frozen=True)
class Service:
    """The objects that every route uses."""

    config: AppConfig
    graphs: Mapping[str, Graph[..., Any]]
    models: Models
    jobs: Dispatch

    def graph(self, name: str) -> Graph[..., Any]:
        """The graph of a name.

        Raises:
            UnknownName: there is no such graph; names the nearest.
        """
        if name not in self.graphs:
            raise UnknownName("graph", name, self.graphs)
        return self.graphs[name]
