"""Reranking by embeddings: how near a document's vector is to the query's."""

import threading
from typing import ClassVar

from ..backend import Backend, Needs, in_thread
from ..capabilities import MOST_DOCUMENTS, Ranking, Reranking
from ..embeddings.sentence_transformers import Engine, SentenceTransformers, load
from ..errors import ModelUnavailable
from ..texts import check_text, check_texts


class BiEncoder(Backend, Reranking):
    """A model of sentence-transformers that sees the query and each document by itself, and compares their vectors.

    Any weights that make embeddings. Fast, and less exact than a `cross_encoder`, which sees the two together. The
    score is the cosine of the two vectors; below 0, where they have nothing in common, it is 0.
    """

    class Options(SentenceTransformers.Options):
        """As those of the embeddings' backend."""

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another model beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled, or name code to be run.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options))

    async def rank(self, query: str, documents: list[str]) -> Ranking:
        engine = self._ready()
        check_text(query, "query")
        check_texts(documents, "documents", MOST_DOCUMENTS)
        return await in_thread(lambda cancelled: _rank(engine, query, documents, cancelled))

    def _ready(self) -> Engine:
        if self._engine is None:
            raise ModelUnavailable("the ranking model is not loaded yet")
        return self._engine


def _rank(engine: Engine, query: str, documents: list[str], cancelled: threading.Event) -> Ranking:
    import numpy as np

    (asked,) = engine.embed([[query]], "query", [cancelled])
    (read,) = engine.embed([documents], "document", [cancelled])
    scores = np.clip(np.array(read.vectors) @ np.array(asked.vectors[0]), 0.0, 1.0).tolist()
    return Ranking.by(scores, asked.prompt_tokens + read.prompt_tokens)
