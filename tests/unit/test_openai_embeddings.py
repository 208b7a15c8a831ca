"""OpenAI's embeddings and the rerank route, over a model that answers at once."""

import base64
import struct
from typing import Any

import pytest

from serve_app.config.loading import load_graphs
from serve_app.config.schema import AppConfig
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import bind_models

from .fakes import Embedder
from .services import Services, connect

CONFIG = AppConfig.model_validate(
    {
        "models": [
            {"name": "small", "backend": "sentence_transformers"},
            {"name": "other", "backend": "sentence_transformers"},
            {"name": "ranker", "backend": "bi_encoder"},
        ],
        "aliases": {"text-embedding-3-small": "default", "text-embedding-3-large": "other", "cohere": "ranker"},
    }
)


@pytest.fixture
def post(services: Services) -> Any:
    async def posted(path: str, body: dict[str, Any]) -> Any:
        handles = {name: LocalHandle(Embedder()) for name in ("small", "other", "ranker")}
        models = bind_models(CONFIG, handles)
        async with connect(services.make(CONFIG, load_graphs(CONFIG.graphs), models).app) as client:
            return await client.post(path, json=body)

    return posted


async def test_texts_get_vectors_in_their_order(post: Any) -> None:
    answer = await post("/v1/embeddings", {"input": ["a", "abc"], "model": "small", "user": "u", "dimensions": None})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["object"], body["model"]) == ("list", "small")
    assert [(row["object"], row["index"], row["embedding"]) for row in body["data"]] == [
        ("embedding", 0, [0.5, 0.5]),
        ("embedding", 1, [0.25, 0.5]),
    ]
    assert body["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_one_text_in_base64_is_little_endian_float32(post: Any) -> None:
    answer = await post("/v1/embeddings", {"input": "abc", "encoding_format": "base64", "dimensions": 1})
    (row,) = answer.json()["data"]
    assert struct.unpack("<f", base64.b64decode(row["embedding"])) == (0.25,)


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"input": []}, "input", "at least 1"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "float"),
        ({"input": "x", "charm": 1}, "charm", "is not a field here"),
        ({"input": [1, 2, 3]}, "input", "check_embedding_ctx_length"),
        ({"input": [[1], [2]]}, "input", "check_embedding_ctx_length"),
        ({"input": ["x", None]}, "input.1", "string"),
        ({"input": ["x"] * 2049}, "input", "2048"),
        ({"input": 3}, "input", "string"),
        ({}, "input", "required"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_name(
    post: Any, body: dict[str, Any], field: str, reason: str
) -> None:
    answer = await post("/v1/embeddings", body)
    assert answer.status_code in (400, 422), answer.text
    error = answer.json()["error"]
    assert error["param"] == field
    assert reason in error["message"]


async def test_documents_are_ranked_in_the_form_of_jina_and_cohere(post: Any) -> None:
    body = {"query": "q", "documents": ["a", {"text": "abc"}, "ab"], "top_n": 2, "return_documents": True}
    answer = await post("/v1/rerank", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"] == [
        {"index": 1, "relevance_score": 0.003, "document": {"text": "abc"}},
        {"index": 2, "relevance_score": 0.002, "document": {"text": "ab"}},
    ]
    assert answer.json()["model"] == "ranker"
    plain = await post("/v1/rerank", {"query": "q", "documents": ["a"]})
    assert plain.json()["results"] == [{"index": 0, "relevance_score": 0.001}]
    refused = await post("/v1/rerank", {"query": "q", "documents": []})
    assert refused.json()["error"]["param"] == "documents"


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("text-embedding-3-small", "small"),
        ("default", "small"),
        ("text-embedding-3-large", "other"),
        ("other", "other"),
    ],
)
async def test_an_alias_is_answered_by_the_model_that_it_stands_for(post: Any, name: str, answers: str) -> None:
    answer = await post("/v1/embeddings", {"input": "x", "model": name})
    assert (answer.status_code, answer.json()["model"]) == (200, answers)
    native = await post("/api/v1/graphs/embeddings", {"texts": ["x"], "models": {"embedder": name}})
    assert native.status_code == 200, native.text


async def test_an_alias_of_a_model_that_cannot_is_refused(post: Any) -> None:
    answer = await post("/v1/embeddings", {"input": "x", "model": "cohere"})
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
    native = await post("/api/v1/graphs/embeddings", {"texts": ["x"], "models": {"embedder": "cohere"}})
    assert native.status_code == 404


async def test_an_alias_can_be_retrieved(services: Services) -> None:
    models = bind_models(CONFIG, {name: LocalHandle(Embedder()) for name in ("small", "other", "ranker")})
    async with connect(services.make(CONFIG, load_graphs(CONFIG.graphs), models).app) as client:
        found = await client.get("/v1/models/text-embedding-3-large")
        assert found.json()["id"] == "text-embedding-3-large" and found.json()["capabilities"] == ["Embeddings"]
        assert (await client.get("/v1/models/text-embedding-3-small")).status_code == 200
        assert (await client.get("/v1/models/text-embedding-4")).status_code == 404
