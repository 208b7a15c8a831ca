"""A conversation with a language model."""

from pydantic import BaseModel, Field

from deployments.call_options import options_in, with_options
from deployments.capabilities import ChatOptions, Language, Message, Reply
from serve_app.graph import graph


@with_options(ChatOptions)
class ChatRequest(BaseModel):
    messages: list[Message] = Field(
        min_length=1,
        max_length=200,
        description="The conversation so far, oldest first",
        examples=[[{"role": "user", "content": "What can you do?"}]],
    )


@graph(title="Chat")
async def chat(request: ChatRequest, writer: Language) -> Reply:
    """Answer the last message of a conversation."""
    return await writer.chat(request.messages, **options_in(request, ChatOptions))
