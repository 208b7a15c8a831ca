"""The route `/api/v1/callbacks`: a provider reports that a task has ended. Its signature replaces the API key."""

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.callbacks import CALLBACK_PATH, MOST_BODY, ended_task, is_signed

from ...errors import InvalidSignature
from ...models.callback_board import Tell
from ..json_body import read_body


def router(secret: str, tell: Tell) -> APIRouter:
    """The route of Freepik's callbacks.

    Args:
        secret: the secret that callbacks are signed with.
        tell: announces that a task has ended.
    """
    routes = APIRouter(tags=["callbacks"])

    @routes.post(CALLBACK_PATH, summary="For Freepik: a task's status has changed", include_in_schema=False)
    async def freepik(request: Request) -> Response:
        body = await read_body(request, MOST_BODY)
        if not is_signed(request.headers, body, secret, time.time()):
            raise InvalidSignature("The signature is missing or wrong, or its timestamp is too far from the present.")
        task = ended_task(body)
        if task is not None:
            await tell(task)
        return Response(status_code=204)

    return routes
