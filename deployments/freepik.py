"""Freepik's API: a task is created, its status asked for until it is complete, then its picture fetched.

The key goes in `x-freepik-api-key`; pictures lie where Freepik says. https://docs.freepik.com/api-reference
A task is billed, so it is never asked for again where it may have been created: a call that is repeated takes the task
of the earlier attempt up again (`provider_tasks.py`). Where Freepik can call back
(`callbacks.py`), the status is asked for when it does, and now and then in case that got lost.
"""

import asyncio
from typing import Any

from pydantic import BaseModel, Field

from .callbacks import CALLBACK_PATH, SECRET_VARIABLE, Callbacks, Task
from .errors import InvalidInput, ModelUnavailable
from .provider_tasks import digest_of, tasks_of_call
from .remote_address import checked_base, key_of
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
    webhook_base: str | None = Field(
        None,
        description="This Medley's public address, where Freepik tells that a task has ended; without, it is asked",
    )


class _TaskAnswer(BaseModel):
    data: Task


def connect(options: FreepikOptions) -> Connection:
    """A connection to Freepik, with all that its callbacks need where the options say that it can call.

    Raises:
        ModelUnavailable: the variable of the key or of the callbacks' secret is not set, or an address cannot be used.
    """
    if options.webhook_base is not None:
        checked_base(options.webhook_base, "webhook_base")
        key_of(SECRET_VARIABLE)  # the gateway checks with it; without, every callback would be refused
    return Connection(options, key_header="x-freepik-api-key", key_prefix="")


async def picture_of_task(
    connection: Connection, path: str, body: dict[str, Any], blame: Blame, callbacks: Callbacks | None = None
) -> bytes:
    """Have a task done and fetch its first picture. A call that is cancelled stops asking; Freepik finishes the task.

    Args:
        callbacks: where Freepik is heard, if the options say that it can call.

    Raises:
        InvalidInput: Freepik refused the caller's values, or took the picture for unsafe.
        ModelUnavailable: the task failed or took too long, or its picture cannot be fetched.
    """
    options: FreepikOptions = connection.options
    longest = min(10 * options.poll_s, max(LONGEST_POLL_S, options.poll_s))
    wait, pause = _sleep, options.poll_s
    if callbacks is not None and options.webhook_base is not None:
        body = body | {"webhook_url": options.webhook_base.rstrip("/") + CALLBACK_PATH}
        wait, pause = callbacks.wait, longest
    task = await _begun(connection, path, body, blame)
    try:
        async with asyncio.timeout(options.longest_task_s):
            while not task.ended:
                ended = await wait(task.task_id, pause)
                pause = options.poll_s if ended else min(pause * 1.5, longest)  # said too early, it soon will have
                task = await connection.ask("GET", f"{path}/{task.task_id}", _task, blame)
    except TimeoutError:
        raise ModelUnavailable(f"{connection.host} was not done within {options.longest_task_s:g} s") from None
    if any(task.has_nsfw):
        raise InvalidInput(blame.usual, f"led to a picture that {connection.host} takes for unsafe")
    if task.status == "FAILED" or not task.generated:
        raise ModelUnavailable(f"{connection.host} could not do the task")
    return await Downloads(connection).fetch(task.generated[0])


async def _begun(connection: Connection, path: str, body: dict[str, Any], blame: Blame) -> Task:
    """The task of an earlier attempt at the same request, unless it has failed; else a new one."""
    tasks, request = tasks_of_call(), digest_of(path, body)
    while (earlier := tasks.take_up(request)) is not None:
        task = await connection.ask("GET", f"{path}/{earlier}", _task, blame)
        if task.status != "FAILED":
            return task
    task = await connection.ask("POST", path, _task, blame, creates=True, json=body)
    tasks.created(request, task.task_id)
    return task


def _task(body: bytes) -> Task:
    return _TaskAnswer.model_validate_json(body).data


async def _sleep(task: str, seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return False
