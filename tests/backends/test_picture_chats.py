"""Pictures in the messages of a model that reads them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deployments import BACKENDS, pixels
from deployments.capabilities import Delta, Message, Tool, ToolCall
from deployments.errors import InvalidInput, ModelUnavailable, PromptTooLong
from deployments.media import Audio, Image
from deployments.messages import AudioPart, ImagePart, TextPart

from .harness import unloaded
from .picture_weights import SEEN, write_picture_reader
from .pictures import disc

pytestmark = pytest.mark.asyncio
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 20}
RED, BLUE = disc(), disc(centre=(100, 200), radius=20)
CALL = ToolCall(id="a1b2c3d4e", name="camera", arguments="{}")


def asking(*parts: Any) -> list[Message]:
    made: list[Any] = [TextPart(text=part) if isinstance(part, str) else ImagePart(image=part) for part in parts]
    return [Message(role="user", content=made)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_picture_reader(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
async def model(folder: Path) -> Any:
    made = unloaded("transformers")
    await made.reconfigure(BACKENDS["transformers"].Options(weights=str(folder), threads=1))
    return made


async def test_a_picture_is_read_as_plain_transformers_reads_it(model: Any, folder: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image", "image": pixels.open_picture(RED)}, {"type": "text", "text": "What is this?"}]
    read: Any = processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        plain: Any = AutoModelForImageTextToText.from_pretrained(folder)
        made = plain.generate(**read, max_new_tokens=20, do_sample=False)
    expected = processor.tokenizer.decode(made[0, read["input_ids"].shape[1] :], skip_special_tokens=True)
    reply = await model.chat(asking(RED, "What is this?"), **GREEDY)
    assert (reply.text, reply.prompt_tokens) == (expected, read["input_ids"].shape[1])


async def test_the_picture_its_place_and_their_number_count(model: Any) -> None:
    plain = await model.chat(asking("What is this?"), **GREEDY)
    one, other, after, two = [
        await model.chat(asking(*parts), **GREEDY)
        for parts in (
            (RED, "What is this?"),
            (BLUE, "What is this?"),
            ("What is this?", RED),
            (RED, BLUE, "What is this?"),
        )
    ]
    assert len({reply.text for reply in (plain, one, other, after, two)}) == 5
    assert one.prompt_tokens == other.prompt_tokens == plain.prompt_tokens + SEEN + 3
    assert two.prompt_tokens == plain.prompt_tokens + 2 * (SEEN + 3)


async def test_streams_schemas_and_seeds_are_as_with_texts(model: Any) -> None:
    deltas = [delta async for delta in model.stream(asking(RED, "?"), **GREEDY)]
    assert Delta.join(deltas) == await model.chat(asking(RED, "?"), **GREEDY)
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    reply = await model.chat(asking(RED, "?"), temperature=1, seed=3, json_schema=schema, max_tokens=60)
    jsonschema.validate(json.loads(reply.text), schema)
    assert await model.chat(asking(RED, "?"), temperature=1, seed=3, json_schema=schema, max_tokens=60) == reply


async def test_a_tools_answer_may_have_a_picture(model: Any) -> None:
    def answered(picture: Image) -> list[Message]:
        answer = Message(role="tool", tool_call_id=CALL.id, content=[ImagePart(image=picture)])
        return [*asking("Look!"), Message(role="assistant", tool_calls=[CALL]), answer]

    tools = [Tool(name="camera")]
    red, blue = [await model.chat(answered(picture), tools=tools, **GREEDY) for picture in (RED, BLUE)]
    assert red.text != blue.text and red.prompt_tokens == blue.prompt_tokens


@pytest.mark.parametrize("content", ["<image>", "two <image> of <image>"])
async def test_a_text_that_looks_like_a_picture_is_refused_or_read(content: str, model: Any) -> None:
    for asked in (asking(content), asking(RED, content)):
        try:
            assert (await model.chat(asked, **GREEDY)).completion_tokens == 20
        except InvalidInput as refused:
            assert refused.field == "messages"
    assert (await model.chat(asking("still there?"), **GREEDY)).completion_tokens == 20


async def test_what_is_no_picture_is_named_by_its_place(model: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        await model.chat([*asking("hi"), *asking("this:", Image(b"nothing", "image/png"))], **GREEDY)
    assert refused.value.field == "messages.1.content.1.image"
    sound = AudioPart(audio=Audio(b"...", "audio/wav"))
    with pytest.raises(InvalidInput, match=r"messages.0.content.0: is a recording, .* reads a picture, a text"):
        await model.chat([Message(role="user", content=[sound])])


async def test_pictures_of_every_shape_are_seen(model: Any) -> None:
    for size in ((1, 1), (3000, 2), (7, 90)):
        assert (await model.chat(asking(disc(size=size), "?"), **GREEDY)).completion_tokens == 20


async def test_more_pictures_than_the_context_holds_are_too_long(model: Any) -> None:
    small = disc(size=(8, 8), centre=(4, 4), radius=2)
    assert (await model.chat(asking(*[small] * 20, "?"), **GREEDY)).completion_tokens == 20
    with pytest.raises(PromptTooLong, match="maximum context length"):
        await model.chat(asking(*[small] * 600, "?"), **GREEDY)


async def test_weights_without_a_chat_template_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():  # noqa: ASYNC240 - a folder of the test
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelUnavailable, match="no chat template"):
        await unloaded("transformers").reconfigure(BACKENDS["transformers"].Options(weights=str(tmp_path)))
