"""What comes out of models that judge whether something may be said."""

from pydantic import BaseModel, Field


class Judgement(BaseModel):
    """How a text is judged."""

    flagged: bool = Field(description="Whether a category is beyond its threshold")
    categories: list[str] = Field(description="Those that are, the surest first")
    scores: dict[str, float] = Field(description="Of every category that the model knows, 0 to 1")


class Judgements(BaseModel):
    """Texts as they are judged, in their order."""

    results: list[Judgement]
    prompt_tokens: int = Field(description="Of all texts, as the model counts them")
