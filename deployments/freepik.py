"""Freepik's API: a task is created, its status asked for until it is complete, then its picture fetched.

The key goes in `x-freepik-api-key`; pictures lie where Freepik says. https://docs.freepik.com/api-reference
"""

import asyncio
from typing import Any, Literal

from pydantic import BaseModel, Field

from .errors import InvalidInput, ModelUnavailable
from .remote_http import VARIABLE, Blame, Connection, RemoteOptions
from .remote_media import Downloads

LONGEST_POLL_S = 10.0


class FreepikOptions(RemoteOptions):
    """Where Freepik is, and how long a task may take."""

    base_url: str = Field("https://api.freepik.com/v1/ai", description="Of the API")
    key_variable: str | None = Field(
        "FREEPIK_API_KEY", pattern=VARIABLE, description="NAME of the environment variable with the key"
    )
    poll_s: float = Field(1.0, gt=0, le=60, description="Between looks at a task; grows to ten times as much")
    longest_task_s: float = Field(300, gt=0, le=3600, description="A task that takes longer is given up")


class Task(BaseModel):
    """Where a task stands."""

    task_id: str = Field(pattern=r"^[\w-]{1,100}$")  # it becomes part of a path
    status: Literal["CREATED", "IN_PROGRESS", "COMPLETED", "FAILED"]
    generated: list[str] = []
    has_nsfw: list[bool] = []


class _TaskAnswer(BaseModel):
    data: Task


def connect(options: FreepikOptions) -> Connection:
    """
    Raises:
        ModelUnavailable: the key's variable is not set, or the address cannot be used.
    """
    return Connection(options, key_header="x-freepik-api-key", key_prefix="")


async def picture_of_task(connection: Connection, path: str, body: dict[str, Any], blame: Blame) -> bytes:
    """Have a task done and fetch its first picture. A call that is cancelled stops asking; Freepik finishes the task.

    Raises:
        InvalidInput: Freepik refused the caller's values, or took the picture for unsafe.
        ModelUnavailable: the task failed or took too long, or its picture cannot be fetched.
    """
    task = await connection.ask("POST", path, _task, blame, json=body)
    options: FreepikOptions = connection.options
    pause = options.poll_s
    try:
        async with asyncio.timeout(options.longest_task_s):
            while task.status not in ("COMPLETED", "FAILED"):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 10 * options.poll_s, max(LONGEST_POLL_S, options.poll_s))
                task = await connection.ask("GET", f"{path}/{task.task_id}", _task, blame)
    except TimeoutError:
        raise ModelUnavailable(f"{connection.host} was not done within {options.longest_task_s:g} s") from None
    if any(task.has_nsfw):
        raise InvalidInput(blame.usual, f"led to a picture that {connection.host} takes for unsafe")
    if task.status == "FAILED" or not task.generated:
        raise ModelUnavailable(f"{connection.host} could not do the task")
    return await Downloads(connection).fetch(task.generated[0])


def _task(body: bytes) -> Task:
    return _TaskAnswer.model_validate_json(body).data
