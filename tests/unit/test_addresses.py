"""What a webhook may be sent to: at creation, and again at connection."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx
import pytest

from deployments import addresses
from deployments.addresses import PublicTransport, check_endpoint, check_url, resolve_public
from deployments.errors import InvalidInput

PUBLIC = "93.184.215.14"

REFUSED = [
    # schemes, and what is no URL
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "//example.com/",
    "example.com",
    "",
    "https://",
    "https:///path",
    "https://.",
    "https://a..b/",
    "https://exa mple.com/",
    "https://example.com/\n",
    "https://example.com\\@127.0.0.1/",
    "https://ex%61mple.com/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:port/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com/" + "x" * 2048,
    # loopback in every way of writing it
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://017700000001/",
    "https://0/",
    "https://0.0.0.0/",
    "https://127。0。0。1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b:1::1]/",
    "https://256.256.256.256/",
    "https://1.2.3.4.5/",
    # private, shared, reserved, multicast, documentation
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://3232235777/",
    "https://100.64.0.1/",
    "https://192.0.0.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[fc00::1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[2001::1]/",
    "https://[2001:db8::1]/",
    "https://[2606:4700::1%25eth0]/",
    "https://[100::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[2002:0a00:0001::1]/",
    "https://[64:ff9b::a00:1]/",
    # clouds' metadata
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://[::ffff:169.254.169.254]/",
    "https://metadata.google.internal/",
    # names of this machine or network
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://printer.local/",
    "https://db.internal/",
]

ACCEPTED = [
    "https://example.com",
    "HTTPS://Example.COM/hook?x=1#part",
    "https://example.com.:8443/hook",
    "https://a_b.example.com:1/",
    "https://example.com:65535/",
    "https://localhost.example.com/",
    "https://8.8.8.8/",
    "https://134744072/",
    "https://172.32.0.1/",
    "https://[2606:4700:4700::1111]:444/",
    "https://[::ffff:8.8.8.8]/",
    "https://[64:ff9b::8.8.8.8]/",
    "https://xn--bcher-kva.example/",
    "https://example.com/a@b",
]


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_not_a_public_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_url(url)
    assert refused.value.field == "url"


@pytest.mark.parametrize("url", ACCEPTED)
def test_public_urls_are_accepted(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:9000/hook", "127.0.0.1:9000"),
        ("http://127.0.0.1:9000/hook", "127.0.0.1"),
        ("http://localhost:9000/", "localhost:9000"),
        ("http://Receiver.Internal/", "receiver.internal"),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://[::1]:9000/", "[::1]:9000"),
    ],
)
def test_what_the_operator_lists_may_be_private_and_plain_http(url: str, allowed: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url)
    check_url(url, [allowed])


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:9001/", "127.0.0.1:9000"),
        ("http://127.1:9000/", "127.0.0.1:9000"),
        ("http://2130706433:9000/", "127.0.0.1:9000"),
        ("http://127.0.0.1.:9000/", "127.0.0.1:9000"),
        ("http://127.0.0.1:09000/", "127.0.0.1:9000"),
        ("https://127.0.0.1:9000@10.0.0.1/", "127.0.0.1:9000"),
        ("http://a.localhost:9000/", "localhost:9000"),
        ("http://169.254.169.254/", "169.254.169.254"),
        ("http://[fd00:ec2::254]/", "[fd00:ec2::254]"),
        ("http://0.0.0.0/", "0.0.0.0"),
    ],
)
def test_the_list_holds_only_as_written_and_never_for_metadata(url: str, allowed: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url, [allowed])


def answers(monkeypatch: pytest.MonkeyPatch, *lookups: list[str]) -> list[str]:
    """Look-ups give these addresses in turn, the last ones for good; returns the names that were looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        found = lookups[min(len(asked), len(lookups) - 1)]
        asked.append(host)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


async def test_a_public_name_gives_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [PUBLIC, "2606:4700::1"])
    assert await resolve_public("example.com", 443) == PUBLIC


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, "::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%eth0"],
    ],
)
async def test_one_address_that_is_not_public_is_enough(monkeypatch: pytest.MonkeyPatch, found: list[str]) -> None:
    answers(monkeypatch, found)
    with pytest.raises(InvalidInput) as refused:
        await check_endpoint("https://example.com/")
    assert "not public" in refused.value.detail
    assert not any(address in refused.value.detail for address in found)


async def test_a_name_that_does_not_resolve_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [])
    with pytest.raises(InvalidInput, match=r"'nowhere\.example' does not resolve"):
        await check_endpoint("https://nowhere.example/")


async def test_a_label_too_long_for_the_resolver_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not resolve"):
        await resolve_public("x" * 64 + ".example", 443)


async def test_a_listed_name_may_be_private_but_not_link_local(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["10.0.0.1"], ["169.254.169.254"])
    assert await resolve_public("receiver", 80, ["receiver:80"]) == "10.0.0.1"
    with pytest.raises(InvalidInput):
        await resolve_public("receiver", 80, ["receiver:80"])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket on loopback whose backlog shows whether anyone connected."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        yield server


def connected(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return False
    return True


async def post(url: str, transport: httpx.AsyncBaseTransport) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=2) as client:
        return await client.post(url, content=b"{}")


async def test_a_name_that_turns_to_loopback_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    asked = answers(monkeypatch, [PUBLIC], ["127.0.0.1"])
    await check_endpoint(f"https://rebind.example:{port}/")
    with pytest.raises(InvalidInput, match="not public"):
        await post(f"https://rebind.example:{port}/", PublicTransport())
    assert asked == ["rebind.example", "rebind.example"]
    assert not connected(listener)


async def test_the_listener_would_have_seen_it(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    """The test above could fail: without the check the same look-up reaches loopback."""
    port = listener.getsockname()[1]
    answers(monkeypatch, ["127.0.0.1"])
    with pytest.raises(httpx.HTTPError):
        await post(f"http://rebind.example:{port}/", PublicTransport([f"rebind.example:{port}"]))
    assert await asyncio.to_thread(connected, listener)


class FakeStream(httpcore.AsyncNetworkStream):
    def __init__(self) -> None:
        self.server_name: str | None = None
        self.verifies = False
        self.sent = b""
        self._answer = [b"HTTP/1.1 204 No Content\r\n\r\n"]

    async def start_tls(self, ssl_context: Any, server_hostname: str | None = None, *args: Any, **kwargs: Any) -> Any:
        self.server_name, self.verifies = server_hostname, ssl_context.check_hostname
        return self

    async def write(self, buffer: bytes, *args: Any, **kwargs: Any) -> None:
        self.sent += buffer

    async def read(self, max_bytes: int, *args: Any, **kwargs: Any) -> bytes:
        return self._answer.pop() if self._answer else b""

    async def aclose(self) -> None:
        pass


class FakeBackend(httpcore.AsyncNetworkBackend):
    def __init__(self) -> None:
        self.connected: list[tuple[str, int]] = []
        self.stream = FakeStream()

    async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        self.connected.append((host, port))
        return self.stream


async def test_the_address_that_was_checked_is_connected_to_under_the_hosts_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, [PUBLIC], ["127.0.0.1"])
    backend = FakeBackend()
    answer = await post("https://example.com/hook", PublicTransport(inner=backend))
    assert answer.status_code == 204
    assert asked == ["example.com"]  # one look-up: the checked one
    assert backend.connected == [(PUBLIC, 443)]
    assert backend.stream.server_name == "example.com" and backend.stream.verifies
    assert b"\r\nhost: example.com\r\n" in backend.stream.sent.lower()


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    answers(monkeypatch, [PUBLIC])
    backend = FakeBackend()
    await post("https://example.com/hook", PublicTransport(inner=backend))
    assert backend.connected == [(PUBLIC, 443)]


async def test_no_connection_is_kept_for_another_request(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [PUBLIC])
    backend = FakeBackend()
    async with httpx.AsyncClient(transport=PublicTransport(inner=backend), trust_env=False, timeout=2) as client:
        for _ in range(2):
            backend.stream = FakeStream()
            assert (await client.post("https://example.com/hook", content=b"{}")).status_code == 204
    assert backend.connected == [(PUBLIC, 443)] * 2


async def test_a_url_that_is_none_is_refused_before_its_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, [PUBLIC])
    for url in ("ftp://example.com/", "https://user:password@example.com/", "http://example.com/"):
        with pytest.raises(InvalidInput):
            await check_endpoint(url)
    assert asked == []


@pytest.mark.parametrize(("scheme", "port"), [("https", 443), ("http", 80)])
async def test_a_port_that_a_url_need_not_name_is_the_schemes(
    monkeypatch: pytest.MonkeyPatch, scheme: str, port: int
) -> None:
    answers(monkeypatch, ["10.0.0.1"])
    allowed = [f"receiver:{port}"]
    await check_endpoint(f"{scheme}://receiver:{port}/", allowed)  # httpx takes the scheme's own port out
    with pytest.raises(InvalidInput):
        await check_endpoint(f"{scheme}://receiver/", [f"receiver:{port + 1}"])


async def test_a_look_up_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(addresses, "RESOLVE_S", 0.05)
    monkeypatch.setattr(addresses, "_look_up", lambda host, port: ended.wait(10) and [PUBLIC])
    try:
        with pytest.raises(InvalidInput, match=r"'slow\.example' was not resolved within 0\.05 s"):
            await resolve_public("slow.example", 443)
    finally:
        ended.set()


def test_the_longest_name_has_253_characters() -> None:
    labels = ".".join(["x" * 61] * 4)
    check_url(f"https://{labels}.example/"[: 8 + 253])
    with pytest.raises(InvalidInput, match="is not a host name"):
        check_url(f"https://{labels}.examples.com/")
    with pytest.raises(InvalidInput, match="names no host"):
        check_url("https://./")
