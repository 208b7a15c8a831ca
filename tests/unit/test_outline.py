"""Numbered answers are taken apart, in the starter writer's form and in those of other models."""

import random

import pytest

from deployments.capabilities import Reply
from deployments.errors import ModelUnavailable
from deployments.starter.writer.tales import KINDS, LESSON, STORY, tell, well_formed
from graphs import lesson, story
from graphs.lesson import SYSTEM as LESSON_SYSTEM
from graphs.lesson import LessonRequest
from graphs.outline import numbered
from graphs.story import SYSTEM as STORY_SYSTEM
from graphs.story import StoryRequest

from .fakes import Writer


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_tale_the_writer_learns_is_parsed(kind) -> None:
    rng = random.Random(1)
    for _ in range(300):
        tale = tell(kind, rng)
        assert well_formed(kind, tale.answer, tale.count)
        parts = numbered(tale.answer, kind.unit)
        assert len(parts) == tale.count
        assert all(tale.subject in part for part in parts)


@pytest.mark.parametrize(
    "text",
    [
        "Scene 1 of 2: A fox wakes.\nScene 2 of 2: It sleeps.",
        "Here is your story.\n\n**Scene 1:** A fox\nwakes.\n\n**Scene 2:** It sleeps.\n",
        "1. A fox wakes.\n2. It sleeps.",
        "## Scene 1 - A fox wakes.\n## Scene 2 - It sleeps.",
        "SCENE 1) A fox wakes.\nSCENE 2) It sleeps.",
    ],
)
def test_forms_of_other_models(text: str) -> None:
    assert numbered(text, "Scene") == ["A fox wakes.", "It sleeps."]


@pytest.mark.parametrize(
    "text",
    ["", "Once upon a time.", "Scene 2 of 2: It sleeps.", "Scene 1: a\nScene 3: b", "Scene 1 of 2:\nScene 2 of 2: b"],
)
def test_what_is_no_outline(text: str) -> None:
    assert numbered(text, "Scene") == []


@pytest.mark.parametrize(
    ("kind", "text", "count"),
    [
        (STORY, "Scene 1 of 2: a", 2),
        (STORY, "Scene 1 of 2: a\nScene 2 of 3: b", 2),
        (STORY, "Scene 1 of 1:  ", 1),
        (LESSON, "Scene 1 of 1: a", 1),
        (STORY, "Scene 1 of 1: a\n", 1),
    ],
)
def test_the_measure_finds_wrong_forms(kind, text: str, count: int) -> None:
    assert not well_formed(kind, text, count)


class Says(Writer):
    """Answers with these texts, one after the other."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts, self.asked = list(texts), []

    async def chat(self, messages, **how) -> Reply:
        self.asked.append([(message.role, message.content) for message in messages])
        return Reply(text=self.texts.pop(0), finish_reason="stop", prompt_tokens=1, completion_tokens=1)


async def test_the_graphs_ask_in_the_words_the_writer_learned() -> None:
    writer = Says("Scene 1 of 1: a fox", "Point 1 of 1: a fox")
    told = await story(StoryRequest(about=" a fox ", scenes=1), writer)
    taught = await lesson(LessonRequest(about="a fox", points=1), writer)
    assert (told.scenes, taught.points) == (["a fox"], ["a fox"])
    assert writer.asked == [
        [("system", kind.system), ("user", kind.asked.format(n=1, s="a fox"))] for kind in KINDS.values()
    ]
    assert (STORY.system, LESSON.system) == (STORY_SYSTEM, LESSON_SYSTEM)


async def test_a_broken_form_is_asked_again_once() -> None:
    assert (await story(StoryRequest(about="x", scenes=1), Says("no", "1. yes"))).scenes == ["yes"]
    with pytest.raises(ModelUnavailable, match="1 numbered scenes"):
        await story(StoryRequest(about="x", scenes=1), Says("no", "no"))
