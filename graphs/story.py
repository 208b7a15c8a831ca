"""Stories in scenes."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language
from serve_app.graph import graph

from .outline import MAX_PARTS, outline

SYSTEM = "You tell stories. Answer with one line for each scene and nothing else, such as: Scene 1 of 3: what is seen."


class StoryRequest(BaseModel):
    about: str = Field(min_length=1, max_length=500, description="Subject of the story", examples=["a brave fox"])
    scenes: int = Field(default=3, ge=1, le=MAX_PARTS)
    seed: int | None = Field(default=None, ge=0, lt=2**32)


class StoryResult(BaseModel):
    scenes: list[str] = Field(description="The scenes in order; each can be painted on its own")


@graph(title="Story")
async def story(request: StoryRequest, writer: Language) -> StoryResult:
    """Write a story in scenes."""
    prompt = f"Tell a story of {request.scenes} scenes about: {request.about.strip()}"
    return StoryResult(scenes=await outline(writer, "Scene", SYSTEM, prompt, request.scenes, request.seed))
