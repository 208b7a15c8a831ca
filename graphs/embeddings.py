"""Texts as vectors."""

from typing import Annotated

from pydantic import BaseModel, Field

from deployments.capabilities import LONGEST_TEXT, MOST_TEXTS, Embeddings, Purpose, Vectors
from serve_app.graph import graph


class EmbeddingsRequest(BaseModel):
    texts: list[Annotated[str, Field(max_length=LONGEST_TEXT)]] = Field(
        min_length=1, max_length=MOST_TEXTS, description="Texts to compare", examples=[["a cat", "a kitten"]]
    )
    purpose: Purpose | None = Field(
        default=None, description="`query` for texts that look for others, `document` for those that are found"
    )
    dimensions: int | None = Field(default=None, ge=1, le=65_536, description="Of the vectors; else all of the model's")


@graph(title="Embeddings")
async def embeddings(request: EmbeddingsRequest, embedder: Embeddings) -> Vectors:
    """Turn texts into vectors: the nearer their directions, the more alike the texts."""
    return await embedder.embed(request.texts, purpose=request.purpose, dimensions=request.dimensions)
