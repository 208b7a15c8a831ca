"""A short wish becomes a picture prompt."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language, Message
from serve_app.graph import graph

MAX_WISH = 2000


class PromptEnhancementRequest(BaseModel):
    wish: str = Field(
        min_length=1, max_length=MAX_WISH, description="What to see, in few words", examples=["a red circle on blue"]
    )
    style: str | None = Field(default=None, max_length=200, description="How it should look", examples=["watercolour"])
    seed: int | None = Field(default=None, ge=0, lt=2**63)


class PromptEnhancementResult(BaseModel):
    prompt: str


async def enhance(wish: str, style: str | None, writer: Language, seed: int | None = None) -> str:
    """The wish as a picture prompt; the wish itself where the model has nothing to add. One line, no quotes."""
    request = f"Write a picture prompt for: {wish.strip()}" + (f" Style: {style.strip()}" if style else "")
    reply = await writer.chat([Message(role="user", content=request)], max_tokens=96, seed=seed)
    return " ".join(reply.text.split()).strip('"') or wish


def styled(wish: str, style: str | None) -> str:
    """The wish as it was said, with its style: what is painted where the model does not read more."""
    return f"{wish.strip().rstrip('.,')}, {style.strip()}" if style else wish


@graph(title="Prompt enhancement")
async def prompt_enhancement(request: PromptEnhancementRequest, writer: Language) -> PromptEnhancementResult:
    """Expand a wish into a picture prompt that keeps its subject and adds light, composition and style."""
    return PromptEnhancementResult(prompt=await enhance(request.wish, request.style, writer, request.seed))
