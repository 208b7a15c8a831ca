"""Every HTTP surface of a service as one ASGI application."""

import inspect

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import MedleyError

from ..accounts.keys import Authenticator
from ..errors import Refused, UnknownName, foreseen
from ..models.callback_board import Tell, tell
from .error_responses import error_response
from .middleware import RequestMiddleware
from .openapi import openapi
from .routes import aliases, artifacts, callbacks, graphs, health, jobs, webhooks
from .routes.openai import router as openai
from .service import Service


def http_app(
    service: Service,
    authenticator: Authenticator,
    answer_id: bool = True,
    callback_secret: str | None = None,
    tell: Tell = tell,
) -> ASGIApp:
    """Every HTTP surface of a service.

    Args:
        authenticator: finds the identity of a request's credential.
        answer_id: whether responses get the header `x-request-id`.
        callback_secret: the secret that providers sign callbacks with; without it there is no route for callbacks.
        tell: announces that a provider's task has ended.
    """
    app = FastAPI(title="Medley", version="0.1.0", docs_url="/docs", redoc_url=None)
    gateway, private = service.config.gateway, service.config.jobs.private_webhooks
    largest = int(gateway.max_body_mb * 1_000_000)
    app.include_router(health.router(service))
    app.include_router(graphs.router(service))
    app.include_router(jobs.router(service))
    app.include_router(artifacts.router(service.jobs.artifacts, service.jobs.usage, gateway))
    app.include_router(webhooks.router(service.jobs.database, private))
    if callback_secret:
        app.include_router(callbacks.router(callback_secret, tell))
    app.include_router(openai.router(service))
    aliases.add_aliases(app, gateway)
    app.openapi = lambda: openapi(app, service.graphs)  # type: ignore[method-assign]
    app.add_exception_handler(Exception, _answer_error)
    app.add_exception_handler(MedleyError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    wrapped: ASGIApp = RequestMiddleware(ExactPaths(app), authenticator, largest, answer_id, gateway.cors_origins)
    if gateway.cors_origins:
        headers = ["authorization", "content-type", "x-api-key", "x-request-id", "prefer"]
        headers += ["idempotency-key", "last-event-id", "range", "if-none-match"]
        wrapped = CORSMiddleware(
            wrapped,
            gateway.cors_origins,
            allow_methods=["*"],
            allow_headers=headers,
            expose_headers=["x-request-id", "location", "etag", "content-range", "accept-ranges"],
        )
    return wrapped


class ExactPaths:
    """A shortcut that calls the endpoints of exact paths: FastAPI's routing costs more than a trivial request.

    It applies to endpoints whose only parameter is the request and that have no FastAPI dependencies, neither of their
    own nor of their router or the application. Other routes, such as paths with parameters, go through FastAPI, which
    also makes the OpenAPI document.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.endpoints = {
            (method, route.path): route.endpoint
            for route in app.routes
            if isinstance(route, APIRoute)
            and not route.dependant.dependencies
            and list(inspect.signature(route.endpoint).parameters) == ["request"]
            for method in route.methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints.get((scope.get("method", ""), scope.get("path", "")))
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except Exception as error:
            response = await _answer_error(request, error)
        await response(scope, receive, send)


async def _answer_error(request: Request, error: Exception) -> Response:
    request_id = request.scope["request_id"]
    return error_response(foreseen(error, request_id), request.url.path, request_id)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """The framework's own errors (no such route, method not allowed) as Medley's error responses."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        routes = {getattr(route, "path", "") for route in request.app.routes}
        refusal: MedleyError = UnknownName("route", request.url.path, [path for path in routes if "{" not in path])
    else:
        refusal = Refused(error.status_code, str(error.detail))
    response = error_response(refusal, request.url.path, request.scope["request_id"])
    response.headers.update(error.headers or {})
    return response
