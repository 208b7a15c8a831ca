"""Pictures that a provider sent: as untrusted as any that a client sends."""

import ssl
from functools import cache
from typing import TYPE_CHECKING

import httpx

from . import pixels
from .addresses import PublicTransport, check_url
from .bad_media import without_advice
from .errors import InvalidInput, ModelUnavailable
from .media import Image
from .remote_address import is_loopback
from .remote_answers import MOST_MEDIA, bounded_body
from .remote_http import Connection, Passing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def received(data: bytes, host: str) -> "Picture":
    """The picture that `host` sent, opened by `pixels.open_picture`.

    Raises:
        ModelUnavailable: it is none, is damaged or has more than 25 million pixels.
    """
    try:
        return pixels.open_picture(Image(data, "image/*"))
    except InvalidInput as error:
        raise ModelUnavailable(f"{host} sent a picture that {without_advice(error.detail)}") from None


def fitted(picture: "Picture", size: tuple[int, int]) -> Image:
    """The picture as a PNG of exactly `size` (width, height): scaled by Lanczos to cover it, then cut."""
    import PIL.Image
    import PIL.ImageOps

    if picture.size != size:
        picture = PIL.ImageOps.fit(picture, size, PIL.Image.Resampling.LANCZOS)
    return pixels.write_picture(picture)


class Downloads:
    """Fetches what a provider names by URL: https and public addresses only, without the key, no redirects.

    A provider on this machine, as in tests, may name what is at its own host and port besides.
    """

    def __init__(self, connection: Connection) -> None:
        url = connection.url
        self._allowed = [url.netloc.decode()] if is_loopback(url.host) else []
        self._connection = connection

    async def fetch(self, url: str) -> bytes:
        """At most 64 MiB, asked for again like any other request.

        Raises:
            ModelUnavailable: the address is not one to go to, or nothing came.
        """
        try:
            check_url(url, self._allowed)
        except InvalidInput as error:
            raise ModelUnavailable(f"{self._connection.host} names a picture whose address {error.detail}") from None
        return await self._connection.retried(lambda: self._fetch(url))

    async def _fetch(self, url: str) -> bytes:
        transport = PublicTransport(self._allowed, _tls())
        async with httpx.AsyncClient(transport=transport, timeout=self._connection.options.timeout_s) as client:
            try:
                async with client.stream("GET", url) as response:
                    if response.status_code != 200:
                        raise Passing(f"the picture at {response.url.host} is answered with {response.status_code}")
                    return await bounded_body(response, MOST_MEDIA)
            except InvalidInput as error:  # of the connection: the name leads to an address that is not public
                raise ModelUnavailable(f"{self._connection.host} names a picture whose {error.detail}") from None


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates of the world takes longer than some pictures."""
    return httpx.create_ssl_context()
