"""Hugging Face Inference: `POST {base_url}/{model}`, as huggingface_hub's `InferenceClient` does it for `hf-inference`.

A dedicated Inference Endpoint speaks the same: its address is the base URL, and there is no model to name.
https://huggingface.co/docs/inference-providers/providers/hf-inference
"""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import Field

from .remote_answers import MOST_TEXT
from .remote_http import VARIABLE, Blame, Connection, RemoteOptions

T = TypeVar("T")


class HuggingFaceOptions(RemoteOptions):
    """Where models of the hub answer."""

    base_url: str = Field(
        "https://router.huggingface.co/hf-inference/models", description="Of the API, or of an Inference Endpoint"
    )
    key_variable: str | None = Field(
        "HF_TOKEN", pattern=VARIABLE, description="NAME of the environment variable that has the token"
    )


async def infer(
    connection: Connection,
    model: str | None,
    inputs: str,
    parameters: dict[str, Any],
    read: Callable[[bytes], T],
    blame: Blame,
    *,
    accept: str = "application/json",
    most: int = MOST_TEXT,
) -> T:
    """What `read` makes of a model's answer. Parameters that are None are left out; bytes go in as base64.

    Raises:
        InvalidInput: the provider refused the inputs or a parameter.
        ModelUnavailable: it did not answer, or has no such model.
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    body = {"inputs": inputs, **({"parameters": given} if given else {})}
    headers = {"Accept": accept}
    return await connection.ask("POST", quote(model or ""), read, blame, most=most, json=body, headers=headers)
