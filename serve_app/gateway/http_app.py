"""Every HTTP surface of a service as one ASGI application."""

import functools
import inspect
from collections.abc import Iterable
from difflib import SequenceMatcher

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import MedleyError

from ..accounts.keys import Authenticator
from ..errors import FieldError, InvalidRequest, Refused, UnknownName, foreseen
from ..models.callback_board import Tell, tell
from .docs_page import POLICY, docs_page
from .error_responses import error_response
from .http_rules import HttpRules, allowed_methods
from .middleware import RequestMiddleware
from .openapi import openapi, operation_id
from .routes import aliases, artifacts, callbacks, graphs, health, jobs, webhooks
from .routes.openai import router as openai
from .service import Service

ALIKE = 0.75  # how alike two parts of a path are for one to be a slip for the other
# The headers of responses that the script of an allowed page may read.
EXPOSED = [
    *("x-request-id", "location", "etag", "content-range", "accept-ranges", "content-disposition", "retry-after"),
    *("server-timing", "preference-applied", "www-authenticate", "allow", "accept-encoding"),
]


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
    app = FastAPI(
        title="Medley",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
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
    _add_docs(app)
    app.add_exception_handler(Exception, _answer_error)
    app.add_exception_handler(MedleyError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_query)
    ruled = HttpRules(ExactPaths(app), app.routes)
    wrapped: ASGIApp = RequestMiddleware(ruled, authenticator, largest, answer_id, gateway.cors_origins)
    if gateway.cors_origins:
        wrapped = CORSMiddleware(
            wrapped,
            gateway.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"],
            allow_headers=["*"],  # no cookies are involved, and OpenAI's client sends a dozen headers of its own
            expose_headers=EXPOSED,
        )
    return wrapped


def _add_docs(app: FastAPI) -> None:
    page = functools.cache(lambda: docs_page(app.openapi()))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(page(), headers={"content-security-policy": POLICY})


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


async def _answer_invalid_query(request: Request, error: Exception) -> Response:
    """The framework's refusal of a query parameter, as a problem."""
    assert isinstance(error, RequestValidationError)
    found = [FieldError(str(item["loc"][-1]), item["msg"], item["type"]) for item in error.errors()]
    return await _answer_error(request, InvalidRequest(found))


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """The framework's own errors (no such route, method not allowed) as Medley's error responses."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    if error.status_code == 404:
        routes = {getattr(route, "path", "") for route in request.app.routes}
        known = nearest_routes(path, [route for route in routes if "{" not in route])
        refusal: MedleyError = UnknownName("route", path, known)
    else:
        refusal = Refused(error.status_code, str(error.detail))
    response = error_response(refusal, request.url.path, request.scope["request_id"])
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["allow"] = ", ".join(allowed_methods(request.app.routes, path))
    return response


def nearest_routes(path: str, known: Iterable[str]) -> list[str]:
    """The routes that a path may be a slip for: a misspelt part, or a prefix left out or written twice."""
    parts = path.split("/")

    def is_near(route: str) -> bool:
        others = route.split("/")
        if len(parts) == len(others):
            return all(SequenceMatcher(None, a, b).ratio() >= ALIKE for a, b in zip(parts, others, strict=True))
        short, long = sorted((path, route), key=len)
        return short.count("/") > 1 and long.endswith(short)

    return [route for route in known if is_near(route)]
