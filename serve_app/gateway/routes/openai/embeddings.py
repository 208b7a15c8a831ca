"""OpenAI's embeddings, and reranking as Jina and Cohere have it."""

import base64
import struct
import uuid
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Request
from pydantic import Discriminator, Field, Tag, field_validator
from pydantic_core import PydanticCustomError
from starlette.responses import JSONResponse, Response

from deployments.capabilities import MOST_DOCUMENTS, MOST_TEXTS, Ranking, Vectors
from deployments.unions import STRING_OR_LIST

from ....config.schema import DEFAULT
from ...json_body import read_json
from ...openapi_parts import answer, ref
from ...service import Service
from .shared import OpenAIBody, described, names, prepare


class Document(OpenAIBody):
    """A document as some clients send it."""

    text: str


# Unions whose errors are about the form that the caller chose.
Input = Annotated[
    Annotated[str, Tag("(string)")] | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS), Tag("(list)")],
    STRING_OR_LIST,
]
AnyDocument = Annotated[
    Annotated[str, Tag("(string)")] | Annotated[Document, Tag("(object)")],
    Discriminator(lambda value: "(object)" if isinstance(value, dict | Document) else "(string)"),
]


class EmbeddingCreation(OpenAIBody):
    input: Input
    model: str = DEFAULT
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None  # has no bearing on the vectors

    @field_validator("input", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        """A refusal that helps: many clients send tokens of OpenAI's own vocabulary, which no other model has."""
        first = next(iter(cast(list[Any], value)), None) if isinstance(value, list) else None
        if isinstance(first, int | list):
            raise PydanticCustomError(
                "tokens", "has tokens of another model; send texts (LangChain: check_embedding_ctx_length=False)"
            )
        return cast(Any, value)


class Rerank(OpenAIBody):
    query: str
    documents: list[AnyDocument] = Field(min_length=1, max_length=MOST_DOCUMENTS)
    model: str = DEFAULT
    top_n: int | None = Field(None, ge=1, description="The best, so many; else all")
    return_documents: bool = False

    @property
    def texts(self) -> list[str]:
        return [document if isinstance(document, str) else document.text for document in self.documents]


def add_embeddings(routes: APIRouter, service: Service) -> None:
    text_limit = service.config.gateway.body_limit(holds_media=False)
    graph = service.graph("embeddings")

    @routes.post(
        "/embeddings",
        summary="Create embeddings",
        openapi_extra=described(EmbeddingCreation, {200: answer("The vectors", ref("Embeddings"))}),
    )
    async def create_embeddings(request: Request) -> Response:
        body = await read_json(request, EmbeddingCreation, *text_limit)
        texts = [body.input] if isinstance(body.input, str) else body.input
        with names({"texts": "input"}):
            run = await prepare(
                request, service, graph, "embedder", body.model, texts=texts, dimensions=body.dimensions
            )
            made: Vectors = await run.answer()
        data = [
            {"object": "embedding", "index": index, "embedding": _written(vector, body.encoding_format)}
            for index, vector in enumerate(made.vectors)
        ]
        usage = {"prompt_tokens": made.prompt_tokens, "total_tokens": made.prompt_tokens}
        return JSONResponse({"object": "list", "data": data, "model": run.run.steps[-1].model, "usage": usage})


def add_rerank(routes: APIRouter, service: Service) -> None:
    text_limit = service.config.gateway.body_limit(holds_media=False)
    graph = service.graph("reranking")

    @routes.post(
        "/rerank",
        summary="Rerank documents",
        openapi_extra=described(Rerank, {200: answer("The documents, best first", ref("Rerank"))}),
    )
    async def create_ranking(request: Request) -> Response:
        """Documents by how well they answer a query, in the form of Jina's and Cohere's APIs."""
        body = await read_json(request, Rerank, *text_limit)
        run = await prepare(request, service, graph, "ranker", body.model, query=body.query, documents=body.texts)
        made: Ranking = await run.answer()
        results = list[dict[str, Any]]()
        for one in made.results[: body.top_n]:
            result = {"index": one.index, "relevance_score": one.score}
            results.append(result | {"document": {"text": body.texts[one.index]}} if body.return_documents else result)
        usage = {"prompt_tokens": made.prompt_tokens, "total_tokens": made.prompt_tokens}
        head = {"id": f"rerank-{uuid.uuid4().hex}", "model": run.run.steps[-1].model}
        return JSONResponse({**head, "results": results, "usage": usage})


def _written(vector: list[float], form: str) -> list[float] | str:
    """A vector as numbers, or as base64 of little-endian float32."""
    if form == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
