"""Lessons in points."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language
from serve_app.graph import graph

from .outline import MAX_PARTS, outline

SYSTEM = "You are a teacher. Answer with one line for each point and nothing else, such as: Point 1 of 3: what to know."


class LessonRequest(BaseModel):
    about: str = Field(min_length=1, max_length=500, description="Subject of the lesson", examples=["volcanoes"])
    points: int = Field(default=3, ge=1, le=MAX_PARTS)
    seed: int | None = Field(default=None, ge=0, lt=2**32)


class LessonResult(BaseModel):
    points: list[str]


@graph(title="Lesson")
async def lesson(request: LessonRequest, writer: Language) -> LessonResult:
    """Write a lesson in numbered points."""
    prompt = f"Teach a lesson of {request.points} points about: {request.about.strip()}"
    return LessonResult(points=await outline(writer, "Point", SYSTEM, prompt, request.points, request.seed))
