"""The starter writer's weights, unchanged, in every engine for language models."""

import asyncio
from functools import cache
from typing import Any

import pytest

from deployments.capabilities import Message, Reply

from .harness import need, unloaded

QUESTIONS = (
    "What can Medley do?",
    "how do i get an api key",
    "what is the capital of france",
    "Write a picture prompt for: a fox in the snow",
)
OPTIONS: dict[str, dict[str, Any]] = {
    "transformers": {},
    "vllm": {"dtype": "float32", "enforce_eager": True},  # float32 is what transformers takes on a CPU
}


@cache
def answers(name: str) -> list[Reply]:
    """What the starter writer answers greedily in one engine."""
    model = unloaded(name)

    async def ask() -> list[Reply]:
        await model.reconfigure(model.Options(weights="starter/writer", **OPTIONS[name]))
        asked = ([Message(role="user", content=question)] for question in QUESTIONS)
        return [await model.chat(messages, temperature=0, max_tokens=96) for messages in asked]

    return asyncio.run(ask())


@pytest.mark.parametrize("name", OPTIONS)
def test_it_answers_in_every_engine(name: str) -> None:
    need(name)
    for reply in answers(name):
        assert reply.text.strip()
        assert reply.finish_reason == "stop"


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "transformers"])
def test_every_engine_answers_the_same(name: str) -> None:
    need(name)
    assert answers(name) == answers("transformers")
