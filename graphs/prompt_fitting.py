"""Fitting of prompts: Medley's additions are left out if the model would not read the whole prompt."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployments.errors import PromptTooLong

T = TypeVar("T")


async def fitting(paint: Callable[[str], Awaitable[T]], *prompts: str, field: str = "prompt") -> tuple[str, T]:
    """The first prompt that the model reads to its end, and the result of painting it.

    Only the model knows how much it reads, so each prompt is tried: a model refuses a prompt that is too long before it
    paints.

    Args:
        prompts: the prompts, from the one with the most additions to the caller's own text.
        field: the field of the request with the caller's text.

    Raises:
        PromptTooLong: the caller's own text is too long.
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
