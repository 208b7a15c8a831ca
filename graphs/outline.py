"""Numbered parts in a language model's answer: the scenes of a story, the points of a lesson."""

import re

from deployments.capabilities import Language, Message
from deployments.errors import ModelUnavailable

MAX_PARTS = 8
TOKENS_PER_PART = 120
TRIES = 2  # a model that misses the format once often gets it right the second time


def numbered(text: str, unit: str) -> list[str]:
    """The texts after `Scene 1 of 3:`, `Scene 1.`, `**Scene 1**:` or `1)`, in order; [] if the numbering is broken.

    A part may have several lines; text before the first part is left out.
    """
    head = re.compile(rf"^[\s*#]*(?:{unit}\s+)?(\d+)(?:\s+of\s+\d+)?[\s*]*[:.)–-][\s*]*", re.IGNORECASE | re.MULTILINE)
    heads = list(head.finditer(text))
    ends = [*(match.start() for match in heads[1:]), len(text)]
    if not heads or [int(match[1]) for match in heads] != list(range(1, len(heads) + 1)):
        return []
    parts = [" ".join(text[match.end() : end].split()) for match, end in zip(heads, ends, strict=True)]
    return parts if all(parts) else []


async def outline(writer: Language, unit: str, system: str, request: str, count: int, seed: int | None) -> list[str]:
    """The model's answer to a request for `count` numbered parts.

    Raises:
        ModelUnavailable: the model did not keep to the format.
    """
    messages = [Message(role="system", content=system), Message(role="user", content=request)]
    for number in range(TRIES):
        own_seed = None if seed is None else seed + number
        parts = numbered((await writer.chat(messages, max_tokens=TOKENS_PER_PART * count, seed=own_seed)).text, unit)
        if len(parts) >= count:
            return parts[:count]
    raise ModelUnavailable(f"the language model did not answer with {count} numbered {unit.lower()}s")
