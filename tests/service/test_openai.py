"""OpenAI's own package as the client."""

import base64
import io
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from deployments.audio import decode
from deployments.media import Audio
from tests.backends.harness import need
from tests.media.real_speech import words

from .live import Live
from .samples import SPOKEN, Samples, disc, opened


@pytest.fixture(scope="module")
def api(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.key, max_retries=0) as client:
        yield client


def test_models(api: openai.OpenAI) -> None:
    names = [model.id for model in api.models.list()]
    assert names[:5] == ["starter-writer", "smollm2", "minilm", "minilm-ranker", "starter-painter"]
    assert names[5:10] == ["moonshine", "pocketsphinx", "silero", "espeak", "kokoro"]
    assert names[10:13] == ["grabcut", "pp-ocr", "opencv"]
    assert names[13:] == ["starter-upscaler", "cutout", "palette", "starter-restorer", "starter-translator"]
    assert api.models.retrieve("espeak").id == "espeak"
    with pytest.raises(openai.NotFoundError, match="espeak"):
        api.models.retrieve("espeek")


def test_chat(api: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "What can you do?"}]
    reply = api.chat.completions.create(model="default", messages=messages, temperature=0)  # type: ignore[arg-type]
    assert reply.model == "starter-writer"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage and reply.usage.completion_tokens > 1

    stream = api.chat.completions.create(
        model="starter-writer",
        messages=messages,  # type: ignore[arg-type]
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == reply.choices[0].message.content
    assert len(chunks) > 3
    assert chunks[-1].usage == reply.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_a_chat_without_a_model_is_answered_by_the_one_that_suits(api: openai.OpenAI) -> None:
    need("smollm2")
    for model in ("default", "auto"):
        for question, answering in (("What is the capital of France?", "smollm2"), ("Hello!", "starter-writer")):
            messages = [{"role": "user", "content": question}]
            reply = api.chat.completions.create(model=model, messages=messages, temperature=0)  # type: ignore[arg-type]
            assert reply.model == answering
            assert ("Paris" in (reply.choices[0].message.content or "")) == (answering == "smollm2")


class Letter(BaseModel):
    """With texts that nothing bounds."""

    model_config = ConfigDict(extra="forbid")

    subject: str
    urgent: bool


def test_json_is_left_to_the_model_that_can_write_it(api: openai.OpenAI) -> None:
    need("smollm2")
    messages: Any = [{"role": "user", "content": "Hello! Say who you are, as JSON."}]
    reply = api.chat.completions.parse(model="gpt-4o-mini", messages=messages, response_format=Letter)
    assert reply.model == "smollm2" and reply.choices[0].message.parsed


def test_embeddings_as_the_client_asks_for_them(api: openai.OpenAI) -> None:
    need("minilm")
    made = api.embeddings.create(model="default", input=["A cat sleeps.", "A kitten naps.", "Banks raise rates."])
    vectors = [row.embedding for row in made.data]
    assert [len(vector) for vector in vectors] == [384] * 3
    alike, unlike = (sum(a * b for a, b in zip(vectors[0], vectors[n], strict=True)) for n in (1, 2))
    assert alike > 0.6 > 0.2 > unlike
    with pytest.raises(openai.BadRequestError, match=r"input\.1: is blank"):
        api.embeddings.create(model="default", input=["x", " "])


def test_a_pleasant_voice_is_heard_right(api: openai.OpenAI) -> None:
    need("kokoro-v1")
    need("moonshine")
    said = "The children are playing in the garden."
    spoken = api.audio.speech.create(model="kokoro", voice="nova", input=said, response_format="mp3")
    heard = api.audio.transcriptions.create(model="default", file=("a.mp3", spoken.content))
    assert words(heard.text) == words(said)


def test_chat_stops_where_it_is_told(api: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "What can you do?"}]
    short = api.chat.completions.create(model="default", messages=messages, max_tokens=3, temperature=0)  # type: ignore[arg-type]
    assert short.choices[0].finish_reason == "length"
    assert short.usage and short.usage.completion_tokens == 3


class Note(BaseModel):
    """What the starter writer, which knows no JSON, is held to."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(max_length=60)
    mood: Literal["calm", "wild"]
    stars: int = Field(ge=1, le=5)


def test_chat_is_held_to_a_json_schema(api: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Tell me a story about a fox"}]
    reply = api.chat.completions.parse(model="default", messages=messages, response_format=Note, temperature=0)  # type: ignore[arg-type]
    assert isinstance(reply.choices[0].message.parsed, Note)
    stream = api.chat.completions.create(
        model="default",
        messages=messages,  # type: ignore[arg-type]
        temperature=0,
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "note", "schema": Note.model_json_schema()}},
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert Note.model_validate_json(text) == reply.choices[0].message.parsed


def test_chat_calls_a_tool_that_is_insisted_on_and_answers_where_it_may(api: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "What is the mood?"}]
    tools = [openai.pydantic_function_tool(Note, name="note", description="Write it down")]
    asked: dict[str, Any] = {"model": "default", "messages": messages, "tools": tools, "temperature": 0}
    chosen: Any = {"type": "function", "function": {"name": "note"}}
    reply = api.chat.completions.create(**asked, tool_choice=chosen).choices[0]
    assert reply.finish_reason == "tool_calls"
    made: Any = reply.message.tool_calls
    assert [call.function.name for call in made] == ["note"]
    Note.model_validate_json(made[0].function.arguments)
    free = api.chat.completions.create(**asked).choices[0]  # its template has no place for tools: it answers
    assert free.finish_reason == "stop" and free.message.content and not free.message.tool_calls
    with pytest.raises(openai.BadRequestError) as caught:
        api.chat.completions.create(model="starter-writer:pirate", messages=messages)  # type: ignore[arg-type]
    assert caught.value.param == "model"


def test_images(api: openai.OpenAI) -> None:
    made = api.images.generate(model="default", prompt="a red circle on a blue background", n=2)
    assert made.data and len(made.data) == 2
    for item in made.data:
        picture = Image.open(io.BytesIO(base64.b64decode(item.b64_json or "")))
        assert picture.size == (256, 256)
    as_url = api.images.generate(model="starter-painter", prompt="a circle", response_format="url")
    assert as_url.data and (as_url.data[0].url or "").startswith("data:image/png;base64,")


def clear_box() -> bytes:
    """A mask of 120 x 80 as OpenAI wants it: transparent where to paint."""
    mask, file = Image.new("RGBA", (120, 80), "black"), io.BytesIO()
    mask.paste((0, 0, 0, 0), (40, 20, 80, 60))
    mask.save(file, "PNG")
    return file.getvalue()


def test_images_are_edited_and_varied(api: openai.OpenAI) -> None:
    before = ("before.png", disc().data)
    edited = api.images.edit(model="default", image=before, prompt="a blue circle on white", n=2)
    filled = api.images.edit(image=before, mask=("mask.png", clear_box()), prompt="a blue circle on white")
    varied = api.images.create_variation(model="default", image=before)
    for answer, count in ((edited, 2), (filled, 1), (varied, 1)):
        pictures = [Image.open(io.BytesIO(base64.b64decode(item.b64_json or ""))) for item in answer.data or []]
        assert [picture.size for picture in pictures] == [(120, 80)] * count
    assert pictures[0].convert("RGB").tobytes() != opened(disc()).convert("RGB").tobytes()
    kept = Image.open(io.BytesIO(base64.b64decode((filled.data or [])[0].b64_json or ""))).convert("RGB")
    assert kept.crop((0, 0, 40, 80)).tobytes() == opened(disc()).convert("RGB").crop((0, 0, 40, 80)).tobytes()
    with pytest.raises(openai.BadRequestError) as caught:
        api.images.edit(image=before, mask=("mask.png", disc().data), prompt="x")
    assert caught.value.param == "mask"


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_speech(form: str, api: openai.OpenAI) -> None:
    answer = api.audio.speech.create(model="default", voice="alloy", input="Hello there.", response_format=form)  # type: ignore[arg-type]
    if form == "pcm":
        seconds = len(answer.content) / 2 / 24000
    else:
        seconds = len(decode(Audio(answer.content, "audio/x"), 16000)) / 16000
    assert 0.4 < seconds < 3


def test_transcriptions(api: openai.OpenAI, samples: Samples) -> None:
    recording = ("wish.wav", samples.requests["transcription"]["audio"].data)
    heard = api.audio.transcriptions.create(model="default", file=recording)
    assert heard.text
    full = api.audio.transcriptions.create(model="pocketsphinx", file=recording, response_format="verbose_json")
    assert words(heard.text) == SPOKEN["text"] and "red circle on a blue" in full.text
    assert full.segments and 0.5 < full.duration < 5
    timed = api.audio.transcriptions.create(
        model="default", file=recording, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert timed.words and " ".join(word.word for word in timed.words) == full.text  # PocketSphinx knows their times
    assert 0 < timed.words[0].start < timed.words[-1].end <= full.duration
    assert api.audio.translations.create(model="default", file=recording).text == heard.text  # it was English
    subtitles = api.audio.transcriptions.create(model="default", file=recording, response_format="srt")
    assert subtitles.startswith("1\n00:00:00,")  # type: ignore[union-attr]
    web = api.audio.transcriptions.create(model="default", file=recording, response_format="vtt")
    assert web.startswith("WEBVTT\n\n00:00:00.")  # type: ignore[union-attr]


def test_errors_are_openais(api: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.NotFoundError, match="starter-writer"):
        api.chat.completions.create(model="starter-writter", messages=messages)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError) as caught:
        api.audio.speech.create(model="default", voice="nobody", input="x")
    assert caught.value.param == "voice"
    with pytest.raises(openai.BadRequestError) as caught:
        api.audio.speech.create(model="default", voice="alloy", input="")
    assert caught.value.param == "input"
    with pytest.raises(openai.BadRequestError) as caught:
        api.images.generate(model="default", prompt="a circle", size="17x9999")  # type: ignore[arg-type]
    assert caught.value.param == "size"
    with pytest.raises(openai.APIStatusError) as caught_status:
        api.audio.transcriptions.create(model="default", file=("x.wav", b"not audio" * 50))
    assert caught_status.value.status_code == 415
    with pytest.raises(openai.APIStatusError) as caught_status:
        api.chat.completions.create(
            model="default", messages=messages, tools=[{"type": "custom", "custom": {"name": "x"}}]
        )  # type: ignore
    assert caught_status.value.status_code == 501
