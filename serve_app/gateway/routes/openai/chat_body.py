"""The body of OpenAI's chat completions, and its translation into the chat graph's request.

A field that is not here is refused by its name. One that is here and has no bearing on the answer says so.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, FailFast, Field, Tag

from deployments.call_options import options_in, with_options
from deployments.capabilities import ChatOptions
from deployments.unions import STRING_OR_LIST, by_type

from ....config.schema import DEFAULT
from ....errors import NotOffered
from .shared import OpenAIBody


class TextPart(OpenAIBody):
    type: Literal["text"]
    text: str

    def fields(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class ImageURL(OpenAIBody):
    url: str = Field(description="A base64 data URL or the id of an artifact; nothing is fetched from other addresses")
    detail: Literal["auto", "low", "high"] = "auto"  # each model reads pictures at its own resolution


class ImagePart(OpenAIBody):
    type: Literal["image_url"]
    image_url: ImageURL

    def fields(self) -> dict[str, Any]:
        return {"type": "image", "image": self.image_url.url}


class InputAudio(OpenAIBody):
    data: str = Field(description="The file in base64")
    format: Literal["wav", "mp3"]


class AudioPart(OpenAIBody):
    type: Literal["input_audio"]
    input_audio: InputAudio

    def fields(self) -> dict[str, Any]:
        return {"type": "audio", "audio": f"data:audio/{self.input_audio.format};base64,{self.input_audio.data}"}


Part = Annotated[
    Annotated[TextPart, Tag("(text)")]
    | Annotated[ImagePart, Tag("(image_url)")]
    | Annotated[AudioPart, Tag("(input_audio)")],
    by_type("text", "image_url", "input_audio"),
]
Content = Annotated[
    Annotated[str, Tag("(string)")] | Annotated[list[Part], Tag("(list)")],
    STRING_OR_LIST,
]


class CalledFunction(OpenAIBody):
    name: str
    arguments: str


class Call(OpenAIBody):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None  # of a call that was streamed


class ChatMessage(OpenAIBody):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    # What clients send back of an earlier answer: empty, or, of the thoughts, not for the model to read again.
    annotations: list[Any] = Field([], max_length=0)
    reasoning_content: str | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a `Message`, not yet validated."""
        fields: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "name": self.name}
        if isinstance(self.content, str):
            fields["content"] = self.content
        elif self.content is not None:
            texts = [part.text for part in self.content if isinstance(part, TextPart)]
            only_texts = len(texts) == len(self.content)
            fields["content"] = "".join(texts) if only_texts else [part.fields() for part in self.content]
        if self.tool_calls:
            fields["tool_calls"] = [{"id": call.id, **call.function.model_dump()} for call in self.tool_calls]
        if self.tool_call_id is not None:
            fields["tool_call_id"] = self.tool_call_id
        return fields


class Function(OpenAIBody):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None  # calls that are forced keep to the schema in any case


class FunctionTool(OpenAIBody):
    type: Literal["function"]
    function: Function


class CustomTool(OpenAIBody):
    type: Literal["custom"]
    custom: Any = None


class FunctionName(OpenAIBody):
    name: str


class NamedTool(OpenAIBody):
    type: Literal["function"]
    function: FunctionName


class JSONSchema(OpenAIBody):
    name: str = "reply"
    description: str | None = None
    value: dict[str, Any] = Field({"type": "object"}, alias="schema")
    strict: bool | None = None  # replies keep to the schema in any case


class TextFormat(OpenAIBody):
    type: Literal["text"]


class JSONFormat(OpenAIBody):
    type: Literal["json_object"]


class SchemaFormat(OpenAIBody):
    type: Literal["json_schema"]
    json_schema: JSONSchema


class StreamOptions(OpenAIBody):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


Tool = Annotated[
    Annotated[FunctionTool, Tag("(function)")] | Annotated[CustomTool, Tag("(custom)")], by_type("function", "custom")
]
Choice = Annotated[
    Annotated[Literal["auto", "required", "none"], Tag("(string)")] | Annotated[NamedTool, Tag("(tool)")],
    Discriminator(lambda choice: "(tool)" if isinstance(choice, dict | NamedTool) else "(string)"),
]
Stop = Annotated[
    Annotated[str, Tag("(string)")] | Annotated[list[str], Tag("(list)")],
    STRING_OR_LIST,
]
Format = Annotated[
    Annotated[TextFormat, Tag("(text)")]
    | Annotated[JSONFormat, Tag("(json_object)")]
    | Annotated[SchemaFormat, Tag("(json_schema)")],
    by_type("text", "json_object", "json_schema"),
]

# The chat graph's options that OpenAI's clients send in another form; every other option has our name and meaning.
OTHER_FORM = ("max_tokens", "stop", "tools", "tool_choice", "json_schema", "adapter")


@with_options(ChatOptions, without=OTHER_FORM)
class ChatCompletion(OpenAIBody):
    model: str = DEFAULT
    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Literal[1] = 1
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Stop | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    logprobs: Literal[False] = False
    modalities: list[Literal["text"]] | None = None
    # What OpenAI's service does with a request beside answering it. It has no bearing on the answer.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] = False
    service_tier: Literal["auto", "default"] = "auto"
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def holds_media(self) -> bool:
        """Whether a message has a picture or a recording."""
        contents = [message.content for message in self.messages if isinstance(message.content, list)]
        return any(not isinstance(part, TextPart) for content in contents for part in content)

    def fields(self) -> dict[str, Any]:
        """The fields of the chat graph's request.

        Raises:
            NotOffered: a tool is not a function.
        """
        functions = [tool.function for tool in self.tools or [] if isinstance(tool, FunctionTool)]
        if len(functions) < len(self.tools or []):
            raise NotOffered("Only function tools are offered here; custom tools, which take any text, are not.")
        tools = [function.model_dump(exclude_none=True, exclude={"strict"}) for function in functions]
        choice = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else self.tool_choice
        return {
            **options_in(self, ChatOptions, without=OTHER_FORM),
            "messages": [message.fields() for message in self.messages],
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
            "tools": tools or None,
            "tool_choice": choice if tools or choice != "auto" else None,
            "json_schema": self._schema(),
        }

    def _schema(self) -> dict[str, Any] | None:
        if isinstance(self.response_format, SchemaFormat):
            return self.response_format.json_schema.value
        return {"type": "object"} if isinstance(self.response_format, JSONFormat) else None
