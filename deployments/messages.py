"""What goes into a language model and comes out of it: messages, tools, replies and their pieces."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Tag, field_validator, model_validator

from .errors import BeyondModel, ModelUnavailable
from .media import Audio, Image
from .nulls import NullIsAbsent
from .pieces import at_least_one
from .unions import STRING_OR_LIST, by_type

# Bounds that no model's context comes near: what really bounds a conversation is its model, or the size of the body.
MAX_CHARACTERS = 32_000_000
MAX_MESSAGES = MAX_PARTS = 50_000


class Tool(NullIsAbsent):
    """Something the caller can do, which a language model may ask for."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="What the model calls it by")
    description: str = Field(default="", max_length=MAX_CHARACTERS, description="What it does, for the model to read")
    parameters: dict[str, Any] = Field(
        default={},
        validate_default=True,
        description="JSON schema of its arguments, which are an object; none if empty",
    )

    @field_validator("name")
    @classmethod
    def _name_is_no_choice(cls, name: str) -> str:
        if name in ("auto", "required", "none"):
            raise ValueError("is a word of `tool_choice`, so it cannot be a tool's name")
        return name

    @field_validator("parameters")
    @classmethod
    def _parameters_are_an_object(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if parameters.get("type", "object") != "object":
            raise ValueError("must be the JSON schema of an object")
        return {"type": "object", **(parameters or {"properties": {}, "additionalProperties": False})}


class ToolCall(NullIsAbsent):
    """What a language model asks for."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=256, description="What its answer refers to")
    name: str = Field(max_length=256, description="The tool's")
    arguments: str = Field(max_length=MAX_CHARACTERS, description="JSON of an object, as the model wrote it")


class TextPart(NullIsAbsent):
    """A text in a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"] = "text"
    text: str = Field(max_length=MAX_CHARACTERS)


class ImagePart(NullIsAbsent):
    """A picture in a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["image"] = "image"
    image: Image


class AudioPart(NullIsAbsent):
    """A recording in a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["audio"] = "audio"
    audio: Audio


Part = Annotated[
    Annotated[TextPart, Tag("(text)")] | Annotated[ImagePart, Tag("(image)")] | Annotated[AudioPart, Tag("(audio)")],
    by_type("text", "image", "audio"),
]
PartType = Literal["text", "image", "audio"]
Content = Annotated[
    Annotated[str, Field(max_length=MAX_CHARACTERS), Tag("(string)")]
    | Annotated[list[Part], Field(max_length=MAX_PARTS), Tag("(list)")],
    STRING_OR_LIST,
]
PART_NAMES = {"text": "a text", "image": "a picture", "audio": "a recording"}


class Message(NullIsAbsent):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant", "tool"] = Field(description="Who speaks; tool: a call's answer")
    content: Content = Field(default="", description="What is said: a text, or a list of texts, pictures, recordings")
    name: str | None = Field(default=None, max_length=256, description="Which of several users or assistants speaks")
    tool_calls: list[ToolCall] = Field(default=[], max_length=128, description="What the assistant asked for")
    tool_call_id: str | None = Field(default=None, max_length=256, description="The call that a tool answers")

    @property
    def parts(self) -> Sequence[TextPart | ImagePart | AudioPart]:
        """The content as parts, also where it is a text."""
        return [TextPart(text=self.content)] if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The texts of the content, one after another."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @model_validator(mode="after")
    def _parts_fit_the_role(self) -> "Message":
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("tool_call_id is needed where the role is tool, and only there")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("tool_calls are the assistant's")
        if "content" not in self.model_fields_set and not self.tool_calls:
            raise ValueError("content is needed")
        return self


def check_parts(messages: Sequence[Message], taken: Collection[PartType]) -> None:
    """Refuse what a model cannot read.

    Args:
        taken: the types of parts that the model reads.

    Raises:
        BeyondModel: a message has a part of another type; names it by its place.
    """
    for number, message in enumerate(messages):
        for place, part in enumerate(message.parts):
            if part.type not in taken:
                reads = ", ".join(PART_NAMES[kind] for kind in sorted(taken))
                what = f"is {PART_NAMES[part.type]}, which this model cannot read; it reads {reads}"
                raise BeyondModel(f"messages.{number}.content.{place}", what)


class Reply(BaseModel):
    """What a language model answered: a text, calls of the caller's tools, or both."""

    text: str
    reasoning: str = Field(default="", description="What the model thought aloud before, where it does so")
    tool_calls: list[ToolCall] = Field(default=[], description="Whole ones: a call that `length` cut is left out")
    finish_reason: Literal["stop", "length", "tool_calls"]
    prompt_tokens: int
    completion_tokens: int


class Delta(BaseModel):
    """A piece of a reply, as it is written; the last one has a `finish_reason`, and all the calls."""

    text: str
    reasoning: str = ""
    tool_calls: list[ToolCall] = []
    finish_reason: Literal["stop", "length", "tool_calls"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def split(cls, whole: Reply) -> list[Self]:
        """A reply as one last piece."""
        return [cls(**dict(whole))]

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> Reply:
        """The reply whose pieces these are.

        Raises:
            ModelUnavailable: there are none, or the last one is missing.
        """
        last = at_least_one(pieces)[-1]
        if last.finish_reason is None:
            raise ModelUnavailable("the model broke off its answer")
        return Reply(
            text="".join(piece.text for piece in pieces),
            reasoning="".join(piece.reasoning for piece in pieces),
            tool_calls=[call for piece in pieces for call in piece.tool_calls],
            finish_reason=last.finish_reason,
            prompt_tokens=last.prompt_tokens,
            completion_tokens=last.completion_tokens,
        )
