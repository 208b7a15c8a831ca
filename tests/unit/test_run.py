"""Every model call of a run is a step: named, timed, retried, handed on, cancelled."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.capabilities import Delta, ImageTools, Language, Message, Reply, TextToImage
from deployments.errors import BeyondModel, InvalidInput, MedleyError, ModelUnavailable, OutOfMemory
from graphs.image_generation import ImageGenerationRequest, image_generation
from serve_app import steps as engine
from serve_app.errors import ModelFailed, RunTimedOut, UnknownName
from serve_app.graph import graph
from serve_app.models.circuit_breaker import FAILURES
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.steps import ATTEMPTS, Step

from .fakes import PICTURE, Never, ScriptedHandle, Writer
from .runs import Calls

HELLO = [Message(role="user", content="Hello")]


class Text(BaseModel):
    text: str = ""


@graph(title="Three steps")
async def three(request: Text, writer: Language, reader: Language) -> Text:
    await writer.chat(HELLO)
    await writer.chat(HELLO)
    return Text(text=(await reader.chat(HELLO)).text)


def models(*handles: ScriptedHandle | LocalHandle, capabilities: tuple[type[Any], ...] = (Language,)) -> Models:
    """Models `m1`, `m2`, ... in order of preference."""
    return Models(Model(f"m{number}", "fake", capabilities, handle) for number, handle in enumerate(handles, 1))


def died() -> Exception:
    return ActorDiedError()


def unavailable() -> Exception:
    return ActorUnavailableError("connection reset", None)


def lost() -> Exception:
    return ObjectLostError("ff" * 28, None, "")


def remote(cause: Exception) -> Exception:
    """As a handle raises what its replica raised."""
    return bare(cause).as_instanceof_cause()


def bare(cause: Exception) -> RayTaskError:
    return RayTaskError("chat", f"chat()\nTraceback (most recent call last):\n{type(cause).__name__}: {cause}", cause)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the run paused before each retry; no time passes."""
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        seen.append(seconds)

    monkeypatch.setattr(engine, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    return seen


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What goes to Serve's logger, which may not propagate."""
    serve = logging.getLogger("ray.serve")
    serve.addHandler(caplog.handler)
    yield caplog
    serve.removeHandler(caplog.handler)


async def chat(run: Calls) -> Any:
    return await run.model("writer", Language).chat(HELLO, seed=1)


async def stream(run: Calls) -> list[Any]:
    return [item async for item in run.model("writer", Language).stream(HELLO)]


def summary(run: Calls) -> list[tuple[str, str, str, int]]:
    return [(step.name, step.model, step.status, step.attempts) for step in run.steps]


async def test_steps_are_named_by_parameter_and_method_and_numbered_from_the_second() -> None:
    run = Calls(models(LocalHandle(Writer("hi"))))
    assert (await run.execute(three, Text())) == Text(text="hi")
    assert [step.name for step in run.steps] == ["writer.chat", "writer.chat-2", "reader.chat"]


async def test_a_model_that_would_only_refuse_is_not_asked() -> None:
    refusing, able = ScriptedHandle(), LocalHandle(Writer())
    table = [
        Model("first", "fake", (Language,), refusing, lacks=frozenset({"chat"})),
        Model("second", "fake", (Language,), able),
    ]
    run = Calls(Models(table))
    assert (await run.execute(three, Text())).text
    assert {step.model for step in run.steps} == {"second"}
    assert all(step.attempts == 1 for step in run.steps)


async def test_where_all_would_refuse_one_says_so() -> None:
    handles = [ScriptedHandle(ModelUnavailable("not me")), ScriptedHandle(ModelUnavailable("nor me"))]
    table = [
        Model(name, "fake", (Language,), handle, lacks=frozenset({"chat"}))
        for name, handle in zip("ab", handles, strict=True)
    ]
    with pytest.raises(ModelUnavailable, match="a: not me"):
        await Calls(Models(table)).execute(three, Text())


async def test_a_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.5])
    monkeypatch.setattr(engine, "time", SimpleNamespace(time=lambda: next(clock)))
    run = Calls(models(ScriptedHandle("hi")))
    await chat(run)
    assert (run.steps[0].started, run.steps[0].seconds) == (100.0, 2.5)


async def test_whoever_follows_is_told_of_each_start_and_end() -> None:
    told: list[tuple[str, str, int]] = []

    def follow(step: Step) -> None:
        told.append((step.model, step.status, step.attempts))

    await chat(Calls(models(ScriptedHandle(died(), "hi")), on_step=follow))
    assert told == [("m1", "running", 1), ("m1", "running", 2), ("m1", "succeeded", 2)]


async def test_arguments_reach_the_model_as_they_were_given() -> None:
    handle = ScriptedHandle("hi")
    assert await chat(Calls(models(handle))) == "hi"
    assert handle.calls == [((HELLO,), {"seed": 1})]


@pytest.mark.parametrize(
    ("capability", "method", "streams", "by_reference"),
    [(Language, "chat", False, False), (Language, "stream", True, False), (ImageTools, "canny", False, True)],
)
async def test_a_call_travels_as_its_signature_says(
    capability: type[Any], method: str, streams: bool, by_reference: bool
) -> None:
    handle = ScriptedHandle([], [])
    run = Calls(models(handle, capabilities=(capability,)))
    for _ in range(2):
        answer = getattr(run.model("it", capability), method)(HELLO)
        _ = [item async for item in answer] if streams else await answer
    assert len(handle.made) == 1  # the options of a handle are made once, and kept
    assert (handle.made[0]["method_name"], handle.made[0]["stream"]) == (method, streams)
    assert handle.made[0]["_by_reference"] is by_reference


def test_a_misspelt_method_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Language has no method 'chta'"):
        getattr(Calls(models(ScriptedHandle())).model("writer", Language), "chta")  # noqa: B009


@pytest.mark.parametrize("fault", [died, unavailable, lost, lambda: bare(died()), lambda: remote(unavailable())])
async def test_a_lost_replica_is_asked_again(fault: Callable[[], Exception], pauses: list[float]) -> None:
    run = Calls(models(ScriptedHandle(fault(), fault(), "hi")))
    assert await chat(run) == "hi"
    assert summary(run) == [("writer.chat", "m1", "succeeded", 3)]
    assert pauses == [engine.RETRY_PAUSE_S, 2 * engine.RETRY_PAUSE_S]


@pytest.mark.parametrize("ask", [chat, stream])
async def test_a_model_whose_replicas_keep_dying_is_asked_no_more_than_three_times(ask: Any) -> None:
    handle = ScriptedHandle(*(died() if ask is chat else [died()] for _ in range(9)))
    run = Calls(models(handle))
    with pytest.raises(ModelUnavailable, match="replica of m1 was lost"):
        await ask(run)
    assert len(handle.calls) == ATTEMPTS == 3
    assert run.steps[0].status == "failed"


@pytest.mark.parametrize("ask", [chat, stream])
async def test_after_its_last_attempt_the_next_model_is_asked(ask: Any) -> None:
    faults = [died() if ask is chat else [died()] for _ in range(ATTEMPTS)]
    run = Calls(models(ScriptedHandle(*faults), ScriptedHandle(["hi"])))
    assert await ask(run) == ["hi"]
    assert summary(run) == [(f"writer.{ask.__name__}", "m2", "succeeded", ATTEMPTS + 1)]


CANNOT = [
    pytest.param(lambda: ModelUnavailable("no weights"), "m1: no weights", id="unavailable"),
    pytest.param(lambda: remote(OutOfMemory("full")), "m1: full", id="out of memory"),
    pytest.param(lambda: BackPressureError(9, 8), "m1 has too many requests waiting", id="back pressure"),
    pytest.param(lambda: remote(BackPressureError(9, 8)), "m1 has too many", id="back pressure over the wire"),
    pytest.param(lambda: DeploymentUnavailableError(DeploymentID("m1")), "m1 is not running", id="not deployed"),
]


@pytest.mark.parametrize(("fault", "reason"), CANNOT)
async def test_a_model_that_cannot_answer_is_replaced_at_once(fault: Callable[[], Exception], reason: str) -> None:
    first, second = ScriptedHandle(fault()), ScriptedHandle("hi")
    run = Calls(models(first, second))
    assert await chat(run) == "hi"
    assert len(first.calls) == 1
    assert summary(run) == [("writer.chat", "m2", "succeeded", 2)]


@pytest.mark.parametrize("ask", [chat, stream])
async def test_a_model_that_keeps_failing_is_no_longer_asked_first(ask: Any) -> None:
    faults = [ModelUnavailable("down") if ask is chat else [ModelUnavailable("down")] for _ in range(9)]
    first, second = ScriptedHandle(*faults), ScriptedHandle(*[["hi"] for _ in range(9)])
    table = models(first, second)
    for _ in range(5):  # five runs
        assert await ask(Calls(table)) == ["hi"]
    assert (len(first.calls), len(second.calls)) == (FAILURES, 5)
    with pytest.raises(ModelUnavailable, match="down"):  # named, it is the only candidate
        await ask(Calls(table, {"writer": "m1"}))


async def test_a_model_that_is_busy_is_asked_first_the_next_time() -> None:
    first = ScriptedHandle(*[BackPressureError(9, 8) for _ in range(5)])
    table = models(first, ScriptedHandle(*["hi" for _ in range(5)]))
    for _ in range(5):
        await chat(Calls(table))
    assert len(first.calls) == 5


@pytest.mark.parametrize(("fault", "reason"), CANNOT)
async def test_without_another_model_the_reason_is_told(fault: Callable[[], Exception], reason: str) -> None:
    run = Calls(models(ScriptedHandle(fault())))
    with pytest.raises(ModelUnavailable, match=reason):
        await chat(run)
    assert (run.steps[0].status, reason in (run.steps[0].error or "")) == ("failed", True)


async def test_a_named_model_has_no_fallback() -> None:
    first, second = ScriptedHandle("no"), ScriptedHandle(ModelUnavailable("no weights"))
    with pytest.raises(ModelUnavailable, match="m2: no weights"):
        await chat(Calls(models(first, second), {"writer": "m2"}))
    assert first.calls == []


async def test_an_unknown_model_is_refused_with_the_nearest_of_its_capability() -> None:
    painter = Model("m3", "fake", (TextToImage,), ScriptedHandle())
    table = Models([*models(ScriptedHandle()).all, painter])
    with pytest.raises(UnknownName, match=r"no Language model 'm3'.*'m1'"):
        await chat(Calls(table, {"writer": "m3"}))
    assert table.named("m3") is painter


async def test_a_profile_without_the_capability_cannot_answer() -> None:
    with pytest.raises(ModelUnavailable, match="no model for Language"):
        await chat(Calls(Models([])))


@pytest.mark.parametrize("wrap", [lambda error: error, bare, remote])
@pytest.mark.parametrize("ask", [chat, stream])
async def test_bad_input_is_neither_retried_nor_handed_on(wrap: Callable[..., Exception], ask: Any) -> None:
    fault = wrap(InvalidInput("voice", "there is no such voice"))
    first, second = ScriptedHandle(fault if ask is chat else [fault]), ScriptedHandle("hi")
    with pytest.raises(InvalidInput) as refused:
        await ask(Calls(models(first, second)))
    assert type(refused.value) is InvalidInput  # Ray's wrapper is gone
    assert (refused.value.field, refused.value.detail) == ("voice", "there is no such voice")
    assert (len(first.calls), len(second.calls)) == (1, 0)


@pytest.mark.parametrize("wrap", [lambda error: error, bare, remote])
@pytest.mark.parametrize("ask", [chat, stream])
async def test_what_is_beyond_a_model_is_handed_on_and_does_not_count_against_it(
    wrap: Callable[..., Exception], ask: Any
) -> None:
    fault = wrap(BeyondModel("language", "is 'fr'; this model understands en only"))
    faults = [fault if ask is chat else [fault] for _ in range(FAILURES + 2)]
    first, second = ScriptedHandle(*faults), ScriptedHandle(*[["hi"] for _ in range(FAILURES + 1)])
    table = models(first, second)
    for _ in range(FAILURES + 1):
        assert await ask(Calls(table)) == ["hi"]
    assert len(first.calls) == FAILURES + 1  # its circuit is not open
    with pytest.raises(BeyondModel, match="language: is 'fr'"):  # nobody else is left
        await ask(Calls(table, {"writer": "m1"}))


@pytest.mark.parametrize("wrap", [lambda error: error, bare, remote])
@pytest.mark.parametrize("ask", [chat, stream])
async def test_what_no_one_foresaw_is_logged_and_kept_from_the_caller(
    wrap: Callable[..., Exception], ask: Any, logged: pytest.LogCaptureFixture
) -> None:
    fault = wrap(ZeroDivisionError("in /secret/path"))
    first, second = ScriptedHandle(fault if ask is chat else [fault]), ScriptedHandle("hi")
    run = Calls(models(first, second))
    with pytest.raises(ModelFailed) as failed:
        await ask(run)
    assert str(failed.value) == run.steps[0].error == "m1 failed: ZeroDivisionError"
    assert "/secret/path" in logged.text
    assert (len(first.calls), len(second.calls)) == (1, 0)


class Refuses(ScriptedHandle):
    """A handle that raises before there is a response."""

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        raise self.outcomes.pop(0)


@pytest.mark.parametrize("ask", [chat, stream])
async def test_a_call_that_fails_before_it_leaves_is_handled_alike(ask: Any) -> None:
    run = Calls(models(Refuses(BackPressureError(9, 8)), ScriptedHandle(["hi"])))
    assert await ask(run) == ["hi"]
    assert run.steps[0].model == "m2"


@pytest.mark.parametrize("ask", [chat, stream])
async def test_cancelling_reaches_the_replica_and_marks_the_step(ask: Any) -> None:
    never = Never()
    handle = ScriptedHandle(never if ask is chat else [never])
    run = Calls(models(handle))
    task = asyncio.create_task(ask(run))
    await never.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handle.responses[0].cancelled
    assert (run.steps[0].status, run.steps[0].error) == ("cancelled", "cancelled")


async def test_a_run_that_fails_leaves_no_step_running() -> None:
    never = Never()
    handle = ScriptedHandle(never, InvalidInput("width", "is too large"))
    run = Calls(Models([Model("painter", "fake", (TextToImage,), handle), *models(ScriptedHandle()).all]))
    with pytest.raises(InvalidInput):
        await run.execute(image_generation, ImageGenerationRequest(prompt="a circle", count=2))
    assert [step.status for step in run.steps] == ["cancelled", "failed"]
    assert handle.responses[0].cancelled


async def test_a_run_whose_steps_end_leaves_the_callers_task_alone() -> None:
    run = Calls(models(LocalHandle(Writer("hi"))))
    await run.execute(three, Text())
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def test_a_stream_gives_each_item_and_ends() -> None:
    run = Calls(models(ScriptedHandle(["a", "b"])))
    assert await stream(run) == ["a", "b"]
    assert summary(run) == [("writer.stream", "m1", "succeeded", 1)]


async def test_a_stream_is_asked_again_before_its_first_item() -> None:
    run = Calls(models(ScriptedHandle([died()], ["a", "b"])))
    assert await stream(run) == ["a", "b"]
    assert run.steps[0].attempts == 2


@pytest.mark.parametrize("fault", [died, lambda: ModelUnavailable("no weights")])
async def test_a_stream_is_not_begun_twice(fault: Callable[[], Exception]) -> None:
    first, second = ScriptedHandle(["a", fault()], ["a", "b"]), ScriptedHandle(["c"])
    run = Calls(models(first, second))
    received: list[Any] = []
    with pytest.raises(ModelUnavailable):
        async for item in run.model("writer", Language).stream(HELLO):
            received.append(item)
    assert received == ["a"]
    assert (len(first.calls), len(second.calls)) == (1, 0)
    assert run.steps[0].status == "failed"


async def test_closing_a_stream_cancels_it_on_the_replica() -> None:
    handle = ScriptedHandle(["a", "b"])
    run = Calls(models(handle))
    items = run.model("writer", Language).stream(HELLO)
    assert await anext(items) == "a"
    await items.aclose()
    assert handle.responses[0].cancelled
    assert run.steps[0].status == "cancelled"


async def test_every_error_of_a_step_is_of_the_one_tree() -> None:
    for fault in (died(), ModelUnavailable("x"), KeyError("x"), InvalidInput("x", "y"), bare(KeyError("x"))):
        with pytest.raises(MedleyError):
            await chat(Calls(models(ScriptedHandle(*[fault] * ATTEMPTS))))


async def test_a_local_model_is_called_like_a_handle() -> None:
    run = Calls(models(LocalHandle(Writer("one two"))))
    assert (await chat(run)).text == "one two"
    assert [delta.text for delta in await stream(run)] == ["one ", "two", ""]
    assert PICTURE.media_type == "image/png"


@pytest.mark.parametrize(("method", "arguments"), [("chat", {"temprature": 0}), ("stream", {"temprature": 0})])
async def test_a_fake_refuses_an_argument_that_the_capability_lacks(method: str, arguments: dict[str, Any]) -> None:
    answer = getattr(Calls(models(LocalHandle(Writer()))).model("writer", Language), method)(HELLO, **arguments)
    with pytest.raises(ModelFailed, match="TypeError"):
        _ = [item async for item in answer] if method == "stream" else await answer
    with pytest.raises(TypeError, match=f"Language.{method} has no argument 'temprature'"):
        LocalHandle(Writer(), method).remote(HELLO, **arguments)


class Endless(Language):
    """Never answers, and writes one word before it falls silent."""

    async def chat(self, messages: list[Message], **options: Any) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def stream(self, messages: list[Message], **options: Any) -> AsyncIterator[Delta]:
        yield Delta(text="well")
        await asyncio.Event().wait()


async def test_a_run_ends_when_its_time_is_over() -> None:
    run = Calls(models(LocalHandle(Endless())), longest_s=0.05)
    with pytest.raises(RunTimedOut, match=r"0\.05 s"):
        await run.execute(three, Text())
    assert [(step.status, step.attempts) for step in run.steps] == [("cancelled", 1)]


async def test_a_stream_ends_when_its_time_is_over() -> None:
    run = Calls(models(LocalHandle(Endless())), longest_s=0.05)
    said: list[str] = []
    with pytest.raises(RunTimedOut, match=r"0\.05 s"):
        async for delta in run.model("writer", Language).stream(HELLO):
            said.append(delta.text)
    assert said == ["well"]
    assert [(step.status, step.attempts) for step in run.steps] == [("failed", 1)]
