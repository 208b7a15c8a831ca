"""Forms as browsers send them: what nobody has filled is absent."""

from typing import Any

import httpx
import pytest

from tests.media.pictures import picture, written

from .fakes import RECORDING
from .services import Served

PNG = written(picture(), "PNG")
UNFILLED = ("", b"")  # a file input without a file: a name without letters, and no bytes
FORM = {"content-type": "multipart/form-data; boundary=line"}


def form(*parts: tuple[str, str | tuple[str, bytes]]) -> dict[str, Any]:
    """A body as browsers send it, which httpx does not: with `filename=""` where no file was chosen."""
    body = b""
    for name, value in parts:
        file = f'; filename="{value[0]}"\r\nContent-Type: application/octet-stream' if isinstance(value, tuple) else ""
        data = value[1] if isinstance(value, tuple) else value.encode()
        body += f'--line\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
    return {"content": body + b"--line--\r\n", "headers": FORM}


@pytest.fixture
def client(served: Served) -> httpx.AsyncClient:
    return served.client()


async def test_an_unfilled_form_runs_with_what_is_filled(client: httpx.AsyncClient) -> None:
    body = form(("image", ("a.png", PNG)), ("width", "20"), ("height", ""), ("fit", ""))
    async with client:
        answer = await client.post("/api/v1/graphs/image_resize", **body)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("field", ["language", "translate", "word_times", "models"])
async def test_an_empty_text_of_an_optional_field_is_absent(field: str, client: httpx.AsyncClient) -> None:
    async with client:
        body = form(("audio", ("a.wav", RECORDING.data)), (field, ""))
        answer = await client.post("/api/v1/graphs/transcription", **body)
        assert answer.status_code == 200, answer.text


async def test_an_unfilled_file_is_absent(client: httpx.AsyncClient) -> None:
    async with client:
        body = form(("text", "Hello"), ("reference", UNFILLED), ("voice", ""), ("speed", ""))
        answer = await client.post("/api/v1/graphs/speech", **body)
        assert answer.status_code == 200, answer.text
        body = form(("file", ("a.wav", RECORDING.data)), ("language", ""), ("stream", ""))
        answer = await client.post("/v1/audio/transcriptions", **body)
        assert answer.status_code == 200, answer.text


async def test_a_required_field_that_is_not_filled_is_missing(client: httpx.AsyncClient) -> None:
    async with client:
        answer = await client.post("/api/v1/graphs/image_resize", **form(("image", UNFILLED), ("width", "20")))
        error = answer.json()["errors"][0]
        assert (answer.status_code, error["field"], "required" in error["detail"]) == (422, "image", True)
        body = form(("image", ("a.png", b"")), ("width", "20"))
        empty = await client.post("/api/v1/graphs/image_resize", **body)
        assert (empty.status_code, empty.json()["errors"][0]["detail"]) == (422, "is empty")
        text = await client.post("/api/v1/graphs/speech", **form(("text", ""), ("reference", UNFILLED)))
        assert (text.status_code, text.json()["errors"][0]["field"]) == (422, "text")


async def test_a_misspelt_field_is_told_although_it_is_empty(client: httpx.AsyncClient) -> None:
    async with client:
        body = form(("image", ("a.png", PNG)), ("width", "20"), ("hieght", ""))
        answer = await client.post("/api/v1/graphs/image_resize", **body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "hieght")


async def test_of_a_list_the_unfilled_parts_are_left_out(client: httpx.AsyncClient) -> None:
    async with client:
        body = form(("prompt", "a circle"), ("references[]", UNFILLED), ("references[]", UNFILLED), ("seed", ""))
        answer = await client.post("/api/v1/graphs/image_generation", **body)
        assert answer.status_code == 200, answer.text


async def test_the_part_of_an_upload_that_has_no_file_is_refused(client: httpx.AsyncClient) -> None:
    async with client:
        answer = await client.post("/api/v1/artifacts", **form(("file", UNFILLED)))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "file")
