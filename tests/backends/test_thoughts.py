"""What a model thinks aloud, told apart from its answer."""

from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS
from deployments.capabilities import Delta, Message, Tool
from deployments.language.thoughts import Thoughts

from .harness import unloaded
from .weights import write_calling_model, write_gguf

HI = [Message(role="user", content="hi")]
PIECES = ["<think>", "\nThey greet", " me.\n", "</think>", "\n\nHel", "lo <b>", "!"]


def read(pieces: list[str], opened: bool = False) -> tuple[str, str]:
    """The thoughts and the answer of a reply that comes in these pieces."""
    thoughts = Thoughts(opened)
    said = [*(thoughts.take(piece) for piece in pieces), thoughts.end()]
    return "".join(one.thought for one in said), "".join(one.answer for one in said)


@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer"),
    [
        ("Hello.", False, "", "Hello."),
        ("  Hello. ", False, "", "  Hello. "),
        ("<b>Hello</b>", False, "", "<b>Hello</b>"),
        ("", False, "", ""),
        ("<thi", False, "", "<thi"),
        ("<think>\nso\n</think>\n\nHello.\n", False, "so", "Hello.\n"),
        ("\n<think></think>Hello.", False, "", "Hello."),
        ("so </b> and\n</think>\nHello.", True, "so </b> and", "Hello."),
        ("never ends </thi", True, "never ends </thi", ""),
        ("Hello <think> no mark here </think>", False, "", "Hello <think> no mark here </think>"),
    ],
)
def test_it_is_the_same_in_one_piece_and_letter_by_letter(text: str, opened: bool, thought: str, answer: str) -> None:
    assert read([text], opened) == (thought, answer)
    found = read(list(text), opened)
    assert (found[0].rstrip(), found[1]) == (thought, answer)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["transformers", "llama_cpp"])
async def test_a_model_that_thinks_is_told_apart(name: str, tmp_path: Path) -> None:
    weights, model = write_calling_model(tmp_path / "weights", PIECES), unloaded(name)
    folder = write_gguf(tmp_path / "gguf", weights) if name == "llama_cpp" else weights
    await model.reconfigure(BACKENDS[name].Options(weights=str(folder), threads=1))
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 30}
    reply = await model.chat(HI, **options)
    assert (reply.reasoning.strip(), reply.text.strip()) == ("They greet me.", "Hello <b>!")
    deltas = [delta async for delta in model.stream(HI, **options)]
    assert Delta.join(deltas) == reply
    assert any(delta.reasoning and not delta.text for delta in deltas)
    tools = await model.chat(HI, tools=[Tool(name="now")], **options)
    assert (tools.reasoning.strip(), tools.text.strip()) == ("They greet me.", "Hello <b>!")
