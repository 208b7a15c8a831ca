"""Medley's own API, `/api/v1`: one route per graph, made from its signature."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from deployments.addresses import check_endpoint
from deployments.capabilities import CAPABILITIES
from deployments.errors import InvalidInput
from deployments.prompt_category import category_of, task_of

from ...errors import UnknownName, foreseen, problem
from ...graph import Graph
from ...identity import Identity
from ...jobs.job import Job
from ...jobs.view import job_view, step_view
from ...models.selection import Demand, ranked
from ...steps import Step
from ..openapi import graph_operation
from ..openapi_parts import answer, operation, ref, refusal
from ..request_body import read_call
from ..run_options import read_run_options, wants_events
from ..server_sent_events import FIRST_EVENT_S, begun, event
from ..service import Service
from ..sync_run import SyncRun


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/api/v1")

    _add_service_routes(routes, service)

    @routes.get(
        "/graphs",
        tags=["graphs"],
        summary="Every graph",
        openapi_extra=operation({200: answer("The graphs", ref("Graphs"))}),
    )
    async def list_graphs(request: Request) -> Response:
        return JSONResponse({"graphs": [describe(service, graph) for graph in service.graphs.values()]})

    @routes.get(
        "/graphs/{graph}",
        tags=["graphs"],
        summary="One graph with the schemas of its input and output",
        openapi_extra=operation({200: answer("The graph", ref("Graph"))}),
    )
    async def get_graph(graph: str) -> Response:
        definition = service.graph(graph)
        schemas = {"input": definition.call.model_json_schema(), "output": definition.result.model_json_schema()}
        return JSONResponse({**describe(service, definition), **schemas})

    for graph in service.graphs.values():
        routes.add_api_route(
            f"/graphs/{graph.name}",
            _endpoint(service, graph),
            methods=["POST"],
            name=f"run_{graph.name}",
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


def _add_service_routes(routes: APIRouter, service: Service) -> None:
    """The routes about the caller and the models."""

    @routes.get(
        "/identity",
        tags=["service"],
        summary="Who the key belongs to",
        openapi_extra=operation({200: answer("The caller", ref("Identity"))}),
    )
    async def get_identity(request: Request) -> Response:
        identity: Identity = request.scope["identity"]
        return JSONResponse({"user": identity.user, "project": identity.project, "scopes": sorted(identity.scopes)})

    @routes.get(
        "/models",
        tags=["service"],
        summary="Every model, in order of preference",
        openapi_extra=operation({200: answer("The models", ref("Models"))}),
    )
    async def list_models(request: Request) -> Response:
        rows = [
            {"name": model.name, "backend": model.backend, "capabilities": [c.__name__ for c in model.capabilities]}
            for model in service.models.all
        ]
        return JSONResponse({"models": rows})

    @routes.get(
        "/models/auto",
        tags=["service"],
        summary="Which model `auto` means for a prompt, and why",
        openapi_extra=operation(
            {200: answer("The candidates", ref("Ranking")), 404: refusal("There is no such capability")}
        ),
    )
    async def rank_models(
        capability: str, prompt: str = "", size: Annotated[int | None, Query(ge=1)] = None
    ) -> Response:
        """The candidates in the order they are tried. `size`: longest side in pixels, or new tokens."""
        offered = {kind.__name__: kind for kind in CAPABILITIES}
        if capability not in offered:
            raise UnknownName("capability", capability, offered)
        demand = Demand(task_of(prompt) if capability == "Language" else category_of(prompt), size)
        choices = ranked(service.models.offering(offered[capability]), demand, service.models.calls)
        rows = [{"name": c.model.name, "points": c.points, "fits": c.fits, "why": c.why} for c in choices]
        return JSONResponse({"category": demand.category, "models": rows})


def describe(service: Service, graph: Graph[..., Any]) -> dict[str, Any]:
    """A graph as it is listed: its description and the models that may serve each parameter."""
    return {
        "name": graph.name,
        "title": graph.title,
        "description": graph.description,
        "price": service.jobs.config.prices.get(graph.name, 0),
        "streams": graph.piece is not None,
        "models": {
            parameter: {
                "capability": capability.__name__,
                "models": [model.name for model in service.models.all if capability in model.capabilities],
            }
            for parameter, capability in graph.capabilities.items()
        },
    }


def _endpoint(service: Service, graph: Graph[..., Any]) -> Callable[[Request], Any]:
    gateway, longest_s = service.config.gateway, service.config.gateway.wait_s
    jobs, private = service.jobs, service.config.jobs.private_webhooks

    async def endpoint(request: Request) -> Response:
        options = read_run_options(request)
        if options.webhook is not None:
            await check_webhook(options.webhook, private)
        call = await read_call(request, graph, gateway, jobs.artifacts)
        wait_s = longest_s if options.wait_s is None else min(longest_s, options.wait_s)
        options = replace(options, wait_s=wait_s)
        streams = not options.respond_async and wants_events(request)
        run = SyncRun(jobs, graph, call, request.scope["identity"], options, streams)
        if streams:
            # A run that is to be a job is refused before anything is sent, however long the database takes.
            return await begun(_events(run, request), None if run.durable else FIRST_EVENT_S)
        result = await run.answer()
        if isinstance(result, Job):
            return accepted(result)
        body = await asyncio.to_thread(result.model_dump_json) if graph.makes_media else result.model_dump_json()
        timing = {"server-timing": _timing(run.run.steps)}
        return Response(body, media_type="application/json", headers=timing)

    return endpoint


async def check_webhook(url: str, private: Collection[str]) -> None:
    """Check the URL of a job's own webhook.

    Raises:
        InvalidInput: at `webhook`, the name of the parameter.
    """
    try:
        await check_endpoint(url, private)
    except InvalidInput as error:
        raise InvalidInput("webhook", error.detail) from None


def accepted(job: Job) -> Response:
    """A 202 response with the job and its URL."""
    headers = {"location": f"/api/v1/jobs/{job.id}", "preference-applied": "respond-async"}
    return JSONResponse(job_view(job), 202, headers)


def _timing(steps: list[Step]) -> str:
    """The steps as a Server-Timing header (W3C), which browsers' developer tools draw."""
    return ", ".join(f'{step.name};dur={step.seconds * 1000:.1f};desc="{step.model}"' for step in steps)


async def _events(run: SyncRun, request: Request) -> AsyncGenerator[str]:
    """The server-sent events of a run: `step` when a step starts or ends, `pieces` of a graph that streams, then
    `result`, `error`, or `job` if the run continues as a job."""
    sent = False
    try:
        async with aclosing(run.events()) as events:
            async for name, value in events:
                if name == "step":
                    yield event(json.dumps(step_view(value)), name)
                elif name == "piece":
                    yield event(json.dumps([value.model_dump(mode="json")]), "pieces")
                elif name == "job":
                    yield event(json.dumps(job_view(value)), name)
                else:
                    yield event(await asyncio.to_thread(value.model_dump_json, ensure_ascii=True), name)
                sent = True
    except Exception as error:
        if not sent:
            raise
        request_id = request.scope["request_id"]
        document = problem(foreseen(error, request_id), request.url.path, request_id)
        yield event(json.dumps(document), "error")
