"""A conversation with a language model."""

from typing import Any

from pydantic import BaseModel, Field

from deployments.capabilities import Language, Message, Reply, Tool
from serve_app.graph import graph


class ChatRequest(BaseModel):
    messages: list[Message] = Field(
        min_length=1,
        max_length=200,
        description="The conversation so far, oldest first",
        examples=[[{"role": "user", "content": "What can you do?"}]],
    )
    max_tokens: int | None = Field(default=None, ge=1, le=32_768, description="Longest answer, in tokens")
    temperature: float | None = Field(
        default=None, ge=0, le=2, allow_inf_nan=False, description="0 takes the likeliest token"
    )
    top_p: float | None = Field(
        default=None, gt=0, le=1, allow_inf_nan=False, description="Nucleus of the distribution"
    )
    stop: list[str] | None = Field(default=None, max_length=4, description="Texts that end the answer")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="The same seed gives the same answer")
    tools: list[Tool] | None = Field(default=None, max_length=128, description="What the model may ask for")
    tool_choice: str | None = Field(
        default=None, max_length=64, description="auto, required, none, or the name of the tool it must ask for"
    )
    json_schema: dict[str, Any] | None = Field(default=None, description="The answer's text is JSON that this allows")
    adapter: str | None = Field(default=None, max_length=64, description="Name of a LoRA adapter of the model")


@graph(title="Chat")
async def chat(request: ChatRequest, writer: Language) -> Reply:
    """Answer the last message of a conversation."""
    return await writer.chat(
        request.messages,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=request.stop,
        seed=request.seed,
        tools=request.tools,
        tool_choice=request.tool_choice,
        json_schema=request.json_schema,
        adapter=request.adapter,
    )
