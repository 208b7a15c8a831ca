"""`model: auto`: which model of a capability is asked first, and why.

Each model says in the profile what it is good at, what a call costs and how large a thing it makes; how busy it is and
whether it rests from failing is seen here. The rest of them follow in their order, as fallbacks.

| what | points |
|---|---|
| good at the prompt's category | 2 |
| says nothing of what it is good at | 0.5 |
| the dearest of the candidates; the others in proportion | -1 |
| each call of this process that it works on | -0.25, at most -2 |
| too small for what is asked | behind all that are not |
| rests from failing | behind all others (`breaker.py`) |

Of equals the profile's first comes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from deployments.prompt_category import Category, category_of

from ..config.schema import Traits

GOOD_AT_IT, SAYS_NOTHING, DEAREST, A_CALL, MOST_FOR_CALLS = 2.0, 0.5, -1.0, -0.25, -2.0


@dataclass(frozen=True)
class Wanted:
    """What is asked, as far as the selector looks."""

    category: Category = "general"
    size: int | None = None  # longest side in pixels, or new tokens


class Candidate(Protocol):
    """A model."""

    @property
    def name(self) -> str: ...
    @property
    def traits(self) -> Traits: ...


@dataclass(frozen=True)
class Choice:
    """A candidate and what speaks for and against it."""

    model: Any
    points: float
    fits: bool
    why: tuple[str, ...] = field(default=())


def wanted(arguments: Mapping[str, Any]) -> Wanted:
    """What a call of a capability's method asks: its `prompt`, or the last of its `messages`, and its size."""
    messages = arguments.get("messages") or ()
    text = arguments.get("prompt") or arguments.get("text") or (messages[-1].content if messages else "")
    sizes = [arguments[name] for name in ("width", "height", "max_tokens") if arguments.get(name)]
    return Wanted(category_of(text), max(sizes, default=None))


def ranked(candidates: Sequence[Candidate], asked: Wanted, calls: Mapping[str, int]) -> list[Choice]:
    """The candidates, the best first. `calls` is how many each works on."""
    dearest = max((one.traits.cost for one in candidates), default=0.0)
    choices = [_judged(one, asked, calls.get(one.name, 0), dearest) for one in candidates]
    return sorted(choices, key=lambda choice: (not choice.fits, -choice.points))


def _judged(model: Candidate, asked: Wanted, calls: int, dearest: float) -> Choice:
    traits, points, why = model.traits, 0.0, list[str]()
    if asked.category in traits.good_at:
        points, why = points + GOOD_AT_IT, [f"good at {asked.category}"]
    elif not traits.good_at:
        points, why = points + SAYS_NOTHING, ["for anything"]
    if traits.cost:
        points += DEAREST * traits.cost / dearest
        why.append(f"costs {traits.cost:g}")
    if calls:
        points += max(MOST_FOR_CALLS, A_CALL * calls)
        why.append(f"works on {calls}")
    fits = traits.largest is None or asked.size is None or asked.size <= traits.largest
    if not fits:
        why.append(f"makes {traits.largest}, {asked.size} is asked")
    return Choice(model, round(points, 3), fits, tuple(why))
