"""Answers in pieces, as they are made: the mark of a method that streams, and what its items can do.

A stream and its whole are one answer in two forms. The items of a stream know both ways between them: `split` makes
pieces of a whole answer, for a model that does not stream, and `join` makes the whole of all the pieces.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypeVar

from .errors import ModelUnavailable

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Whole = TypeVar("Whole")


class Piece(Protocol[Whole]):
    """The item of a stream: a part of a whole answer."""

    @classmethod
    def split(cls, whole: Whole) -> list[Self]:
        """A whole answer as pieces, one at least."""
        ...

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> Whole:
        """The whole answer, of all its pieces in their order.

        Raises:
            ModelUnavailable: there are none, or the last is missing.
        """
        ...


def in_pieces(of: str) -> Callable[[F], F]:
    """Marks a method of a capability that streams: it gives the same answer as another one, as it is made.

    Args:
        of: the other one's name; it takes the same arguments. It becomes the attribute `whole` of the function.
    """

    def marked(function: F) -> F:
        function.__dict__["whole"] = of
        return function

    return marked


def whole_of(function: Callable[..., Any]) -> str | None:
    """The name of the method whose answer this one streams; None if it does not stream."""
    return function.__dict__.get("whole")


def at_least_one(pieces: Sequence[T]) -> Sequence[T]:
    """The pieces as they are.

    Raises:
        ModelUnavailable: there are none.
    """
    if not pieces:
        raise ModelUnavailable("the model gave nothing")
    return pieces
