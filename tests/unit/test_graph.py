"""A signature is read into a graph, and a graph stays the function it is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from deployments.capabilities import Language, Message, SpeechToText
from deployments.errors import InvalidInput, PromptTooLong
from deployments.media import Audio, Image
from graphs import GRAPHS
from graphs.image_generation import ImageGenerationRequest, image_generation
from graphs.prompt_enhancement import PromptEnhancementRequest, prompt_enhancement
from graphs.speech import SpeechRequest, speech
from graphs.speech_to_image import SpeechToImageRequest, speech_to_image
from graphs.voice_assistant import VoiceAssistantRequest, voice_assistant
from serve_app.graph import Graph, GraphError, graph

from .fakes import PICTURE, RECORDING, Ears, Painter, Speaker, Writer


class Question(BaseModel):
    """What is asked."""

    text: str = Field(min_length=1)


class Answer(BaseModel):
    text: str


class Album(BaseModel):
    pages: dict[str, list[Image]]


class Tree(BaseModel):
    branches: "list[Tree]" = []
    leaf: Audio | None = None


class Twig(BaseModel):
    branches: "list[Twig]" = []


class Crowded(BaseModel):
    models: str


@graph(title="Ask")
async def ask(request: Question, writer: Language, ears: SpeechToText) -> Answer:
    """Ask a model.

    In as many words as it takes.
    """
    return Answer(text=request.text)


def test_a_signature_says_all_there_is_to_know_of_a_graph() -> None:
    assert (ask.name, ask.title) == ("ask", "Ask")
    assert ask.description == "Ask a model.\n\nIn as many words as it takes."
    assert (ask.request, ask.result) == (Question, Answer)
    assert ask.capabilities == {"writer": Language, "ears": SpeechToText}


def test_a_graph_without_a_docstring_is_described_by_its_title() -> None:
    @graph(title="Pass on")
    async def passes(request: Question) -> Answer:
        return Answer(text=request.text)

    assert passes.description == "Pass on"
    assert passes.capabilities == {}


async def test_a_graph_is_called_as_the_function_it_is() -> None:
    assert await ask(Question(text="why"), writer=Writer(), ears=Ears()) == Answer(text="why")


def test_declaring_registers_nothing() -> None:
    assert all(found.name != "ask" for found in GRAPHS)


def plain(request: Question) -> Answer:
    return Answer(text=request.text)


async def nothing() -> Answer:
    return Answer(text="")


async def untyped(request: Question, writer) -> Answer:  # type: ignore[no-untyped-def]
    return Answer(text=request.text)


async def text_request(request: str) -> Answer:
    return Answer(text=request)


async def takes_models(request: Crowded) -> Answer:
    return Answer(text=request.models)


async def no_result(request: Question):  # type: ignore[no-untyped-def]
    return Answer(text=request.text)


async def text_result(request: Question) -> str:
    return request.text


async def no_capability(request: Question, writer: Answer) -> Answer:
    return writer


async def optional_capability(request: Question, writer: Language | None) -> Answer:
    return Answer(text=request.text)


async def many(request: Question, *writers: Language) -> Answer:
    return Answer(text=request.text)


async def by_position(request: Question, writer: Language, /) -> Answer:
    return Answer(text=request.text)


async def streams_at_once(request: Question) -> AsyncIterator[Answer]:
    raise AssertionError("it returns an iterator instead of being one")


async def yields_without_saying_so(request: Question) -> Answer:  # type: ignore[misc]
    yield Answer(text=request.text)  # type: ignore[misc]


async def text_pieces(request: Question) -> AsyncIterator[str]:
    yield request.text


class Untyped(BaseModel):
    """A piece whose `join` does not say what it makes."""

    @classmethod
    def join(cls, pieces):  # type: ignore[no-untyped-def]
        return pieces


class Bound(BaseModel):
    """A piece whose `join` wants an instance."""

    def join(self, pieces: Sequence["Bound"]) -> Answer:
        return Answer(text="")


async def bound_join(request: Question) -> AsyncIterator[Bound]:
    yield Bound()


async def untyped_join(request: Question) -> AsyncIterator[Untyped]:
    yield Untyped()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (streams_at_once, "streams_at_once: its signature streams (AsyncIterator), so it must `yield`"),
        (yields_without_saying_so, "yields_without_saying_so: yields pieces, so it must return AsyncIterator"),
        (text_pieces, "text_pieces: its pieces must be a pydantic model"),
        (bound_join, "bound_join: `Bound.join` must be a classmethod"),
        (untyped_join, "untyped_join: `Untyped.join` must return a pydantic model"),
        (plain, "plain: must be `async def`"),
        (nothing, "nothing: every parameter needs a type"),
        (untyped, "untyped: every parameter needs a type"),
        (text_request, "text_request: `request` must be a pydantic model"),
        (takes_models, "takes_models: a request cannot have a field `models`"),
        (no_result, "no_result: must return a pydantic model"),
        (text_result, "text_result: must return a pydantic model"),
        (no_capability, "no_capability: `writer` must be a capability: Language, Embeddings, Reranking, Moderation"),
        (optional_capability, "optional_capability: `writer` must be a capability"),
        (many, "many: `writers` must be a parameter that takes one model by its name"),
        (by_position, "by_position: `writer` must be a parameter that takes one model by its name"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_signature_that_is_no_graph_is_refused_with_the_reason(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(GraphError) as refused:
        graph(title="Bad")(function)
    assert reason in str(refused.value)


class Word(BaseModel):
    """A piece that knows how to be joined."""

    text: str

    @classmethod
    def join(cls, pieces: Sequence["Word"]) -> Answer:
        return Answer(text=" ".join(piece.text for piece in pieces))


def test_a_signature_that_streams_is_a_contract() -> None:
    @graph(title="Spell")
    async def spell(request: Question, writer: Language) -> AsyncIterator[Word]:
        yield Word(text=request.text)

    assert (spell.piece, spell.result, spell.capabilities) == (Word, Answer, {"writer": Language})
    assert spell.join([Word(text="a"), Word(text="b")]) == Answer(text="a b")
    assert (ask.piece, ask.streams_media) == (None, False)


def test_pieces_that_cannot_be_joined_make_a_list() -> None:
    @graph(title="List")
    async def lists(request: Question) -> AsyncIterator[Answer]:
        yield Answer(text=request.text)

    assert lists.result.__name__ == "AnswerList"
    assert lists.join([Answer(text="a")]).model_dump() == {"pieces": [{"text": "a"}]}


def test_a_call_refuses_unknown_fields() -> None:
    with pytest.raises(ValidationError) as refused:
        ask.call.model_validate({"text": "why", "txet": "why"})
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [(("txet",), "extra_forbidden")]


def test_a_call_keeps_the_rules_of_the_request() -> None:
    with pytest.raises(ValidationError) as refused:
        ask.call.model_validate({"text": ""})
    assert refused.value.errors()[0]["loc"] == ("text",)
    assert issubclass(ask.call, Question)
    assert ask.call.__doc__ == "What is asked."


def test_a_call_names_a_model_for_each_parameter() -> None:
    chosen: Any = ask.call.model_validate({"text": "why", "models": {"writer": "tiny"}})
    assert chosen.models.model_dump() == {"writer": "tiny", "ears": None}
    unnamed: Any = ask.call.model_validate({"text": "why"})
    assert unnamed.models.model_dump(exclude_none=True) == {}


def test_a_call_refuses_a_model_for_a_parameter_the_graph_lacks() -> None:
    with pytest.raises(ValidationError) as refused:
        ask.call.model_validate({"text": "why", "models": {"painter": "tiny"}})
    assert refused.value.errors()[0]["loc"] == ("models", "painter")


def test_media_are_found_wherever_they_are_nested() -> None:
    @graph(title="Bind")
    async def bind(request: Tree) -> Album:
        return Album(pages={})

    @graph(title="Grow")
    async def grow(request: Twig) -> Twig:
        return request

    assert bind.takes_media
    assert bind.makes_media
    assert not grow.takes_media
    assert not ask.takes_media
    assert not ask.makes_media


def test_the_names_for_hints_are_those_of_fields_and_parameters() -> None:
    assert ask.fields == ("text", "models", "models.writer", "models.ears")


@pytest.mark.parametrize("found", GRAPHS, ids=lambda found: found.name)
def test_every_graph_documents_each_way_in_and_out(found: Graph[..., Any]) -> None:
    assert found.description != found.title
    assert found.request.__module__ == found.function.__module__
    assert set(found.call.model_json_schema()["properties"]) == {*found.request.model_fields, "models"}


def test_every_graph_has_a_name_of_its_own() -> None:
    assert len({found.name for found in GRAPHS}) == len(GRAPHS)


async def test_prompt_enhancement_is_one_line_without_quotes() -> None:
    writer = Writer('  "A red circle,\n  softly   lit."  ')
    result = await prompt_enhancement(PromptEnhancementRequest(wish=" a circle ", style="ink", seed=3), writer)
    assert result.prompt == "A red circle, softly lit."
    assert writer.heard == [[Message(role="user", content="Write a picture prompt for: a circle Style: ink")]]
    assert writer.seeds == [3]


async def test_prompt_enhancement_keeps_the_wish_where_the_model_has_nothing_to_add() -> None:
    result = await prompt_enhancement(PromptEnhancementRequest(wish="a circle"), Writer(' "" '))
    assert result.prompt == "a circle"


async def test_speech_to_image_paints_what_was_heard() -> None:
    writer, painter = Writer("A glowing circle."), Painter()
    request = SpeechToImageRequest(audio=RECORDING, style="ink", seed=7)
    result = await speech_to_image(request, ears=Ears(" a circle "), writer=writer, painter=painter)
    assert (result.transcript, result.prompt, result.image) == ("a circle", "A glowing circle.", PICTURE)
    assert writer.heard[0][0].text.endswith("a circle Style: ink")
    assert (painter.prompts, painter.seeds) == (["A glowing circle."], [7])


async def test_speech_to_image_asks_for_nothing_where_nothing_was_heard() -> None:
    writer, painter = Writer(), Painter()
    with pytest.raises(InvalidInput) as refused:
        await speech_to_image(SpeechToImageRequest(audio=RECORDING), ears=Ears("  "), writer=writer, painter=painter)
    assert refused.value.field == "audio"
    assert (writer.heard, painter.prompts) == ([], [])


async def test_voice_assistant_answers_with_what_was_said_before_in_mind() -> None:
    writer, voice = Writer("Forty-two."), Speaker()
    before = [Message(role="user", content="Hello"), Message(role="assistant", content="Hi")]
    request = VoiceAssistantRequest(audio=RECORDING, history=before, voice="en-gb", format="mp3")
    result = await voice_assistant(request, ears=Ears("what is it"), writer=writer, voice=voice)
    assert (result.transcript, result.reply, result.audio) == ("what is it", "Forty-two.", RECORDING)
    assert writer.heard == [[*before, Message(role="user", content="what is it")]]
    assert voice.said == [("Forty-two.", "en-gb", "mp3")]


async def test_voice_assistant_says_so_where_the_model_says_nothing() -> None:
    voice = Speaker()
    await voice_assistant(VoiceAssistantRequest(audio=RECORDING), ears=Ears(), writer=Writer(""), voice=voice)
    assert voice.said == [("I have no answer.", None, "wav")]


async def test_speech_has_the_voice_of_a_reference_where_there_is_one() -> None:
    voice = Speaker()
    named = SpeechRequest(text="hi", voice="en-gb")
    cloned = SpeechRequest(text="hallo", reference=RECORDING, language="de")
    for request in (named, cloned):
        pieces = [piece async for piece in speech(request, voice=voice)]
        assert speech.join(pieces).audio == RECORDING
    assert (voice.said, voice.cloned) == ([("hi", "en-gb", "wav")], [("hallo", RECORDING, "de")])


@pytest.mark.parametrize(
    ("field", "asked"),
    [("voice", {"reference": RECORDING, "voice": "en-gb"}), ("language", {"language": "de"})],
)
async def test_speech_refuses_what_contradicts_itself(field: str, asked: dict[str, Any]) -> None:
    voice = Speaker()
    with pytest.raises(InvalidInput) as refused:
        await anext(speech(SpeechRequest(text="hi", **asked), voice=voice))
    assert refused.value.field == field
    assert (voice.said, voice.cloned) == ([], [])


async def test_image_generation_paints_several_pictures_at_once() -> None:
    painter, writer = Painter(together=3), Writer()
    request = ImageGenerationRequest(prompt="a circle", count=3, seed=2**32 - 2)
    async with asyncio.timeout(5):  # one after the other, the first would wait for ever
        result = await image_generation(request, painter=painter, writer=writer)
    assert result.images == [PICTURE] * 3
    assert painter.seeds == [2**32 - 2, 2**32 - 1, 0]
    assert writer.heard == []


async def test_a_prompt_that_was_expanded_too_far_is_painted_as_it_was_said() -> None:
    writer = Writer("A circle that glows in the evening.")
    asked = ImageGenerationRequest(prompt="a circle", enhance=True, style="ink", count=2)
    painter = Painter(together=2, reads=5)
    result = await image_generation(asked, painter=painter, writer=writer)
    assert (result.prompt, painter.prompts) == ("a circle, ink", ["a circle, ink"] * 2)
    painter = Painter(reads=5)
    heard = SpeechToImageRequest(audio=RECORDING)
    spoken = await speech_to_image(heard, ears=Ears("a circle"), writer=writer, painter=painter)
    assert spoken.prompt == "a circle"
    with pytest.raises(PromptTooLong) as raised:
        await speech_to_image(heard, ears=Ears("a circle " * 3), writer=writer, painter=painter)
    assert raised.value.field == "audio"
    for field in ("prompt", "negative_prompt"):
        longer = asked.model_copy(update={field: "a circle " * 3})
        with pytest.raises(PromptTooLong) as raised:
            await image_generation(longer, painter=painter, writer=writer)
        assert raised.value.field == field


async def test_image_generation_without_a_seed_leaves_it_to_the_model() -> None:
    painter = Painter(together=2)
    await image_generation(ImageGenerationRequest(prompt="a circle", count=2), painter=painter, writer=Writer())
    assert painter.seeds == [None, None]


@pytest.mark.parametrize("asked", [{"enhance": True}, {"style": "ink"}])
async def test_image_generation_expands_the_prompt_when_asked(asked: dict[str, Any]) -> None:
    painter = Painter()
    request = ImageGenerationRequest(prompt="a circle", **asked)
    result = await image_generation(request, painter=painter, writer=Writer("A glowing circle."))
    assert painter.prompts == [result.prompt] == ["A glowing circle."]
