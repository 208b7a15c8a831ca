"""OpenAI's API, `/v1`, for existing clients. Each route runs a graph; errors have OpenAI's form."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from deployments.capabilities import Language

from ....config.schema import AUTO, DEFAULT
from ....models.registry import Model
from ...openapi_parts import answer, operation, ref
from ...service import Service
from . import audio, chat, embeddings, images, moderations

STARTED = int(time.time())
ADDERS: dict[str, Callable[[APIRouter, Service], None]] = {
    "chat": chat.add,
    "embeddings": embeddings.add_embeddings,
    "reranking": embeddings.add_rerank,
    "moderation": moderations.add,
    "image_generation": images.add_generations,
    "image_edit": images.add_edits,
    "image_vary": images.add_variations,
    "transcription": audio.add_transcriptions,
    "speech": audio.add_speech,
}


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.get(
        "/models", summary="List models", openapi_extra=operation({200: answer("The models", ref("OpenAIModels"))})
    )
    async def list_models(request: Request) -> Response:
        """The profile's models. `capabilities` tells which of them chat, embed, paint, hear or speak."""
        return JSONResponse({"object": "list", "data": [_model(model.name, [model]) for model in service.models.all]})

    @routes.get(
        "/models/{model}",
        summary="Retrieve a model",
        openapi_extra=operation({200: answer("The model", ref("OpenAIModel"))}),
    )
    async def retrieve_model(model: str) -> Response:
        """A model by any name that a request may give: its own, an alias, `default`, `auto`, or `MODEL:ADAPTER`."""
        name, colon, _ = model.partition(":")
        if service.models.meant(name) in (DEFAULT, AUTO):
            candidates = service.models.all
        else:
            candidates = [service.models.named(name, Language if colon else None)]
        return JSONResponse(_model(model, candidates))

    for graph, add in ADDERS.items():  # only the routes whose graph the profile has
        if graph in service.graphs:
            add(routes, service)
    return routes


def _model(name: str, candidates: Sequence[Model]) -> dict[str, Any]:
    """A model in OpenAI's form, with the capabilities of the models that may answer to the name."""
    offered = {capability.__name__ for model in candidates for capability in model.capabilities}
    row = {"id": name, "object": "model", "created": STARTED, "owned_by": "medley"}
    return {**row, "capabilities": sorted(offered)}
