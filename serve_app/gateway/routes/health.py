"""`/health` and `/ready`: for load balancers and people. They need no key and tell no secrets."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from ray import serve
from starlette.responses import JSONResponse

from ...config.schema import APPLICATION
from ..service import Service

RUNNING: Any = "RUNNING"  # a ReplicaState, which is a string whose class Ray keeps to itself
KEPT_S = 1.0  # anyone may ask, so Serve's controller is asked at most this often


class Health:
    """The state of every model, as Serve's controller sees it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._read_at = 0.0
        self._models: list[dict[str, Any]] = []

    async def models(self) -> list[dict[str, Any]]:
        """One row a model: name, capabilities, status (Serve's word), running replicas, message.

        Of one that lives in another's replicas, the other's.
        """
        if time.monotonic() - self._read_at > KEPT_S:
            self._read_at = time.monotonic()
            self._models = await asyncio.to_thread(self._read)
        return self._models

    def _read(self) -> list[dict[str, Any]]:
        application = serve.status().applications.get(APPLICATION)
        deployments = application.deployments if application else {}
        rows: list[dict[str, Any]] = []
        for model in self._service.models.all:
            seen = deployments.get(model.deployment)
            rows.append(
                {
                    "name": model.name,
                    "capabilities": [capability.__name__ for capability in model.capabilities],
                    "status": seen.status.value if seen else "MISSING",
                    "replicas": seen.replica_states.get(RUNNING, 0) if seen else 0,
                    "message": seen.message if seen else "",
                }
            )
        return rows


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["operations"])
    health = Health(service)

    @routes.get("/health", summary="State of the service and of every model")
    async def get_health(request: Request) -> JSONResponse:
        """`healthy`: every model is. `degraded`: each capability still has a model. `unhealthy` (503): one has none.

        Why a model is not healthy is told only to a caller with a key.
        """
        models = await health.models()
        if request.scope["identity"] is None:
            models = [{key: value for key, value in model.items() if key != "message"} for model in models]
        healthy = [model for model in models if model["status"] == "HEALTHY"]
        served = {capability for model in healthy for capability in model["capabilities"]}
        wanted = {capability for model in models for capability in model["capabilities"]}
        status = "healthy" if len(healthy) == len(models) else "degraded" if served == wanted else "unhealthy"
        return JSONResponse({"status": status, "models": models}, 503 if status == "unhealthy" else 200)

    @routes.get("/ready", summary="Whether every model can take a request")
    async def get_ready(request: Request) -> JSONResponse:
        """200 once every model is up (a model scaled to zero counts: it starts when asked), else 503."""
        waiting = [model["name"] for model in await health.models() if model["status"] != "HEALTHY"]
        if waiting:
            return JSONResponse({"ready": False, "waiting_for": waiting}, 503, {"retry-after": "2"})
        return JSONResponse({"ready": True, "waiting_for": []})

    return routes
