"""The selector behind `model: auto`: which model of a capability is tried first, and why.

The profile states for each model what it is good at, what a call costs and the largest size it makes; the process knows
how busy each model is and whether its circuit is open. The other candidates follow in order, as fallbacks.

| property of the model | points |
|---|---|
| good at the prompt's category | 2 |
| states no category | 0.5 |
| the most expensive candidate; the others in proportion | -1 |
| each call of this process that it works on | -0.25, at most -2 |
| too small for the request | after every model that is large enough |
| its circuit is open | after all others (`circuit_breaker.py`) |

Among equals, the profile's order decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from deployments.prompt_category import Category, category_of

from ..config.schema import Traits

GOOD_AT_CATEGORY, NO_CATEGORY, MOST_EXPENSIVE, PER_CALL, ALL_CALLS = 2.0, 0.5, -1.0, -0.25, -2.0  # points


@dataclass(frozen=True)
class Demand:
    """The properties of a request that the selector considers."""

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
    """A candidate, its points and the reasons for them."""

    model: Any
    points: float
    fits: bool
    why: tuple[str, ...] = field(default=())


def demand_of(arguments: Mapping[str, Any]) -> Demand:
    """The demand of a call: the category of its `prompt` or last message, and its size."""
    messages = arguments.get("messages") or ()
    text = arguments.get("prompt") or arguments.get("text") or (messages[-1].text if messages else "")
    sizes = [arguments[name] for name in ("width", "height", "max_tokens") if arguments.get(name)]
    return Demand(category_of(text), max(sizes, default=None))


def ranked(candidates: Sequence[Candidate], demand: Demand, calls: Mapping[str, int]) -> list[Choice]:
    """The candidates, best first. `calls` is the number of calls that each model works on, by name."""
    top_cost = max((model.traits.cost for model in candidates), default=0.0)
    choices = [_choice(model, demand, calls.get(model.name, 0), top_cost) for model in candidates]
    return sorted(choices, key=lambda choice: (not choice.fits, -choice.points))


def _choice(model: Candidate, demand: Demand, calls: int, top_cost: float) -> Choice:
    traits, points, why = model.traits, 0.0, list[str]()
    if demand.category in traits.good_at:
        points, why = points + GOOD_AT_CATEGORY, [f"good at {demand.category}"]
    elif not traits.good_at:
        points, why = points + NO_CATEGORY, ["for anything"]
    if traits.cost:
        points += MOST_EXPENSIVE * traits.cost / top_cost
        why.append(f"costs {traits.cost:g}")
    if calls:
        points += max(ALL_CALLS, PER_CALL * calls)
        why.append(f"works on {calls}")
    fits = traits.largest is None or demand.size is None or demand.size <= traits.largest
    if not fits:
        why.append(f"makes {traits.largest}, {demand.size} is requested")
    return Choice(model, round(points, 3), fits, tuple(why))
