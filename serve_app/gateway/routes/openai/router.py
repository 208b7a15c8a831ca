"""OpenAI's API, `/v1`, for clients that exist. Each route is a graph in other words; errors are OpenAI's."""

import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from . import audio, chat, images

if TYPE_CHECKING:
    from ...service import Service

STARTED = int(time.time())


def router(service: "Service") -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.get("/models", summary="List models")
    async def list_models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(model.name) for model in service.models.all]})

    @routes.get("/models/{model}", summary="Retrieve a model")
    async def retrieve_model(model: str) -> Response:
        return JSONResponse(_model(service.models.named(model).name))

    for part in (chat, images, audio):
        part.add(routes, service)
    return routes


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "medley"}
