"""Documents in the order of their worth for a query."""

from typing import Annotated

from pydantic import BaseModel, Field

from deployments.capabilities import LONGEST_TEXT, MOST_DOCUMENTS, Ranking, Reranking
from serve_app.graph import graph


class RerankingRequest(BaseModel):
    query: str = Field(min_length=1, max_length=LONGEST_TEXT, examples=["Which animal barks?"])
    documents: list[Annotated[str, Field(max_length=LONGEST_TEXT)]] = Field(
        min_length=1, max_length=MOST_DOCUMENTS, examples=[["A dog barks.", "Cats purr."]]
    )


@graph(title="Reranking")
async def reranking(request: RerankingRequest, ranker: Reranking) -> Ranking:
    """Order documents by how well they answer a query, best first."""
    return await ranker.rank(request.query, request.documents)
