"""The options of a language model's reply."""

from typing import Annotated, Any, TypedDict

from pydantic import Field

from .messages import Tool


class ChatOptions(TypedDict, total=False):
    """The options of a reply, declared here and nowhere else: a new one is a new line.

    `Language` takes them as keywords, the graph `chat` has them as fields, and a backend that has not learned one
    refuses it by its name.
    """

    max_tokens: Annotated[
        int | None, Field(ge=1, lt=2**31, description="Longest answer, in tokens; else what the context has room for")
    ]
    temperature: Annotated[
        float | None, Field(ge=0, le=2, allow_inf_nan=False, description="0 takes the likeliest token")
    ]
    top_p: Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False, description="Nucleus of the distribution")]
    top_k: Annotated[int | None, Field(ge=1, lt=2**31, description="The likeliest tokens, so many, are drawn from")]
    min_p: Annotated[
        float | None,
        Field(ge=0, le=1, allow_inf_nan=False, description="Least probability of a token, relative to the likeliest"),
    ]
    presence_penalty: Annotated[
        float | None,
        Field(ge=-2, le=2, allow_inf_nan=False, description="Taken from the logit of a token that was written"),
    ]
    frequency_penalty: Annotated[
        float | None,
        Field(ge=-2, le=2, allow_inf_nan=False, description="Taken from it for each time that it was written"),
    ]
    logit_bias: Annotated[
        dict[str, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]] | None,
        Field(max_length=1024, description="Added to the logits of tokens, by their ids in the model's vocabulary"),
    ]
    stop: Annotated[
        list[Annotated[str, Field(max_length=500)]] | None,
        Field(max_length=16, description="Texts that end the answer"),
    ]
    seed: Annotated[int | None, Field(ge=0, lt=2**63, description="The same seed gives the same answer")]
    tools: Annotated[list[Tool] | None, Field(max_length=128, description="What the model may ask for")]
    tool_choice: Annotated[
        str | None, Field(max_length=64, description="auto, required, none, or the name of the tool it must ask for")
    ]
    json_schema: Annotated[dict[str, Any] | None, Field(description="The answer's text is JSON that this allows")]
    adapter: Annotated[str | None, Field(max_length=64, description="Name of a LoRA adapter of the model")]
