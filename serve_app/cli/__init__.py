"""The command line, `medley`."""

from .main import app, main

__all__ = ["app", "main"]
