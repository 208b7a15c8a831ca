"""Which weights a backend's options name, so that `medley models pull` can fetch them ahead of its start.

An option called `weights` names some, with its `revision` and `variant` beside it; any other option that does is marked
with `Loads`. A test holds every option whose description speaks of a hub name to that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
USUAL = ("*.safetensors", *TEXTS)  # what engines load, unless an option says otherwise


@dataclass(frozen=True)
class Loads:
    """Marks an option that names weights, or several by names of the profile's own: `NAME: weights`."""

    revision: str | None = None  # the option beside it that says which; none: `ORG/NAME@COMMIT` does
    files: tuple[str, ...] = USUAL  # patterns of what its engine loads


@dataclass(frozen=True)
class Named:
    """Weights that an option names: a folder, `starter/NAME` or a name on the hub."""

    name: str
    revision: str | None
    variant: str | None
    files: tuple[str, ...]  # patterns of the names of what its engine loads, their folders left out
    only: tuple[str, ...]  # patterns of whole paths, where it loads a part of the repository; else none


def named_by(options: BaseModel) -> Iterator[Named]:
    """All that these options name, those within them included."""
    for field, about in type(options).model_fields.items():
        value: Any = getattr(options, field)
        mark = next((said for said in about.metadata if isinstance(said, Loads)), None)
        if mark is None and field == "weights":
            mark = Loads("revision")
        if mark is None:
            for inner in _options_in(value):
                yield from named_by(inner)
        else:
            for weights in _values(value):
                yield _named(options, mark, str(weights))


def _named(options: BaseModel, mark: Loads, weights: str) -> Named:
    if mark.revision is None:
        name, _, commit = weights.partition("@")
        return Named(name, commit or None, None, mark.files, ())
    revision, own = getattr(options, mark.revision, None), mark.revision == "revision"
    variant = getattr(options, "variant", None) if own else None
    return Named(weights, revision, variant, mark.files, _part(options) if own else ())


def _part(options: BaseModel) -> tuple[str, ...]:
    """Patterns of the one file that is asked for, and of what goes with it in folders beneath (its image encoder)."""
    file, folder = getattr(options, "file", None), getattr(options, "subfolder", None)
    if not file:
        return ()
    return (f"{folder}/{file}", f"{folder}/*/*") if folder else (file,)


def _values(value: Any) -> list[Any]:
    """What a marked option has: one name, several, or none."""
    found = list(cast(Mapping[str, Any], value).values()) if isinstance(value, Mapping) else [value]
    return [one for one in found if one is not None]


def _options_in(value: Any) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
    elif isinstance(value, Mapping):
        for inner in cast(Mapping[str, Any], value).values():
            yield from _options_in(inner)
    elif isinstance(value, list | tuple):
        for inner in cast(list[Any], value):
            yield from _options_in(inner)
