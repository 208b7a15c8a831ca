"""The little world the starter models share: one to three shapes on a plain background, or one of six landscapes.

A `Scene` says what is in a picture, `render` paints it exactly, `describe` and `wish` put it into words, and `judge`
reads a picture back with arithmetic on its pixels. The painter learns words -> pixels from these, the writer learns
how people ask, and the judge measures both; it is no network and never sees a prompt.
"""

from .drawing import render
from .judge import judge
from .scene import COLOURS, COUNTS, LANDSCAPES, POSITIONS, SHAPES, SIDE, SIZES, Scene, random_scene
from .words import describe, wish

__all__ = [
    "COLOURS", "COUNTS", "LANDSCAPES", "POSITIONS", "SHAPES", "SIDE", "SIZES", "Scene", "describe", "judge",
    "random_scene", "render", "wish",
]  # fmt: skip
