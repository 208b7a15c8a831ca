"""OpenAI's API, `/v1`, for existing clients. Each route runs a graph; errors have OpenAI's form."""

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ...service import Service
from . import audio, chat, images

STARTED = int(time.time())
ADDERS: dict[str, Callable[[APIRouter, Service], None]] = {
    "chat": chat.add,
    "image_generation": images.add_generations,
    "image_edit": images.add_edits,
    "image_vary": images.add_variations,
    "transcription": audio.add_transcriptions,
    "speech": audio.add_speech,
}


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.get("/models", summary="List models")
    async def list_models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(model.name) for model in service.models.all]})

    @routes.get("/models/{model}", summary="Retrieve a model")
    async def retrieve_model(model: str) -> Response:
        return JSONResponse(_model(service.models.named(model).name))

    for graph, add in ADDERS.items():  # only the routes whose graph the profile has
        if graph in service.graphs:
            add(routes, service)
    return routes


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "medley"}
