"""Medley, a self-hosted generative-AI platform on Ray Serve. Its public names: `Medley`, `graph` and `build`."""

from typing import TYPE_CHECKING, Any

from .graph import graph  # imported eagerly: later the module of this name would hide it

if TYPE_CHECKING:
    from .app import build
    from .clients.notebook import Medley

__all__ = ["Medley", "build", "graph"]


def __getattr__(name: str) -> Any:
    """The other public names, imported on first use: `build` imports Ray, which reads its environment on import.

    Raises:
        AttributeError: the package has no such name.
    """
    if name == "Medley":
        from .clients.notebook import Medley

        return Medley
    if name == "build":
        from .app import build

        return build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
