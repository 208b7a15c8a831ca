"""The selector behind `model: auto`: which model of a capability is tried first, and why.

The profile states for each model what it is good at, what a call costs and the largest size it makes; the process knows
how busy each model is and whether its circuit is open. The other candidates follow in order, as fallbacks.

| property of the model | points |
|---|---|
| good at the prompt's category | 2 |
| states no category | 0.5 |
| the most expensive candidate; the others in proportion | -1 |
| each call of this process beyond those that a replica works on at once | -0.25, at most -2 |
| too small for the request | after every model that is large enough |
| its circuit is open | after all others (`circuit_breaker.py`) |

Among equals, the profile's order decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from deployments.prompt_category import Category, category_of, task_of

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
    @property
    def concurrency(self) -> int: ...  # calls that a replica works on at once


@dataclass(frozen=True)
class Choice:
    """A candidate, its points and the reasons for them."""

    model: Any
    points: float
    fits: bool
    why: tuple[str, ...] = field(default=())


def demand_of(arguments: Mapping[str, Any]) -> Demand:
    """The demand of a call: the category of its `prompt`, or the task of its last message, and its size.

    A call whose answer has a form, by a JSON schema or tools, is `structured` whatever its message says.
    """
    sizes = [arguments[name] for name in ("width", "height", "max_tokens") if arguments.get(name)]
    if messages := arguments.get("messages"):
        formed = arguments.get("json_schema") is not None or bool(arguments.get("tools"))
        category = "structured" if formed else task_of(messages[-1].text)
    else:
        category = category_of(arguments.get("prompt") or arguments.get("text") or "")
    return Demand(category, max(sizes, default=None))


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
    if waiting := max(0, calls - model.concurrency):
        points += max(ALL_CALLS, PER_CALL * waiting)
        why.append(f"{waiting} calls wait for it")
    fits = traits.largest is None or demand.size is None or demand.size <= traits.largest
    if not fits:
        why.append(f"makes {traits.largest}, {demand.size} is requested")
    return Choice(model, round(points, 3), fits, tuple(why))
