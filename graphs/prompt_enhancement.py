"""Expansion of a short wish into a picture prompt."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language, Message
from serve_app.graph import graph

MAX_WISH = 2000


class PromptEnhancementRequest(BaseModel):
    wish: str = Field(
        min_length=1,
        max_length=MAX_WISH,
        description="What the picture should show, in a few words",
        examples=["a red circle on blue"],
    )
    style: str | None = Field(default=None, max_length=200, description="How it should look", examples=["watercolour"])
    seed: int | None = Field(default=None, ge=0, lt=2**63)


class PromptEnhancementResult(BaseModel):
    prompt: str


async def enhance(wish: str, style: str | None, writer: Language, seed: int | None = None) -> str:
    """The wish expanded into a picture prompt of one line without quotes; the wish itself if the model adds nothing."""
    request = f"Write a picture prompt for: {wish.strip()}" + (f" Style: {style.strip()}" if style else "")
    reply = await writer.chat([Message(role="user", content=request)], max_tokens=96, seed=seed)
    return " ".join(reply.text.split()).strip('"') or wish


def styled(wish: str, style: str | None) -> str:
    """The wish with its style and nothing else, for models that do not read a longer prompt."""
    return f"{wish.strip().rstrip('.,')}, {style.strip()}" if style else wish


@graph(title="Prompt enhancement")
async def prompt_enhancement(request: PromptEnhancementRequest, writer: Language) -> PromptEnhancementResult:
    """Expand a wish into a picture prompt that keeps its subject and adds light, composition and style."""
    return PromptEnhancementResult(prompt=await enhance(request.wish, request.style, writer, request.seed))
