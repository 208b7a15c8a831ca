"""What happens around every request: its id, its size, who sends it, and the headers of the answer.

One plain ASGI middleware, because each layer of a framework's own costs as much as a trivial request.
"""

import re
import uuid
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import MedleyError

from .accounts.keys import Authenticator
from .errors import BodyTooLarge, Unauthorized
from .responses import error_response

PUBLIC = frozenset({"/health", "/ready", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"})
SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
REQUEST_ID = re.compile(rb"[\w.:-]{1,128}")


class Envelope:
    """Gives every request an id, refuses what is too large or has no key, and adds the security headers.

    The identity is left in `scope["identity"]` (None on a public path without a key), the id in `scope["request_id"]`.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, max_body: int, answer_id: bool = True) -> None:
        self.app = app
        self.authenticator = authenticator
        self.max_body = max_body
        self.answer_id = answer_id  # off where the server in front puts `x-request-id` into the answer itself

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        request_id, credential, length = _read(scope["headers"])
        scope["request_id"] = request_id
        scope["identity"] = self.authenticator.identify(credential) if credential else None
        extra = [*SECURITY_HEADERS, (b"x-request-id", request_id.encode())] if self.answer_id else SECURITY_HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        refusal = self._refusal(scope, length)
        if refusal:
            answer = error_response(refusal, scope["path"], request_id)
            await answer(scope, receive, send_with_headers)
            return
        await self.app(scope, receive if length is not None else self._counted(receive), send_with_headers)

    def _refusal(self, scope: Scope, length: int | None) -> MedleyError | None:
        if scope["identity"] is None and scope["path"] not in PUBLIC and scope["method"] != "OPTIONS":
            return Unauthorized("Send the API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        if length is not None and length > self.max_body:
            return BodyTooLarge(f"The body has {length:,} bytes; at most {self.max_body:,} are accepted.")
        return None

    def _counted(self, receive: Receive) -> Receive:
        """`receive` for a body of unknown length: the server only checks a length that was announced."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body:
                raise BodyTooLarge(f"The body is larger than the {self.max_body:,} bytes that are accepted.")
            return message

        return counted


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, bytes, int | None]:
    """Request id, credential and body length; a length that is no number counts as unknown."""
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
