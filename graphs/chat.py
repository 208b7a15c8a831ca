"""A conversation with a language model."""

from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import BaseModel, FailFast, Field

from deployments.call_options import options_in, with_options
from deployments.capabilities import MAX_MESSAGES, ChatOptions, Delta, Language, Message
from serve_app.graph import graph


@with_options(ChatOptions)
class ChatRequest(BaseModel):
    messages: Annotated[list[Message], FailFast()] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        description="The conversation so far, oldest first",
        examples=[[{"role": "user", "content": "What can you do?"}]],
    )


@graph(title="Chat", auto=("writer",))
async def chat(request: ChatRequest, writer: Language) -> AsyncIterator[Delta]:
    """Answer the last message of a conversation, as it is written."""
    async for delta in writer.stream(request.messages, **options_in(request, ChatOptions)):
        yield delta
