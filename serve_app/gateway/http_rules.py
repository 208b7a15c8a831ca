"""HTTP's own rules, the same for every route: HEAD, OPTIONS, content codings, HTTP/1.0 (RFC 9110, RFC 9112)."""

import asyncio
import contextlib
from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import MedleyError, UnsupportedMedia

from ..errors import UnknownName
from .error_responses import error_response

WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class HttpRules:
    """The rules around an application with these routes.

    - HEAD answers what GET would, without its body; OPTIONS names the methods of a path.
    - A body in a content coding, such as gzip, is refused; nothing here would decode it.
    - A path with U+0000 names nothing: no database looks it up.
    - A client of HTTP/1.0 gets no chunks.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope.get("http_version") == "1.0":
            send = _whole(send)
        method, path = scope["method"], scope["path"]
        refusal = _refusal(scope)
        if refusal is not None:
            response: Response = error_response(refusal, path, scope["request_id"])
            if refusal.status == 415:
                response.headers["accept-encoding"] = "identity"
            await response(scope, receive, send)
        elif method == "HEAD":
            found = allowed_methods(self.routes, path)
            as_get = "GET" in found and not _has_own_head(self.routes, path)
            await _without_body(self.app, {**scope, "method": "GET"} if as_get else scope, receive, send)
        elif method == "OPTIONS" and (found := allowed_methods(self.routes, path)):
            await Response(status_code=204, headers={"allow": ", ".join(found)})(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def allowed_methods(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """The methods that some route takes at a path, sorted; none if there is no such path."""
    found = {method for route in _routes_at(routes, path) for method in route.methods or ()}
    if "GET" in found:
        found.add("HEAD")
    return sorted(found | {"OPTIONS"}) if found else []


def _has_own_head(routes: Sequence[BaseRoute], path: str) -> bool:
    return any("HEAD" in (route.methods or ()) for route in _routes_at(routes, path))


def _routes_at(routes: Sequence[BaseRoute], path: str) -> list[Route]:
    return [route for route in routes if isinstance(route, Route) and route.path_regex.match(path)]


def _refusal(scope: Scope) -> MedleyError | None:
    if "\0" in scope["path"]:
        return UnknownName("route", scope["path"], ())
    if scope["method"] in WITHOUT_BODY:
        return None
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            coding = value.decode("latin-1")
            return UnsupportedMedia(
                "content-encoding", f"{coding!r} is not accepted: send the body as it is, without a content coding"
            )
    return None


async def _without_body(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Call an application and send the head of its response only; what it would go on to send is not waited for."""
    started = asyncio.Event()

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start" and not started.is_set():
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            started.set()

    answering = asyncio.ensure_future(app(scope, receive, send_head))
    starting = asyncio.ensure_future(started.wait())
    try:
        await asyncio.wait((answering, starting), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        for task in (answering, starting):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await answering


def _whole(send: Send) -> Send:
    """`send` for a client of HTTP/1.0, which knows no chunks: a response of unknown length is sent once it is complete,
    since the server would send it in chunks."""
    start: Message | None = None
    body = bytearray()

    async def whole(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and not _has_length(message):
            start = message
        elif start is None:
            await send(message)
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                length = (b"content-length", str(len(body)).encode())
                await send({**start, "headers": [*start["headers"], length]})
                await send({"type": "http.response.body", "body": bytes(body), "more_body": False})

    return whole


def _has_length(start: Message) -> bool:
    return start["status"] in (204, 304) or any(name.lower() == b"content-length" for name, _ in start["headers"])
