"""What a provider tells by calling back: that a task has ended. Freepik does, and signs it.

A callback is a hint and no more: who waits for the task asks the provider then, as it would have a little later without
one. Nothing else in it is used, so a lost or doubled one costs time at most.

Freepik's calls, by https://docs.freepik.com/webhooks and the `webhook_url` of https://docs.freepik.com/api-reference:
a POST at each change of a task's status, whose body is that of the status's own answer without the `data` around it.
`webhook-signature` has signatures with the version of their secret, `v1,... v2,...`. Each is the base64 of an
HMAC-SHA256, with the bytes of the secret, of `webhook-id`, `webhook-timestamp` and the body with points between. The
page does not say what the timestamp counts; its clients read seconds since the epoch.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal, Protocol

from pydantic import BaseModel, Field, ValidationError

CALLBACK_PATH = "/api/v1/callbacks/freepik"  # below the public address of the service
SECRET_VARIABLE = "FREEPIK_WEBHOOK_SECRET"
MOST_BODY = 64 * 1024  # bytes: a callback has a few URLs
TOLERANCE_S = 300.0  # between its clock and ours, its way included


class Task(BaseModel):
    """Where a task of Freepik's stands."""

    task_id: str = Field(pattern=r"^[\w-]{1,100}$")  # it becomes part of a path
    status: Literal["CREATED", "IN_PROGRESS", "COMPLETED", "FAILED"]
    generated: list[str] = []
    has_nsfw: list[bool] = []

    @property
    def ended(self) -> bool:
        return self.status in ("COMPLETED", "FAILED")


class Callbacks(Protocol):
    """Where callbacks can be waited for."""

    async def wait(self, task: str, seconds: float) -> bool:
        """Whether it was told within `seconds` that a task has ended; returns as soon as it is. It never raises."""
        ...


class CalledBack:
    """A backend whose provider can call back. Who runs it says where that is heard; else its tasks are looked at."""

    callbacks: Callbacks | None = None


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Whether a callback is signed with the secret, at about `now` (seconds since the epoch).

    Every version is tried, not `v1` alone as the library `standardwebhooks` would: to Freepik it numbers the secrets.
    """
    id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (id and sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        return False
    if abs(now - int(sent_at)) > TOLERANCE_S:
        return False
    signed = f"{id}.{sent_at}.".encode() + body
    expected = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())
    given = [one.partition(",")[2] for one in headers.get("webhook-signature", "").split(" ")]
    return any(hmac.compare_digest(one.encode(), expected) for one in given)


def ended_task(body: bytes) -> str | None:
    """The task that a callback says has ended; None if it says something else."""
    try:
        task = Task.model_validate_json(body)
    except ValidationError:
        return None
    return task.task_id if task.ended else None
