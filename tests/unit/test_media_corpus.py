"""Every graph and every surface takes or refuses every file of the corpus: none is a fault of the service."""

import time
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from deployments.media import Audio, Image, Media, MediaLimits, Video, has_media
from graphs import GRAPHS
from graphs.chat import chat
from serve_app.errors import invalid_request
from serve_app.graph import Graph
from tests.media.corpus import corpus, of_kind
from tests.media.sample import Sample

from .services import Served
from .test_surfaces import body_of

KINDS: dict[str, type[Media]] = {"image": Image, "audio": Audio, "video": Video}
MOST_SECONDS = 5.0  # of a core, so that a busy machine does not matter
MEDIA_GRAPHS = [graph for graph in GRAPHS if has_media(graph.request) and graph is not chat]  # whose are in messages


def media_fields(graph: Graph[..., Any]) -> list[tuple[str, Any, bool]]:
    """Name and kind of each field of a graph's request that is a file, and whether it is a list of them."""
    found: list[tuple[str, Any, bool]] = []
    for name, field in graph.request.model_fields.items():
        kind = next((kind for kind, media in KINDS.items() if f".{media.__name__}" in str([field.annotation])), None)
        if has_media(field.annotation) and kind:
            found.append((name, kind, "list[" in str(field.annotation)))
    return found


@pytest.mark.parametrize("sample", [one for one in corpus() if one.readable is not None], ids=repr)
def test_a_file_of_the_corpus_is_taken_or_refused_as_it_deserves(sample: Sample) -> None:
    began = time.process_time()
    try:
        KINDS[sample.kind].checked(sample.data, MediaLimits())
        taken = True
    except ValueError as error:
        taken = False
        assert "object at 0x" not in str(error)
    assert taken == sample.readable
    assert time.process_time() - began < MOST_SECONDS


@pytest.mark.parametrize("graph", MEDIA_GRAPHS, ids=lambda graph: graph.name)
def test_each_graph_takes_or_refuses_each_file_of_its_kind(graph: Graph[..., Any]) -> None:
    fields = media_fields(graph)
    assert fields
    for name, kind, many in fields:
        for sample in of_kind(kind):
            given = {name: [sample.data] if many else sample.data}
            try:
                graph.call.model_validate({**body_of(graph), **given}, context={"limits": MediaLimits()})
            except ValidationError as refused:
                error = invalid_request(refused)
                assert error.status in (415, 422), (sample, error)
                assert name in str(error), (sample, error)
                assert not sample.readable, (sample, error)


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_a_message_takes_or_refuses_each_file_of_its_kind(kind: Any) -> None:
    for sample in of_kind(kind):
        messages = [{"role": "user", "content": [{"type": kind, kind: sample.data}]}]
        try:
            chat.call.model_validate({"messages": messages}, context={"limits": MediaLimits()})
        except ValidationError as refused:
            error = invalid_request(refused)
            assert error.status in (415, 422), (sample, error)
            assert f"messages.0.content.0.{kind}: " in str(error), (sample, error)
            assert not sample.readable, (sample, error)


@pytest.fixture
def client(served: Served) -> httpx.AsyncClient:
    return served.client()


async def test_no_upload_is_a_fault_of_the_service(client: httpx.AsyncClient) -> None:
    async with client:
        for sample in corpus():
            headers = {"content-type": f"{sample.kind}/x-unknown"}
            answer = await client.post("/api/v1/artifacts", content=sample.data, headers=headers)
            assert answer.status_code in (201, 415, 422), (sample, answer.text)
            if sample.readable:
                assert answer.json()["media_type"].startswith(sample.kind), (sample, answer.text)


@pytest.mark.parametrize(
    ("path", "part", "kind"),
    [("/api/v1/graphs/image_encode", "image", "image"), ("/v1/audio/transcriptions", "file", "audio")],
)
async def test_no_form_is_a_fault_of_the_service(path: str, part: str, kind: Any, client: httpx.AsyncClient) -> None:
    async with client:
        for sample in of_kind(kind):
            answer = await client.post(path, files={part: ("file", sample.data)})
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, (sample, answer.text)
            if sample.readable:
                assert answer.status_code == 200, (sample, answer.text)


async def test_a_picture_that_no_decoder_is_here_for_is_refused_by_its_name(client: httpx.AsyncClient) -> None:
    heic = next(sample for sample in of_kind("image") if sample.name == "HEIC")
    async with client:
        for claimed in ("image/heic", "video/mp4", "application/octet-stream"):
            files = {"file": ("photo.heic", heic.data, claimed)}
            answer = await client.post("/api/v1/artifacts", files=files)
            assert (answer.status_code, "HEIC" in answer.text) == (415, True), answer.text


async def test_an_avif_is_kept_as_a_picture_whatever_it_is_called(client: httpx.AsyncClient) -> None:
    avif = next(sample for sample in of_kind("image") if sample.name == "AVIF")
    async with client:
        for claimed in ("image/avif", "video/mp4"):
            answer = await client.post("/api/v1/artifacts", files={"file": ("a", avif.data, claimed)})
            assert (answer.status_code, answer.json()["media_type"]) == (201, "image/avif")
