"""What comes out of models that hear and speak: words, segments, transcripts, voices."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, Field

from .pieces import at_least_one


class Word(BaseModel):
    """A recognised word."""

    start: float = Field(description="Seconds from the beginning")
    end: float = Field(description="Seconds from the beginning")
    text: str


class Segment(BaseModel):
    """A stretch of recognised speech."""

    start: float = Field(description="Seconds from the beginning")
    end: float = Field(description="Seconds from the beginning")
    text: str
    words: list[Word] = Field(default=[], description="Where asked for")
    tokens: list[int] = Field(default=[], description="The model's own, where it has some")
    temperature: float | None = Field(default=None, description="At which the text was drawn, where the model says so")
    avg_logprob: float | None = Field(default=None, description="Mean log probability of its tokens, where it says so")
    no_speech_prob: float | None = Field(default=None, description="That nobody speaks, 0 to 1, where it says so")


class Transcript(BaseModel):
    """What was heard in a recording. In a stream, what was heard in a stretch of it."""

    text: str
    language: str = Field(description="BCP 47 tag")
    seconds: float = Field(description="Length of the recording")
    segments: list[Segment] = []

    @classmethod
    def split(cls, whole: Self) -> list[Self]:
        """A transcript as one stretch."""
        return [whole]

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> Self:
        """The transcript of the recording whose stretches these are.

        Raises:
            ModelUnavailable: there are none.
        """
        first = at_least_one(pieces)[0]
        return cls(
            text=" ".join(piece.text for piece in pieces if piece.text),
            language=first.language,
            seconds=first.seconds,
            segments=[segment for piece in pieces for segment in piece.segments],
        )


class SpokenStretch(BaseModel):
    """A part of a recording in which somebody speaks."""

    start: float = Field(description="Seconds from the beginning")
    end: float = Field(description="Seconds from the beginning")


class SpokenTimes(BaseModel):
    """When somebody speaks in a recording."""

    seconds: float = Field(description="Length of the recording")
    stretches: list[SpokenStretch] = Field(description="From the first to the last; none, if nobody speaks")


class Voice(BaseModel):
    """A voice a text-to-speech model speaks with."""

    name: str
    language: str = Field(description="BCP 47 tag")
    description: str = ""
