"""What every painter checks of a call, here or at a provider's."""

from ..errors import InvalidInput

LONGEST_PROMPT = 8000  # characters, whatever a model's text encoder reads of them (context.py)
MOST_GUIDANCE = 30.0


def check_texts(prompt: str, negative_prompt: str | None, *, may_be_empty: bool = False) -> None:
    """Texts must not be too long, and a prompt must say something.

    Raises:
        InvalidInput: one does not; names it.
    """
    for field, text in (("prompt", prompt), ("negative_prompt", negative_prompt or "")):
        if len(text) > LONGEST_PROMPT:
            raise InvalidInput(field, f"has {len(text):,} characters; at most {LONGEST_PROMPT:,} are read")
    if not may_be_empty and not prompt.strip():
        raise InvalidInput("prompt", "is empty")


def check_steps(steps: int, most: int) -> None:
    if not 1 <= steps <= most:
        raise InvalidInput("steps", f"is {steps}; it goes from 1 to {most}")


def check_guidance(guidance: float, most: float = MOST_GUIDANCE) -> None:
    if not 0 <= guidance <= most:  # also false for NaN
        raise InvalidInput("guidance", f"is {guidance}; it goes from 0 to {most:g}")
