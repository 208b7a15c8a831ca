"""Medley's own API, `/api/v1`: one route a graph, made from its signature."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..errors import NotOffered, problem
from ..graph import Graph
from ..intake import read_call
from ..responses import foreseen
from ..run import Run, Step
from .schema import graph_operation

if TYPE_CHECKING:
    from ..gateway import Service

PREFER_WAIT = re.compile(r"\bwait=(\d+(?:\.\d+)?)")


def router(service: "Service") -> APIRouter:
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/identity", tags=["service"], summary="Who the key belongs to")
    async def identity(request: Request) -> Response:
        return JSONResponse({"user": request.scope["identity"].user})

    @routes.get("/models", tags=["service"], summary="Every model, in order of preference")
    async def models(request: Request) -> Response:
        rows = [
            {"name": model.name, "backend": model.backend, "capabilities": [c.__name__ for c in model.capabilities]}
            for model in service.models.all
        ]
        return JSONResponse({"models": rows})

    @routes.get("/graphs", tags=["graphs"], summary="Every graph")
    async def graphs(request: Request) -> Response:
        return JSONResponse({"graphs": [describe(service, graph) for graph in service.graphs.values()]})

    @routes.get("/graphs/{graph}", tags=["graphs"], summary="One graph with the schemas of its input and output")
    async def one_graph(graph: str) -> Response:
        found = service.graph(graph)
        schemas = {"input": found.call.model_json_schema(), "output": found.result.model_json_schema()}
        return JSONResponse({**describe(service, found), **schemas})

    for graph in service.graphs.values():
        routes.add_api_route(
            f"/graphs/{graph.name}",
            _endpoint(service, graph),
            methods=["POST"],
            name=graph.name,
            tags=["graphs"],
            summary=graph.title,
            description=graph.description,
            openapi_extra=graph_operation(graph),
        )

    @routes.post("/graphs/{graph}", include_in_schema=False)
    async def unknown_graph(graph: str) -> Response:
        service.graph(graph)
        raise AssertionError("every known graph has its own route")

    return routes


def describe(service: "Service", graph: Graph[..., Any]) -> dict[str, Any]:
    """A graph in a list: what it is for and which models may serve each of its parameters."""
    return {
        "name": graph.name,
        "title": graph.title,
        "description": graph.description,
        "models": {
            parameter: {
                "capability": capability.__name__,
                "models": [model.name for model in service.models.all if capability in model.capabilities],
            }
            for parameter, capability in graph.capabilities.items()
        },
    }


def _endpoint(service: "Service", graph: Graph[..., Any]) -> Callable[[Request], Any]:
    longest = service.config.gateway.run_timeout_s
    limits = service.config.gateway.limits

    async def endpoint(request: Request) -> Response:
        asked = _wait(request.headers.get("prefer"))
        timeout = longest if asked is None else min(longest, asked)
        call, chosen = await read_call(request, graph, limits)
        if "text/event-stream" in request.headers.get("accept", ""):

            def work(on_step: Callable[[Step], None]) -> Awaitable[BaseModel]:
                return Run(service.models, chosen, on_step, timeout).execute(graph, call)

            return StreamingResponse(_events(work, request), media_type="text/event-stream")
        run = Run(service.models, chosen, longest_s=timeout)
        result = await run.execute(graph, call)
        body = await asyncio.to_thread(result.model_dump_json) if graph.makes_media else result.model_dump_json()
        return Response(body, media_type="application/json", headers={"server-timing": _timing(run.steps)})

    return endpoint


def _wait(prefer: str | None) -> float | None:
    """The seconds of `Prefer: wait=n` (RFC 7240)."""
    if prefer is None:
        return None
    if "respond-async" in prefer:
        raise NotOffered("`Prefer: respond-async` needs durable jobs, which this version does not have yet.")
    found = PREFER_WAIT.search(prefer)
    return float(found[1]) if found else None


def _timing(steps: list[Step]) -> str:
    """The steps as a Server-Timing header (W3C): browsers' tools draw it."""
    return ", ".join(f'{step.name};dur={step.seconds * 1000:.1f};desc="{step.model}"' for step in steps)


async def _events(
    work: Callable[[Callable[[Step], None]], Awaitable[BaseModel]], request: Request
) -> AsyncIterator[str]:
    """Server-sent events: `step` whenever one starts or ends, then `result` or `error`."""
    queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def follow() -> None:
        try:
            result = await work(lambda step: queue.put_nowait(("step", json.dumps(_step(step)))))
            # ASCII, because clients' line readers (httpx's too) split at U+2028 and its like.
            queue.put_nowait(("result", await asyncio.to_thread(result.model_dump_json, ensure_ascii=True)))
        except Exception as error:
            request_id = request.scope["request_id"]
            told = problem(foreseen(error, request_id), request.url.path, request_id)
            queue.put_nowait(("error", json.dumps(told)))

    task = asyncio.create_task(follow())
    try:
        kind = "step"
        while kind == "step":
            kind, data = await queue.get()
            yield f"event: {kind}\ndata: {data}\n\n"
    finally:
        task.cancel()  # the client has gone, or there is nothing left to cancel


def _step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "model": step.model,
        "status": step.status,
        "attempts": step.attempts,
        "seconds": round(step.seconds, 4),
        "error": step.error,
    }
