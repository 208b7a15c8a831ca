"""A multiplexed replica outside Serve, and a backend whose loading and calls are watched."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import ray.serve.multiplex
from ray.serve import context

from deployments import backend
from deployments.capabilities import Delta, Language, Message, Reply
from deployments.errors import MedleyError, ModelUnavailable
from serve_app.replicas.multiplexed import multiplexed_replica


class Watched(Language):
    """A language model that says its name, and writes down what happens to it in `happened`."""

    class Options(backend.Options):
        says: str
        bad: bool = False

    needs: ClassVar[backend.Needs] = backend.Needs(cpus=0.1)
    tells_progress: ClassVar[bool] = False
    happened: ClassVar[list[str]] = []
    refuses: ClassVar[dict[str, Exception]] = {}  # what loading raises, by `says`

    def __init__(self) -> None:
        self.says = ""
        self.told = self.happened  # of this test: another one's may be collected later
        self.go_on = asyncio.Event()

    def __del__(self) -> None:
        self.told.append(f"-{self.says}")

    async def reconfigure(self, options: Options) -> None:
        await asyncio.sleep(0)
        if error := self.refuses.get(options.says):
            raise error
        self.says = options.says
        self.happened.append(f"+{options.says}")

    def check_health(self) -> None:
        if self.says == "sick":
            raise ModelUnavailable("sick")

    async def chat(self, messages: list[Message], **options: Any) -> Reply:
        if messages[-1].content == "fail":
            raise MedleyError("failed as asked")
        if messages[-1].content == "wait":
            self.happened.append(f"{self.says} begins")
            await self.go_on.wait()
            self.happened.append(f"{self.says} ends")
        return Reply(text=self.says, finish_reason="stop", prompt_tokens=0, completion_tokens=0)

    async def stream(self, messages: list[Message], **options: Any) -> AsyncIterator[Delta]:
        for letter in self.says:
            await asyncio.sleep(0)
            yield Delta(text=letter)


def pretend_to_be_in_serve(replace: Callable[[Any, str, Any], None]) -> None:
    """What Serve's multiplexing asks about the replica it is in, and whom it tells what is loaded: nobody."""
    inside = SimpleNamespace(app_name="medley", deployment="host", replica_id=None)
    nobody = SimpleNamespace(register_or_update_task=lambda *_: None, start=lambda: None)
    replace(ray.serve.multiplex, "_get_internal_replica_context", lambda: inside)
    replace(ray.serve.multiplex, "MetricsPusher", lambda: nobody)


@pytest.fixture
def in_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_to_be_in_serve(monkeypatch.setattr)


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Calls in here are for the model of this name."""
    asked: Any = context._serve_request_context  # Ray types it as always empty
    token = asked.set(context._RequestContext(multiplexed_model_id=name))
    try:
        yield
    finally:
        asked.reset(token)


def made(backend: type[Any], multiplexed: Mapping[str, Mapping[str, Any]], max_loaded: int = 1) -> Any:
    return multiplexed_replica(backend, "host", multiplexed, max_loaded)()


async def said(replica: Any, name: str, words: str = "hello") -> str:
    """The text that the model of this name answers."""
    with asking(name):
        call = asyncio.create_task(replica.chat([Message(role="user", content=words)]))
    return (await call).text
