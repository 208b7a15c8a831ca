"""All of them."""

from functools import cache

from .films import films
from .pictures import pictures
from .recordings import recordings
from .sample import Kind, Sample


@cache
def corpus() -> tuple[Sample, ...]:
    return (*pictures(), *recordings(), *films())


@cache
def of_kind(kind: Kind) -> tuple[Sample, ...]:
    return tuple(sample for sample in corpus() if sample.kind == kind)
