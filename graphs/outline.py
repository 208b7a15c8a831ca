"""A language model's answer as a list of numbered parts: the scenes of a story, the points of a lesson."""

import re

from deployments.capabilities import Language, Message
from deployments.errors import ModelUnavailable

MOST_PARTS = 8
TOKENS_A_PART = 120
TRIES = 2  # a model that misses the form once often finds it the second time


def numbered(text: str, unit: str) -> list[str]:
    """What stands behind `Scene 1 of 3:`, `Scene 1.`, `**Scene 1**:` or `1)`, in order; [] where the count is broken.

    A part may go over several lines; what stands before the first is left out.
    """
    head = re.compile(rf"^[\s*#]*(?:{unit}\s+)?(\d+)(?:\s+of\s+\d+)?[\s*]*[:.)–-][\s*]*", re.IGNORECASE | re.MULTILINE)
    found = list(head.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    if not found or [int(match[1]) for match in found] != list(range(1, len(found) + 1)):
        return []
    parts = [" ".join(text[match.end() : end].split()) for match, end in zip(found, ends, strict=True)]
    return parts if all(parts) else []


async def outline(writer: Language, unit: str, system: str, request: str, count: int, seed: int | None) -> list[str]:
    """Ask for `count` numbered parts.

    Raises:
        ModelUnavailable: the model did not keep to the form.
    """
    asked = [Message(role="system", content=system), Message(role="user", content=request)]
    for number in range(TRIES):
        again = None if seed is None else seed + number
        parts = numbered((await writer.chat(asked, max_tokens=TOKENS_A_PART * count, seed=again)).text, unit)
        if len(parts) >= count:
            return parts[:count]
    raise ModelUnavailable(f"the language model did not answer with {count} numbered {unit.lower()}s")
