"""The trivial work of all contenders: three steps that each return their text."""

from collections.abc import AsyncIterator
from typing import ClassVar, Unpack

from pydantic import BaseModel, Field

from deployments import backend
from deployments.capabilities import ChatOptions, Delta, Language, Message, Reply
from serve_app.graph import graph


class Echo(backend.Backend, Language):
    """A language model that repeats the last message."""

    class Options(backend.Options):
        """The options, of which there are none."""

    needs: ClassVar[backend.Needs] = backend.Needs(cpus=0.1, concurrency=100)

    async def reconfigure(self, options: backend.Options) -> None:
        """Load nothing."""

    def check_health(self) -> None:
        """Pass: the model can always answer."""

    async def chat(self, messages: list[Message], **options: Unpack[ChatOptions]) -> Reply:
        return Reply(text=messages[-1].text, finish_reason="stop", prompt_tokens=0, completion_tokens=0)

    async def stream(self, messages: list[Message], **options: Unpack[ChatOptions]) -> AsyncIterator[Delta]:
        yield Delta(text=messages[-1].text, finish_reason="stop")


class ChainRequest(BaseModel):
    text: str = Field(min_length=1, max_length=1000)


class ChainResult(BaseModel):
    text: str


@graph(title="Three trivial steps")
async def chain(request: ChainRequest, first: Language, second: Language, third: Language) -> ChainResult:
    """Pass a text through three models."""
    text = request.text
    for model in (first, second, third):
        text = (await model.chat([Message(role="user", content=text)])).text
    return ChainResult(text=text)
