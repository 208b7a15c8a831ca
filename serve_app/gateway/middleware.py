"""The middleware around every request: its id, its size limit, its identity, and the headers of the response.

It is one plain ASGI middleware, because each layer of a framework's middleware costs as much as a trivial request.
"""

import re
import uuid
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.callbacks import CALLBACK_PATH
from deployments.errors import MedleyError
from deployments.media import ARTIFACT_ID

from ..accounts.keys import Authenticator
from ..errors import BodyTooLarge, Unauthorized
from ..identity import acting_as
from ..storage.artifacts import PATH
from .error_responses import error_response
from .uploads import Uploads

DOCUMENTS = ("/docs", "/openapi.json")
PUBLIC = frozenset({"/health", "/ready", *DOCUMENTS, CALLBACK_PATH})  # callbacks: their route checks the signature
CACHE_CONTROL = b"cache-control"
SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (CACHE_CONTROL, b"no-store"),
]
SOCKET_PROTOCOL, SOCKET_KEY = "medley", "medley.key."  # browsers can send a WebSocket's key only as a subprotocol
POLICY_VIOLATION = 1008
REQUEST_ID = re.compile(rb"[\w.:-]{1,128}")
ONE_ARTIFACT = re.compile(rf"{PATH}/{ARTIFACT_ID.pattern}")


class RequestMiddleware:
    """The middleware that gives every request an id, checks its size and key, and adds the security headers.

    It sets `scope["identity"]` (None on a public path without a key) and `scope["request_id"]`.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        max_body: int,
        answer_id: bool = True,
        origins: Collection[str] = (),
    ) -> None:
        self.app = app
        self.origins = origins  # whose pages may open a WebSocket, besides this service's own
        self.authenticator = authenticator
        self.max_body = max_body
        self._uploads = Uploads(max_body)
        self.answer_id = answer_id  # off if the server in front adds `x-request-id` to the response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            elif scope["type"] == "websocket":
                await self._socket(scope, receive, send)
            return
        request_id, credential, length = _read(scope["headers"])
        scope["request_id"] = request_id
        scope["identity"] = await self.authenticator.identify(credential) if credential else None
        extra = [*SECURITY_HEADERS, (b"x-request-id", request_id.encode())] if self.answer_id else SECURITY_HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with(message["headers"], extra)
            await send(message)

        refusal = self._refusal(scope, length)
        if refusal:
            answer = error_response(refusal, scope["path"], request_id)
            await answer(scope, receive, send_with_headers)
            return
        with acting_as(scope["identity"]):
            await self.app(scope, self._uploads.bounded(receive, scope["identity"]), send_with_headers)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a WebSocket, unless a foreign page does: browsers send no CORS preflight before they open one."""
        request_id, credential, _ = _read(scope["headers"])
        offered: list[str] = scope.get("subprotocols", [])
        keys = [protocol.removeprefix(SOCKET_KEY) for protocol in offered if protocol.startswith(SOCKET_KEY)]
        credential = credential or (keys[0].encode() if keys else b"")
        scope["request_id"] = request_id
        scope["identity"] = await self.authenticator.identify(credential) if credential else None
        scope["subprotocol"] = SOCKET_PROTOCOL if SOCKET_PROTOCOL in offered else None
        if scope["identity"] is None or not _own_origin(scope["headers"], self.origins):
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        with acting_as(scope["identity"]):
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, length: int | None) -> MedleyError | None:
        public = scope["path"] in PUBLIC or is_signed(scope)
        if scope["identity"] is None and not public and scope["method"] != "OPTIONS":
            return Unauthorized("Send the API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        if length is not None and length > self.max_body:
            return BodyTooLarge(f"The body has {length:,} bytes; at most {self.max_body:,} are accepted.")
        return None


def _with(headers: Iterable[tuple[bytes, bytes]], extra: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A response's headers and the extra ones; what a route says about caching holds."""
    own = list(headers)
    if any(name == CACHE_CONTROL for name, _ in own):
        extra = [header for header in extra if header[0] != CACHE_CONTROL]
    return own + extra


def _own_origin(headers: Iterable[tuple[bytes, bytes]], allowed: Collection[str]) -> bool:
    """Whether a request comes from no page, from a page of this service or from an origin that the profile allows."""
    by_name = dict(headers)
    origin = by_name.get(b"origin", b"").decode("latin-1")
    host = by_name.get(b"host", b"").decode("latin-1")
    try:
        page = urlsplit(origin).netloc
    except ValueError:  # no address at all, such as http://[::1
        return False
    return not origin or page == host or origin in allowed or "*" in allowed


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, bytes, int | None]:
    """Request id, credential and body length; a length that is not a number counts as unknown."""
    request_id, credential, length = "", b"", None
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                credential = value[7:].strip()
        elif name == b"x-api-key":
            credential = credential or value.strip()
        elif name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            request_id = value.decode()
    return request_id or uuid.uuid4().hex, credential, length


def is_signed(scope: Scope) -> bool:
    """Whether a request reads an artifact by a signed URL; it needs no key, since its route checks the signature."""
    return (
        scope["method"] in ("GET", "HEAD")
        and ONE_ARTIFACT.fullmatch(scope["path"]) is not None
        and b"signature=" in scope["query_string"]
    )
