"""The body of OpenAI's chat completions, and its translation into the chat graph's request."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from deployments.call_options import options_in, with_options
from deployments.capabilities import ChatOptions

from ....errors import NotOffered
from .shared import DEFAULT_MODEL


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class CalledFunction(BaseModel):
    name: str
    arguments: str


class Call(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = Field(None, max_length=32_000)
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a `Message`, not yet validated."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or [])
        fields: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role}
        if self.content is not None:
            fields["content"] = text
        if self.tool_calls:
            fields["tool_calls"] = [{"id": call.id, **call.function.model_dump()} for call in self.tool_calls]
        if self.tool_call_id is not None:
            fields["tool_call_id"] = self.tool_call_id
        return fields


class Function(BaseModel):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(BaseModel):
    type: Literal["function"]
    function: Function


class CustomTool(BaseModel):
    type: Literal["custom"]


class FunctionName(BaseModel):
    name: str


class NamedTool(BaseModel):
    type: Literal["function"]
    function: FunctionName


class JSONSchema(BaseModel):
    name: str = "reply"
    value: dict[str, Any] = Field({"type": "object"}, alias="schema")


class TextFormat(BaseModel):
    type: Literal["text"]


class JSONFormat(BaseModel):
    type: Literal["json_object"]


class SchemaFormat(BaseModel):
    type: Literal["json_schema"]
    json_schema: JSONSchema


class StreamOptions(BaseModel):
    include_usage: bool = False


# The chat graph's options that OpenAI's clients send in another form; every other option has our name and meaning.
OTHER_FORM = ("max_tokens", "stop", "tools", "tool_choice", "json_schema", "adapter")


@with_options(ChatOptions, without=OTHER_FORM)
class ChatCompletion(BaseModel):
    model: str = DEFAULT_MODEL
    messages: list[ChatMessage] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Literal[1] | None = 1
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    tools: list[Annotated[FunctionTool | CustomTool, Field(discriminator="type")]] | None = None
    tool_choice: Literal["auto", "required", "none"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[TextFormat | JSONFormat | SchemaFormat, Field(discriminator="type")] | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of the chat graph's request.

        Raises:
            NotOffered: a tool is not a function.
        """
        functions = [tool.function for tool in self.tools or [] if isinstance(tool, FunctionTool)]
        if len(functions) < len(self.tools or []):
            raise NotOffered("Only function tools are offered here; custom tools, which take any text, are not.")
        tools = [function.model_dump(exclude_none=True) for function in functions]
        choice = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else self.tool_choice
        return {
            **options_in(self, ChatOptions, without=OTHER_FORM),
            "messages": [message.fields() for message in self.messages],
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
            "tools": tools or None,
            "tool_choice": choice,
            "json_schema": self._schema(),
        }

    def _schema(self) -> dict[str, Any] | None:
        if isinstance(self.response_format, SchemaFormat):
            return self.response_format.json_schema.value
        return {"type": "object"} if isinstance(self.response_format, JSONFormat) else None
