"""What is asked of a language model, whatever its engine: checked arguments."""

from dataclasses import dataclass

from ..capabilities import Message
from ..errors import InvalidInput

MOST_STOPS = 16


@dataclass(frozen=True)
class Asked:
    """The arguments of one call, checked."""

    messages: list[Message]
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: tuple[str, ...]
    seed: int | None  # 0 to 2^63 - 1

    @classmethod
    def checked(
        cls,
        messages: list[Message],
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        stop: list[str] | None,
        seed: int | None,
    ) -> "Asked":
        """Raises InvalidInput with the name of the argument that cannot be used."""
        if not messages:
            raise InvalidInput("messages", "is empty; one message at least is needed")
        if max_tokens is not None and max_tokens < 1:
            raise InvalidInput("max_tokens", f"is {max_tokens}; at least 1 is written")
        if temperature is not None and not 0 <= temperature <= 2:  # also true for NaN, as below
            raise InvalidInput("temperature", f"is {temperature}; it goes from 0 to 2")
        if top_p is not None and not 0 < top_p <= 1:
            raise InvalidInput("top_p", f"is {top_p}; it is above 0 and at most 1")
        stops = tuple(stop or ())
        if len(stops) > MOST_STOPS or not all(stops):
            raise InvalidInput("stop", f"takes up to {MOST_STOPS} texts, none of them empty")
        return cls(messages, max_tokens, temperature, top_p, stops, None if seed is None else seed % 2**63)
