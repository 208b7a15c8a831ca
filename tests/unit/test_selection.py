"""`model: auto`: what a prompt asks for, which model is asked first, and what happens when it does not answer."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from deployments.capabilities import Language, Message, TextToImage, Tool
from deployments.errors import ModelUnavailable, PromptTooLong
from deployments.prompt_category import CATEGORIES, TASKS, WORDS, category_of, task_of
from graphs.image_orchestration import DETAILS, ImageOrchestrationRequest, detailed, image_orchestration
from serve_app.config.profile import load_profile
from serve_app.config.schema import AppConfig, Traits
from serve_app.graph import GraphError, graph
from serve_app.models.registry import Model, Models
from serve_app.models.selection import Demand, demand_of, ranked
from serve_app.steps import Step, StepCall

from .fakes import PICTURE, Never, Painter, ScriptedHandle, Writer
from .runs import Calls


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("a portrait of an old woman by a window", "portrait"),
        ("two dogs and a cat on a sofa", "animal"),
        ("Mountains at sunset", "landscape"),
        ("a gothic cathedral in a quiet street", "architecture"),
        ("packshot of a perfume bottle", "product"),
        ("a logo for a bakery, lettering in gold", "logo"),
        ("a red circle on a blue background", "abstract"),
        ("write a python function that sorts", "code"),
        ("Tell me a fairy tale", "story"),
        ("translate this to French", "translation"),
        ("hello", "general"),
        ("", "general"),
        ("the catalyst of doggerel", "general"),  # not the beginnings of other words
        ("a dog in the mountains by the sea", "landscape"),  # most words
        ("a dog by the sea", "animal"),  # of equals the first
    ],
)
def test_a_prompt_is_of_the_kind_most_of_its_words_say(text: str, category: str) -> None:
    assert category_of(text) == category


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("Write a picture prompt for: two dogs and a cat in a castle", "picture_prompt"),
        ("Tell a story of 3 scenes about: a lake by the mountains and the sea", "story"),
        ("Teach a lesson of 3 points about: dogs", "lesson"),
        ("What is Medley?", "medley"),
        ("who  are you", "medley"),
        ("how do I get an API key", "medley"),
        ("What is the capital of France?", "general"),
        ("my favourite colour", "general"),
        ("Hello there!", "small_talk"),
        ("How are you today?", "small_talk"),
        ("Hello, why is the sky blue?", "general"),
        ("?", "general"),
    ],
)
def test_what_a_language_model_shall_do_goes_before_what_it_is_about(text: str, task: str) -> None:
    assert task_of(text) == task


def test_every_category_of_words_has_some_and_no_word_two_categories() -> None:
    assert set(WORDS) == set(CATEGORIES) - {"general", "small_talk", "structured"}  # these are told otherwise
    words = [word for said in WORDS.values() for word in said.split()]
    assert len(words) == len(set(words))
    assert set(DETAILS) <= set(CATEGORIES) - set(TASKS)
    assert set(TASKS) < set(CATEGORIES)


@dataclass
class Candidate:
    name: str
    traits: Traits
    concurrency: int = 4


def traits(*good_at: Any, cost: float = 0, largest: int | None = None) -> Traits:
    return Traits(frozenset(good_at), cost, largest)


def names(candidates: list[Traits], asked: Demand, **calls: int) -> list[str]:
    rows = [Candidate(f"m{number}", traits) for number, traits in enumerate(candidates, 1)]
    return [choice.model.name for choice in ranked(rows, asked, calls)]


@pytest.mark.parametrize(
    ("candidates", "asked", "calls", "order"),
    [
        ([traits(), traits()], Demand(), {}, ["m1", "m2"]),  # the profile's order
        ([traits("logo"), traits("food")], Demand("food"), {}, ["m2", "m1"]),
        ([traits("logo"), traits()], Demand("food"), {}, ["m2", "m1"]),  # rather one for anything
        ([traits(cost=4), traits(cost=1)], Demand(), {}, ["m2", "m1"]),
        ([traits("food", cost=4), traits(cost=1)], Demand("food"), {}, ["m1", "m2"]),  # worth its cost
        ([traits(), traits()], Demand(), {"m1": 5}, ["m2", "m1"]),
        ([traits(), traits()], Demand(), {"m1": 4}, ["m1", "m2"]),  # those it works on at once are no burden
        ([traits("food"), traits()], Demand("food"), {"m1": 6}, ["m1", "m2"]),
        ([traits("food"), traits()], Demand("food"), {"m1": 11}, ["m2", "m1"]),
        ([traits("food"), traits(), traits()], Demand("food"), {"m1": 900, "m2": 900}, ["m3", "m1", "m2"]),
        ([traits("food", largest=512), traits()], Demand("food", 1024), {}, ["m2", "m1"]),
        ([traits("food", largest=1024), traits()], Demand("food", 1024), {}, ["m1", "m2"]),
    ],
)
def test_the_order(candidates: list[Traits], asked: Demand, calls: dict[str, int], order: list[str]) -> None:
    assert names(candidates, asked, **calls) == order


def test_why_is_said() -> None:
    (choice,) = ranked([Candidate("m", traits("food", cost=2, largest=64))], Demand("food", 128), {"m": 7})
    assert choice.why == ("good at food", "costs 2", "3 calls wait for it", "makes 64, 128 is requested")
    assert choice.points == 2 - 1 - 0.75
    assert not choice.fits


def test_what_is_wanted_is_read_from_the_call() -> None:
    assert demand_of({"prompt": "a dog", "width": 64, "height": 128}) == Demand("animal", 128)
    said = [Message(role="user", content="a dog"), Message(role="user", content="fix this bug")]
    assert demand_of({"messages": said, "max_tokens": 9}) == Demand("code", 9)
    assert demand_of({"messages": said[:1]}) == Demand()
    assert demand_of({"messages": said, "tools": [], "json_schema": None}) == Demand("code")
    assert demand_of({"messages": said, "tools": [Tool(name="look")]}) == Demand("structured")
    assert demand_of({"messages": said, "json_schema": {}}) == Demand("structured")
    assert demand_of({"image": PICTURE}) == Demand()


def painter(name: str, handle: Any, *good_at: Any) -> Model:
    return Model(name, "fake", (TextToImage,), handle, traits=traits(*good_at))


@pytest.mark.asyncio
async def test_auto_asks_the_one_that_suits_and_falls_back_to_the_others() -> None:
    logos = ScriptedHandle(ModelUnavailable("no"), PICTURE)
    animals = ScriptedHandle(PICTURE, PICTURE)
    models = Models([painter("logos", logos, "logo"), painter("animals", animals, "animal")])
    run = Calls(models, {"painter": "auto"})
    paint = run.model("painter", TextToImage).generate
    for prompt in ("a dog", "a logo", "an icon, a badge"):
        await paint(prompt)
    assert [step.model for step in run.steps] == ["animals", "animals", "logos"]
    assert not +models.calls  # nothing is worked on any more
    first = Calls(models).model("painter", TextToImage)
    logos.outcomes.append(PICTURE)
    await first.generate("a dog")  # who does not ask for it gets the profile's first
    assert not animals.outcomes
    assert len(logos.calls) == 3


class Unkept:
    """A journal that fails to keep what it is given."""

    paid = False

    def step(self, step: Step) -> None:
        pass

    def piece(self, piece: Any) -> None:
        pass

    async def recall(self, step: Step, call: StepCall) -> None:
        pass

    async def record(self, step: Step, call: StepCall, value: Any) -> None:
        raise ModelUnavailable("not kept")

    async def tasks(self, step: Step, call: StepCall) -> dict[str, list[str]]:
        return {}

    async def keep_task(self, step: Step, call: StepCall, task: str) -> None:
        pass


@pytest.mark.asyncio
async def test_a_step_that_ended_and_was_not_kept_is_counted_once() -> None:
    models = Models([painter("one", ScriptedHandle(PICTURE))])
    with pytest.raises(ModelUnavailable, match="not kept"):
        await Calls(models, journal=Unkept()).model("painter", TextToImage).generate("a dog")
    assert models.calls["one"] == 0


@pytest.mark.asyncio
async def test_a_busy_model_is_asked_after_an_idle_one() -> None:
    import asyncio

    never = Never()
    one = replace(painter("one", ScriptedHandle(never)), concurrency=0)
    models = Models([one, painter("two", ScriptedHandle(PICTURE))])
    run = Calls(models, {"painter": "auto"})
    waiting = asyncio.create_task(run.model("painter", TextToImage).generate("a dog"))
    await never.reached.wait()
    await run.model("painter", TextToImage).generate("a dog")
    assert run.steps[-1].model == "two"
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert not +models.calls


def test_no_model_may_be_called_auto() -> None:
    with pytest.raises(ValueError, match="auto"):
        AppConfig.model_validate({"models": [{"name": "auto", "backend": "opencv"}]})


def test_a_graph_selects_for_parameters_it_has() -> None:
    async def paints(request: ImageOrchestrationRequest, painter: TextToImage) -> ImageOrchestrationRequest:
        return request

    assert graph(title="Paint", auto=("painter",))(paints).auto == {"painter"}
    with pytest.raises(GraphError, match="writer"):
        graph(title="Paint", auto=("writer",))(paints)


@pytest.mark.asyncio
async def test_a_wish_gets_the_words_of_its_kind_once() -> None:
    fake, writer = Painter(), Writer()
    asked = ImageOrchestrationRequest(prompt="A dog, eye level.", style="watercolour")
    made = await image_orchestration(asked, fake, writer)
    assert made.category == "animal"
    assert made.prompt == "A dog, eye level, watercolour, telephoto lens, fine fur and feather detail"
    assert fake.prompts == [made.prompt]
    assert writer.heard == []
    plain = await image_orchestration(asked.model_copy(update={"details": False, "style": None}), fake, writer)
    assert plain.prompt == "A dog, eye level"
    assert detailed("x", "general", None, True).startswith("x, clear subject")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reads", "enhance", "painted"),
    [
        (16, False, "a dog, watercolour, telephoto lens, eye level, fine fur and feather detail"),
        (10, False, "a dog, watercolour"),
        (10, True, "a dog that runs on a beach, watercolour"),
        (5, True, "a dog, watercolour"),
    ],
)
async def test_what_is_added_to_a_wish_never_makes_it_too_long(reads: int, enhance: bool, painted: str) -> None:
    fake, writer = Painter(reads=reads), Writer("a dog that runs on a beach")
    asked = ImageOrchestrationRequest(prompt="a dog", style="watercolour", enhance=enhance)
    made = await image_orchestration(asked, fake, writer)
    assert (made.prompt, fake.prompts) == (painted, [painted])
    too_long = asked.model_copy(update={"prompt": "a dog " * reads, "enhance": False})
    with pytest.raises(PromptTooLong):
        await image_orchestration(too_long, fake, writer)


@pytest.mark.asyncio
async def test_the_orchestrator_lets_the_model_that_suits_paint() -> None:
    animals = ScriptedHandle(PICTURE)
    models = Models(
        [
            painter("logos", ScriptedHandle(), "logo"),
            painter("animals", animals, "animal"),
            Model("writer", "fake", (Language,), ScriptedHandle()),
        ]
    )
    run = Calls(models)
    await run.execute(image_orchestration, ImageOrchestrationRequest(prompt="a dog"))
    assert [step.model for step in run.steps] == ["animals"]


def test_the_cluster_s_painters_are_chosen_by_what_its_profile_says_of_them() -> None:
    profile = load_profile(Path("configs/cluster.yaml"))
    painters = [Candidate(model.name, model.traits) for model in profile.app.models if model.backend == "diffusers"]

    def first(prompt: str, **size: int) -> str:
        return ranked(painters, demand_of({"prompt": prompt, **size}), {})[0].model.name

    assert first("a logo for a bakery") == "painter"
    assert first("a river in the mountains") == "painter-turbo"
    assert first("a river in the mountains", width=1024) == "painter"
