"""Reranking by a network that reads the query and a document together."""

import threading
from typing import ClassVar

from ..backend import Backend, Needs, in_thread, turn
from ..capabilities import MOST_DOCUMENTS, Ranking, Reranking
from ..errors import InvalidInput, ModelUnavailable
from ..sequence_classifier import ClassifierOptions, SequenceClassifier, load_classifier
from ..texts import check_text, check_texts

SHORTEST_PIECE = 16  # tokens, of a document beside a long query


class CrossEncoder(Backend, Reranking):
    """A classifier of pairs in transformers' layout with one output, such as BAAI/bge-reranker-v2-m3 or the
    cross-encoders of sentence-transformers (Nogueira and Cho 2019, https://arxiv.org/abs/1901.04085).

    Takes a folder or a hub name with safetensors; never pickles and never code that comes with weights. The score is
    the sigmoid of the network's output. A document with more tokens than it reads beside the query is read in pieces,
    and has the score of the best of them.
    """

    class Options(ClassifierOptions):
        """As those of every classifier."""

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: SequenceClassifier | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another network beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, incomplete, pickled or have more than one output.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def rank(self, query: str, documents: list[str]) -> Ranking:
        engine = self._ready()
        check_text(query, "query")
        check_texts(documents, "documents", MOST_DOCUMENTS)
        return await in_thread(lambda cancelled: _rank(engine, query, documents, cancelled))

    def _ready(self) -> SequenceClassifier:
        if self._engine is None:
            raise ModelUnavailable("the ranking model is not loaded yet")
        return self._engine


def _rank(engine: SequenceClassifier, query: str, documents: list[str], cancelled: threading.Event) -> Ranking:
    """The documents by what the network says of each.

    Raises:
        CancelledError: `cancelled` was set; looked at before each batch.
        InvalidInput: the query leaves no room for a document.
    """
    scores, read = [0.0] * len(documents), 0
    with turn(engine.lock, cancelled.is_set):
        asked = engine.tokens(query)
        room = engine.room(pair=True) - asked
        if room < SHORTEST_PIECE:
            raise InvalidInput("query", f"makes {asked} tokens; this model reads {engine.longest} with a document")
        for piece, outputs in engine.judged(documents, room, cancelled, first=query):
            scores[piece.text] = max(scores[piece.text], float(outputs.sigmoid()[0]))
            read += asked + piece.tokens
    return Ranking.by(scores, read)


def _load(options: CrossEncoder.Options) -> SequenceClassifier:
    engine = load_classifier(options)
    if (outputs := engine.network.config.num_labels) != 1:
        raise ModelUnavailable(f"{options.weights} has {outputs} outputs; a ranking needs one")
    return engine
