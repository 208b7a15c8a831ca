"""The route `/api/v1/callbacks`: a provider reports that a task has ended. Its signature replaces the API key."""

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.callbacks import CALLBACK_PATH, MOST_BODY, ended_task, is_signed

from ...errors import BodyTooLarge, InvalidSignature
from ...models.callback_board import Tell


def router(secret: str, tell: Tell) -> APIRouter:
    """The route of Freepik's callbacks.

    Args:
        secret: the secret that callbacks are signed with.
        tell: announces that a task has ended.
    """
    routes = APIRouter(tags=["callbacks"])

    @routes.post(CALLBACK_PATH, summary="For Freepik: a task's status has changed", include_in_schema=False)
    async def freepik(request: Request) -> Response:
        body = await _bounded(request)
        if not is_signed(request.headers, body, secret, time.time()):
            raise InvalidSignature("The signature is missing or wrong, or its timestamp is too far from the present.")
        task = ended_task(body)
        if task is not None:
            await tell(task)
        return Response(status_code=204)

    return routes


async def _bounded(request: Request) -> bytes:
    """The body. Anyone may send a callback, so a body that is too large is not read to its end."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BODY:
            raise BodyTooLarge(f"A callback may have at most {MOST_BODY:,} bytes.")
    return bytes(body)
