"""A story in scenes."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language
from serve_app.graph import graph

from .outline import MOST_PARTS, outline

SYSTEM = "You tell stories. Answer with one line for each scene and nothing else, such as: Scene 1 of 3: what is seen."


class StoryRequest(BaseModel):
    about: str = Field(min_length=1, max_length=500, description="Whom or what it tells of", examples=["a brave fox"])
    scenes: int = Field(default=3, ge=1, le=MOST_PARTS)
    seed: int | None = Field(default=None, ge=0, lt=2**32)


class StoryResult(BaseModel):
    scenes: list[str] = Field(description="What happens, a scene each; every one can be painted alone")


@graph(title="Story")
async def story(request: StoryRequest, writer: Language) -> StoryResult:
    """Tell a story in scenes."""
    asked = f"Tell a story of {request.scenes} scenes about: {request.about.strip()}"
    return StoryResult(scenes=await outline(writer, "Scene", SYSTEM, asked, request.scenes, request.seed))
