"""What only a caller says, a Host header or an Origin, is not taken for an address of this service."""

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from .fakes import PICTURE
from .services import KEY, Make


async def upload(http: httpx.AsyncClient, host: str) -> tuple[str, str]:
    """The URL of an artifact, and a signed one, for a caller that names a host."""
    headers = {"host": host, "content-type": "image/png"}
    made = (await http.post("/api/v1/artifacts", content=PICTURE.data, headers=headers)).json()
    signed = await http.post(f"/api/v1/artifacts/{made['id']}/url", json={}, headers={"host": host})
    return made["url"], signed.json()["url"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
async def test_urls_do_not_follow_a_foreign_host(make: Make, host: str) -> None:
    assert all(url.startswith("/api/v1/artifacts/") for url in await upload(make().client(), host))
    public = make({"public_url": "https://medley.example"}).client()
    assert all(url.startswith("https://medley.example/api/v1/artifacts/") for url in await upload(public, host))


async def test_urls_on_loopback_are_absolute(make: Make) -> None:
    urls = await upload(make().client(), "127.0.0.1:8000")
    assert all(url.startswith("http://127.0.0.1:8000/api/v1/artifacts/") for url in urls)


@pytest.mark.parametrize("origin", ["http://[::1", "http://]", "null", "http://evil.example", "\x7f"])
async def test_a_page_whose_origin_is_no_address_opens_no_socket(make: Make, origin: str) -> None:
    client = TestClient(make().app, headers={"authorization": f"Bearer {KEY}", "origin": origin})
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/v1/jobs/job_1/events"):
        pass
