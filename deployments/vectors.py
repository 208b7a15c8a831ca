"""What comes out of models that compare texts: vectors, and documents in the order of their worth."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, Field

MOST_TEXTS = 2048  # as in OpenAI's API
MOST_DOCUMENTS = 1000
LONGEST_TEXT = 2_000_000  # characters


class Vectors(BaseModel):
    """Texts as vectors, in the texts' order."""

    vectors: list[list[float]] = Field(description="One for each text, of length 1")
    prompt_tokens: int = Field(description="Of all texts, as the model counts them")


class Ranked(BaseModel):
    """A document's worth for a query."""

    index: int = Field(description="The document's place in the request, from 0")
    score: float = Field(description="0 to 1")


class Ranking(BaseModel):
    """Documents, best first."""

    results: list[Ranked]
    prompt_tokens: int = Field(description="Of the query and all documents, as the model counts them")

    @classmethod
    def by(cls, scores: Sequence[float], prompt_tokens: int) -> Self:
        """Documents by their scores; of equals the first comes first."""
        order = sorted(range(len(scores)), key=lambda at: -scores[at])
        return cls(results=[Ranked(index=at, score=scores[at]) for at in order], prompt_tokens=prompt_tokens)
