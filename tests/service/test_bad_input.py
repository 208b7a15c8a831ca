"""Bad input gets a problem that names the field, within a second, and harms nothing."""

import io
import struct
import time
import zlib
from typing import Any

import av
import httpx
import numpy as np
import pytest

from ..unit.fakes import wav_bytes
from .live import until
from .samples import Samples, disc

WITHIN_S = 1.0


def hour_of_silence() -> bytes:
    """An hour of Opus: about a megabyte."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48000)
        stream.bit_rate = 6000
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        for second in range(3600):
            frame.pts = second * 48000
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return buffer.getvalue()


def huge_png() -> bytes:
    """A valid header of 20,000 x 10,000 pixels and almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n"


def refused(answer: httpx.Response, status: int, field: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.elapsed.total_seconds() < WITHIN_S
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "detail", "request_id"} <= set(problem)
    if field:
        assert field in [error["field"] for error in problem["errors"]], problem
    return problem


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("not audio", b"this is a text file, not audio at all" * 10, 415),
        ("a picture", disc().data, 415),
        ("empty", b"", 422),
        ("truncated header", wav_bytes(2)[:30], 415),
        ("no samples", wav_bytes(0), 422),
        ("a playlist", PLAYLIST, 415),
    ],
)
def test_bad_audio(name: str, data: bytes, status: int, client: httpx.Client) -> None:
    refused(client.post("/api/v1/graphs/transcription", files={"audio": ("x.wav", data)}), status, "audio")


@pytest.mark.slow
def test_an_hour_of_silence(client: httpx.Client) -> None:
    problem = refused(client.post("/api/v1/graphs/transcription", files={"audio": hour_of_silence()}), 422, "audio")
    assert "600 s" in problem["detail"]


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("not a picture", b"no picture", 415),
        ("a recording", wav_bytes(1), 415),
        ("empty", b"", 422),
        ("truncated", disc().data[: len(disc().data) // 2], 422),
        ("200 megapixels", huge_png(), 422),
        ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/"/></svg>', 415),
    ],
)
def test_bad_pictures(name: str, data: bytes, status: int, client: httpx.Client) -> None:
    refused(client.post("/api/v1/graphs/image_canny", files={"image": ("x.png", data)}), status, "image")


@pytest.mark.parametrize(
    ("graph", "body", "field"),
    [
        ("image_generation", {"prompt": "x" * 100_000}, "prompt"),
        ("image_generation", {"prompt": ""}, "prompt"),
        ("image_generation", {}, "prompt"),
        ("image_generation", {"prompt": 7}, "prompt"),
        ("image_generation", {"prompt": "a circle", "width": -64}, "width"),
        ("image_generation", {"prompt": "a circle", "guidance": "NaN"}, "guidance"),
        ("image_generation", {"prompt": "a circle", "count": 1000}, "count"),
        ("image_generation", {"prompt": "a circle", "width": 17}, "width"),
        ("speech", {"text": "hello", "voice": "nobody"}, "voice"),
        ("speech", {"text": "hello", "speed": 100}, "speed"),
        ("speech", {"text": "hello", "format": "midi"}, "format"),
        ("smart_mask", {"image": disc().url}, "points"),
        ("smart_mask", {"image": disc().url, "points": [[5000, 40]]}, "points"),
        ("smart_mask", {"image": "http://127.0.0.1:9/x.png", "points": [[1, 1]]}, "image"),
        ("smart_mask", {"image": "data:image/png;base64,%%%", "points": [[1, 1]]}, "image"),
        ("image_crop", {"image": disc().url, "box": [0, 0, 9999, 9999]}, "box"),
        ("image_crop", {"image": disc().url, "box": [10, 10, 10, 10]}, "box"),
        ("image_resize", {"image": disc().url, "width": 0}, "width"),
        ("chat", {"messages": []}, "messages"),
        ("chat", {"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
    ],
)
def test_bad_fields(graph: str, body: dict[str, Any], field: str, client: httpx.Client) -> None:
    refused(client.post(f"/api/v1/graphs/{graph}", json=body), 422, field)


def test_nan_in_json(client: httpx.Client) -> None:
    body = b'{"prompt": "a circle", "guidance": NaN}'
    refused(client.post("/api/v1/graphs/image_generation", content=body), 422, "guidance")


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'"text"'])
def test_bodies_that_are_no_object(body: bytes, client: httpx.Client) -> None:
    refused(client.post("/api/v1/graphs/speech", content=body), 422, "body")


def test_misspelt_names_get_the_nearest(client: httpx.Client) -> None:
    unknown_graph = refused(client.post("/api/v1/graphs/speech_to_imagee", json={}), 404, "")
    assert "'speech_to_image'" in unknown_graph["detail"]
    unknown_field = refused(client.post("/api/v1/graphs/speech", json={"text": "x", "voise": "y"}), 422, "voise")
    assert "'voice'" in unknown_field["detail"]
    body = {"text": "x", "models": {"voice": "espeek"}}
    unknown_model = refused(client.post("/api/v1/graphs/speech", json=body), 404, "")
    assert "'espeak'" in unknown_model["detail"]
    assert "'/health'" in refused(client.get("/healthh"), 404, "")["detail"]


def test_media_types(client: httpx.Client) -> None:
    answer = client.post("/api/v1/graphs/speech", content=b"text=x", headers={"content-type": "text/plain"})
    refused(answer, 415, "content-type")
    answer = client.post("/api/v1/graphs/speech", content=b"x", headers={"content-type": "multipart/form-data"})
    refused(answer, 422, "body")
    refused(client.put("/api/v1/graphs/speech", json={}), 405, "")


def test_bodies_over_the_limit(client: httpx.Client) -> None:
    refused(client.post("/api/v1/graphs/transcription", content=bytes(33_000_000)), 413, "")

    def chunks() -> Any:
        for _ in range(40):
            yield bytes(1_000_000)

    answer = client.post("/api/v1/graphs/speech", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413, answer.text


def test_keys(live: Any) -> None:
    with httpx.Client(base_url=live.url) as anonymous:
        assert anonymous.get("/health").status_code == 200
        assert anonymous.get("/ready").status_code == 200
        assert anonymous.get("/openapi.json").status_code == 200
        assert anonymous.get("/docs").status_code == 200
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"x-api-key": live.key[:-1]},
            {"authorization": live.key},
        ):
            refused(anonymous.get("/api/v1/identity", headers=headers), 401, "")
            refused(anonymous.post("/api/v1/graphs/speech", json={"text": "x"}, headers=headers), 401, "")
        assert anonymous.get("/v1/models").json()["error"]["type"] == "authentication_error"
        assert anonymous.get("/api/v1/identity", headers={"x-api-key": live.key}).json()["user"] == "local"


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/api/v1/jobs?status=done", "status"),
        ("GET", "/api/v1/jobs?cursor=x", "cursor"),
        ("GET", "/api/v1/jobs?limit=1000", "limit"),
        ("GET", "/api/v1/jobs?since=yesterday", "since"),
        ("POST", "/api/v1/graphs/speech?webhook=http://127.0.0.1/x", "webhook"),
        ("POST", "/api/v1/graphs/speech?webhook=https://169.254.169.254/x", "webhook"),
        ("POST", "/api/v1/graphs/speech?priority=99", "priority"),
        ("POST", "/api/v1/graphs/speech?timeout_s=-1", "timeout_s"),
    ],
)
@pytest.mark.parametrize("prefer", ["respond-async", "wait"])
def test_bad_questions_about_jobs(method: str, path: str, field: str, prefer: str, client: httpx.Client) -> None:
    body = {"text": "x"} if method == "POST" else None
    refused(client.request(method, path, json=body, headers={"prefer": prefer}), 422, field)


def test_bad_input_makes_no_job(client: httpx.Client) -> None:
    newest = client.get("/api/v1/jobs?limit=1").json()["jobs"]
    headers = {"prefer": "respond-async"}
    refused(client.post("/api/v1/graphs/speech", json={"text": "hello", "speed": 100}, headers=headers), 422, "speed")
    body = {"audio": "art_" + "0" * 28}
    refused(client.post("/api/v1/graphs/transcription", json=body, headers=headers), 422, "audio")
    for bad in ("job_" + "0" * 28, "nothing", "..%2F..%2Fidentity"):
        refused(client.get(f"/api/v1/jobs/{bad}"), 404, "")
        refused(client.post(f"/api/v1/jobs/{bad}/cancel"), 404, "")
    assert client.get("/api/v1/jobs?limit=1").json()["jobs"] == newest


def test_a_run_that_takes_too_long_goes_on_as_a_job_that_can_be_ended(client: httpx.Client) -> None:
    began = time.monotonic()
    body = {"prompt": "a circle", "steps": 100, "count": 4}
    answer = client.post("/api/v1/graphs/image_generation", json=body, headers={"prefer": "wait=0.5"})
    assert answer.status_code == 202, answer.text
    assert time.monotonic() - began < 3
    url = answer.headers["location"]
    assert client.get(url).json()["status"] == "running"
    assert client.post(f"{url}/cancel").status_code == 202
    until(lambda: client.get(url).json()["status"] == "cancelled", 10)


def test_the_next_good_request_works(client: httpx.Client, samples: Samples) -> None:
    for graph in ("image_canny", "transcription", "image_generation"):
        assert client.post(f"/api/v1/graphs/{graph}", json=samples.json(graph)).status_code == 200
    assert client.get("/health").json()["status"] == "healthy"


def test_answers_carry_the_security_headers_and_the_request_id(client: httpx.Client) -> None:
    answer = client.get("/api/v1/identity", headers={"x-request-id": "my-request-7"})
    assert answer.headers.get_list("x-request-id") == ["my-request-7"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
