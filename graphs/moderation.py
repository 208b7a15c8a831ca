"""Whether texts may be said."""

from typing import Annotated

from pydantic import BaseModel, Field

from deployments.capabilities import LONGEST_TEXT, MOST_TEXTS, Judgements, Moderation
from serve_app.graph import graph


class ModerationRequest(BaseModel):
    texts: list[Annotated[str, Field(max_length=LONGEST_TEXT)]] = Field(
        min_length=1, max_length=MOST_TEXTS, examples=[["I will help you.", "I will hurt you."]]
    )


@graph(title="Moderation")
async def moderation(request: ModerationRequest, moderator: Moderation) -> Judgements:
    """Judge whether texts threaten, insult or harm, by the categories that the model knows."""
    return await moderator.moderate(request.texts)
