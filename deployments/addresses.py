"""Which addresses others may name to us (a webhook, a provider's picture): public ones, looked at when they are
written down and again when they are connected to.

A name may lead somewhere else at each look-up, so a connection goes to the very address that was checked
(`PublicBackend`). What `allowed` names, the operator's own list, may also be loopback or in a private network.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, cast

import httpcore
import httpx

from .errors import InvalidInput

Address = IPv4Address | IPv6Address

MAX_URL = 2048  # characters
RESOLVE_S = 5.0
AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
PORT = re.compile(r":\d*$")
NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
NUMBER = re.compile(r"\d+|0x[0-9a-f]*")  # a last label like this makes the whole host a number (WHATWG URL)
LOCAL_NAMES = ("localhost", "local", "internal")  # and all that ends in them

# IANA's registries of special addresses, written out: `is_global` changes with Python's version, and counts multicast,
# reserved and translated addresses as global.
SPECIAL_V4 = [
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]
UNICAST_V6 = IPv6Network("2000::/3")  # all that is assigned for use on the internet
SPECIAL_V6 = [IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
NAT64 = IPv6Network("64:ff9b::/96")
PRIVATE_V4 = [IPv4Network(network) for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
PRIVATE_V6 = [IPv6Network(network) for network in ("::1/128", "fc00::/7")]
METADATA = [IPv6Address("fd00:ec2::254"), IPv6Address("fd20:ce::254")]  # AWS's and Google's, in a private network

# Look-ups that hang must not take the threads everything else runs in.
_resolvers = ThreadPoolExecutor(4, "resolve")


def check_url(url: str, allowed: Collection[str] = ()) -> None:
    """Refuse a URL that cannot be a public address, as far as that shows without a look-up.

    `allowed` are `host` or `host:port`, compared with what the URL says as it is written, but for upper and lower case.

    Raises:
        InvalidInput: at `url`, with the reason.
    """
    if len(url) > MAX_URL:
        raise _refused(f"has {len(url)} characters; at most {MAX_URL} are accepted.")
    found = AUTHORITY.match(url)
    if not found:
        raise _refused("must begin with https:// and name a host.")
    if "@" in found[1]:
        raise _refused("must not have a user or password in it.")
    if re.search(r"[^!-~]|\\", url):
        raise _refused("has a character that URLs do not have; write it percent-encoded, a host as punycode.")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise _refused(f"is not a URL: {error}.") from None
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise _refused("must have a port between 1 and 65535.")
    written = found[1].lower()
    listed = _listed([written, PORT.sub("", written)], allowed)
    _check_host(parsed.raw_host.decode(), listed)
    if parsed.scheme != "https" and not listed:
        raise _refused("must begin with https://.")


async def resolve_public(host: str, port: int, allowed: Collection[str] = ()) -> str:
    """One address of a host, all of whose addresses are public.

    Raises:
        InvalidInput: at `url`; the host has no address, or one that is not public.
    """
    loop = asyncio.get_running_loop()
    try:
        look_up = loop.run_in_executor(_resolvers, _look_up, host, port)
        addresses = await asyncio.wait_for(look_up, RESOLVE_S)
    except TimeoutError:
        raise _refused(f"the host name {host!r} was not resolved within {RESOLVE_S:g} s.") from None
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise _refused(f"the host name {host!r} does not resolve.")
    name = f"[{host}]" if ":" in host else host.lower()
    listed = _listed([name, f"{name}:{port}"], allowed)
    for address in addresses:
        # The address itself is not told: it may be of a network that is none of the caller's business.
        if not _permitted(address, listed):
            raise _refused(f"the host {host!r} leads to an address that is not public.")
    return addresses[0]


async def check_endpoint(url: str, allowed: Collection[str] = ()) -> None:
    """`check_url`, and that the host resolves to public addresses now.

    Raises:
        InvalidInput: at `url`, with the reason.
    """
    check_url(url, allowed)
    parsed = httpx.URL(url)
    await resolve_public(parsed.raw_host.decode(), parsed.port or (443 if parsed.scheme == "https" else 80), allowed)


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Connects to the address that was checked. TLS and the Host header go by the name all the same."""

    def __init__(self, allowed: Collection[str] = (), inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._allowed = allowed
        self._inner: httpcore.AsyncNetworkBackend = inner or cast(Any, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = await resolve_public(host, port, self._allowed)
        return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)


class PublicTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, over `PublicBackend`: no proxy, and no connection is kept for another request."""

    def __init__(
        self,
        allowed: Collection[str] = (),
        tls: ssl.SSLContext | None = None,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        tls = tls or httpx.create_ssl_context()
        super().__init__(verify=tls, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls, max_keepalive_connections=0, network_backend=PublicBackend(allowed, inner)
        )


def is_public(address: Address) -> bool:
    """Whether the address is a host's on the internet; one that carries an IPv4 address counts as that."""
    address = _carried(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_V4)
    if address.scope_id is not None:
        return False
    return address in UNICAST_V6 and not any(address in network for network in SPECIAL_V6)


def _permitted(written: str, listed: bool) -> bool:
    address = _carried(ipaddress.ip_address(written))
    if is_public(address):
        return True
    private = PRIVATE_V4 if isinstance(address, IPv4Address) else PRIVATE_V6
    return listed and address not in METADATA and any(address in network for network in private)


def _carried(address: Address) -> Address:
    """The IPv4 address within a mapped, a 6to4 or a NAT64 address; else the address."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _check_host(host: str, listed: bool) -> None:
    """`host` without brackets, in lower case."""
    name = host.removesuffix(".")
    try:
        address = _literal(name)
    except (ValueError, OSError):
        raise _refused(f"{host!r} is not an address.") from None
    if address is not None:
        if not _permitted(str(address), listed):
            raise _refused(f"{host!r} is not a public address.")
        return
    if len(name) > 253 or not NAME.fullmatch(name):
        raise _refused("names no host." if not name else f"{host!r} is not a host name.")
    if not listed and name.rpartition(".")[2] in LOCAL_NAMES:
        raise _refused(f"{host!r} is not a public name.")


def _literal(host: str) -> Address | None:
    """The address a host is, in any way of writing one: dotted, short, decimal, octal, hexadecimal, IPv6."""
    if ":" in host:
        return IPv6Address(host)
    if NUMBER.fullmatch(host.rpartition(".")[2]):
        return IPv4Address(socket.inet_aton(host))
    return None


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _listed(names: Iterable[str], allowed: Collection[str]) -> bool:
    known = {entry.lower() for entry in allowed}
    return any(name in known for name in names)


def _refused(reason: str) -> InvalidInput:
    return InvalidInput("url", reason)
