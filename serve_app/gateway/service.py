"""All that a route needs."""

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
    """All that a route needs."""

    config: AppConfig
    graphs: Mapping[str, Graph[..., Any]]
    models: Models
    jobs: Dispatch

    def graph(self, name: str) -> Graph[..., Any]:
        """The graph of this name.

        Raises:
            UnknownName: there is none; says the nearest.
        """
        if name not in self.graphs:
            raise UnknownName("graph", name, self.graphs)
        return self.graphs[name]
