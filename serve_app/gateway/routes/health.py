"""The routes `/health` and `/ready`, for load balancers and people. They need no key and reveal no secrets."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from ...models.startup_failures import STATUS
from ..openapi_parts import answer, operation, ref
from ..service import Service


async def model_rows(service: Service) -> list[dict[str, Any]]:
    """One row per model: name, capabilities, status (Serve's word), whether it serves, whether Serve has given up
    starting it, running replicas, message. A multiplexed model has its deployment's status.

    Raises:
        StatusUnavailable: Serve's controller does not answer.
    """
    status = await STATUS.read()
    rows: list[dict[str, Any]] = []
    for model in service.models.all:
        deployment = status.get(model.deployment)
        rows.append(
            {
                "name": model.name,
                "capabilities": [capability.__name__ for capability in model.capabilities],
                "status": deployment.status if deployment else "MISSING",
                "serves": deployment is not None and deployment.serves,
                "given_up": deployment is not None and deployment.given_up,
                "replicas": deployment.replicas if deployment else 0,
                "message": deployment.message if deployment else "",
            }
        )
    return rows


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["operations"])

    @routes.get(
        "/health",
        summary="State of the service and of every model",
        openapi_extra=operation(
            {200: answer("It is healthy, or degraded", ref("Health")), 503: answer("It is unhealthy", ref("Health"))}
        ),
    )
    async def get_health(request: Request) -> JSONResponse:
        """`healthy`: every model serves, which includes models that scale up or down. `degraded`: every capability
        still has a model that serves. `unhealthy` (503): a capability has none.

        Only a caller with a key sees why a model is not healthy.
        """
        models = await model_rows(service)
        if request.scope["identity"] is None:
            models = [{key: value for key, value in model.items() if key != "message"} for model in models]
        serving = [model for model in models if model["serves"]]
        served = {capability for model in serving for capability in model["capabilities"]}
        offered = {capability for model in models for capability in model["capabilities"]}
        status = "healthy" if len(serving) == len(models) else "degraded" if served == offered else "unhealthy"
        return JSONResponse({"status": status, "models": models}, 503 if status == "unhealthy" else 200)

    @routes.get(
        "/ready",
        summary="Whether every model can take a request",
        openapi_extra=operation(
            {200: answer("It is ready", ref("Ready")), 503: answer("Some models are not up", ref("Ready"))}
        ),
    )
    async def get_ready(request: Request) -> JSONResponse:
        """200 if every model serves (a model scaled to zero counts, since it starts on demand), else 503. A model that
        could not be started is not waited for if others have each of its capabilities."""
        models = await model_rows(service)
        served = {capability for model in models if model["serves"] for capability in model["capabilities"]}
        waiting = [
            model["name"]
            for model in models
            if not model["serves"] and not (model["given_up"] and served >= set(model["capabilities"]))
        ]
        if waiting:
            return JSONResponse({"ready": False, "waiting_for": waiting}, 503, {"retry-after": "2"})
        return JSONResponse({"ready": True, "waiting_for": []})

    return routes
