"""What Medley adds to a prompt is left out where the model would not read all of it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployments.errors import PromptTooLong

T = TypeVar("T")


async def fitting(paint: Callable[[str], Awaitable[T]], *prompts: str, field: str = "prompt") -> tuple[str, T]:
    """The first of these prompts that the model reads to its end, and what is painted of it.

    Only the model knows how much it reads, so it is asked: a prompt that is too long is refused before it is painted.

    Args:
        prompts: from the one with most added to it to the one with what the caller said alone.
        field: of the request, in which the caller said it.

    Raises:
        PromptTooLong: what the caller said is too long by itself.
    """
    *richer, own = dict.fromkeys(prompts)
    for prompt in richer:
        try:
            return prompt, await paint(prompt)
        except PromptTooLong as error:
            if error.field != "prompt":
                raise
    try:
        return own, await paint(own)
    except PromptTooLong as error:
        raise PromptTooLong(field if error.field == "prompt" else error.field, error.detail) from None
