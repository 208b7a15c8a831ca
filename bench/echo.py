"""The trivial work all contenders do: three steps that each pass a text on."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from deployments import backend
from deployments.capabilities import Delta, Language, Message, Reply
from serve_app.graph import graph


class Echo(Language):
    """A language model that says what it hears."""

    class Options(backend.Options):
        pass

    needs: ClassVar[backend.Needs] = backend.Needs(cpus=0.1, concurrency=100)

    async def reconfigure(self, options: Options) -> None:
        pass

    def check_health(self) -> None:
        pass

    async def chat(self, messages: list[Message], **options: Any) -> Reply:
        return Reply(text=messages[-1].content, finish_reason="stop", prompt_tokens=0, completion_tokens=0)

    async def stream(self, messages: list[Message], **options: Any) -> AsyncIterator[Delta]:
        yield Delta(text=messages[-1].content, finish_reason="stop")


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
