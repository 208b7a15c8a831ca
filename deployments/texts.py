"""Texts that go into models which compare them: their bounds, and the pieces that a model reads a long one in."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from .errors import InvalidInput
from .vectors import LONGEST_TEXT, MOST_TEXTS


@dataclass(frozen=True)
class Piece:
    """A part of a text, short enough to be read at once."""

    text: int  # its text's place
    words: str
    tokens: int


def check_texts(texts: Sequence[str], name: str, most: int = MOST_TEXTS) -> None:
    """Refuse what is no text, or too many.

    Args:
        name: of the argument.

    Raises:
        InvalidInput: there are none or too many, or one is blank or too long; names it by its place.
    """
    if not 1 <= len(texts) <= most:
        raise InvalidInput(name, f"has {len(texts)} texts; 1 to {most} can be read at once")
    for place, text in enumerate(texts):
        check_text(text, f"{name}.{place}")


def check_text(text: str, name: str) -> None:
    """Refuse a text that is blank or too long.

    Raises:
        InvalidInput: it is; names the argument.
    """
    if not text.strip():
        raise InvalidInput(name, "is blank")
    if len(text) > LONGEST_TEXT:
        raise InvalidInput(name, f"has {len(text):,} characters; {LONGEST_TEXT:,} are the most")


def pieces(texts: Sequence[str], tokenizer: Any, longest: int, stopped: Callable[[], bool]) -> list[Piece]:
    """Every text in pieces of at most `longest` tokens, special ones not counted.

    Args:
        stopped: whether nobody waits for them any more; asked before each text.

    Raises:
        CancelledError: nobody does.
    """
    found = list[Piece]()
    for place, text in enumerate(texts):
        if stopped():
            raise CancelledError
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)[
            "offset_mapping"
        ]
        if len(offsets) <= longest:
            found.append(Piece(place, text, len(offsets)))
            continue
        for first in range(0, len(offsets), longest):
            part = offsets[first : first + longest]
            found.append(Piece(place, text[part[0][0] : part[-1][1]], len(part)))
    return found
