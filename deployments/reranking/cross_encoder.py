"""Reranking by a network that reads the query and a document together."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from ..backend import Backend, Needs, in_thread, turn, weights_path
from ..capabilities import MOST_DOCUMENTS, Ranking, Reranking
from ..engine import TorchOptions, failure, is_local, whole
from ..errors import InvalidInput, ModelUnavailable
from ..texts import Piece, check_text, check_texts, pieces

SHORTEST_PIECE = 16  # tokens, of a document beside a long query


class CrossEncoder(Backend, Reranking):
    """A classifier of pairs in transformers' layout with one output, such as BAAI/bge-reranker-v2-m3 or the
    cross-encoders of sentence-transformers (Nogueira and Cho 2019, https://arxiv.org/abs/1901.04085).

    Takes a folder or a hub name with safetensors; never pickles and never code that comes with weights. The score is
    the sigmoid of the network's output. A document with more tokens than it reads beside the query is read in pieces,
    and has the score of the best of them.
    """

    class Options(TorchOptions):
        """Weights, where they run, how many documents are read at once."""

        weights: str = Field(description="Folder or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        batch: int = Field(16, ge=1, le=1024, description="Pieces of documents read at once")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

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

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("the ranking model is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """A network ready to read. Shared by calls, changed by none."""

    network: Any
    tokenizer: Any
    longest: int  # tokens of a query and a document together
    batch: int
    lock: threading.Lock  # a tokenizer is one thread's at a time


def _rank(engine: _Engine, query: str, documents: list[str], cancelled: threading.Event) -> Ranking:
    """The documents by what the network says of each.

    Raises:
        CancelledError: `cancelled` was set; looked at before each batch.
        InvalidInput: the query leaves no room for a document.
    """
    with turn(engine.lock, cancelled.is_set):
        return _ranked(engine, query, documents, cancelled)


def _ranked(engine: _Engine, query: str, documents: list[str], cancelled: threading.Event) -> Ranking:
    asked = len(engine.tokenizer(query, add_special_tokens=False, verbose=False)["input_ids"])
    room = engine.longest - asked - engine.tokenizer.num_special_tokens_to_add(pair=True)
    if room < SHORTEST_PIECE:
        raise InvalidInput("query", f"makes {asked} tokens; this model reads {engine.longest} with a document")
    found = pieces(documents, engine.tokenizer, room, cancelled.is_set)
    order, scores = sorted(found, key=lambda piece: piece.tokens), [0.0] * len(documents)
    for first in range(0, len(order), engine.batch):
        if cancelled.is_set():
            raise CancelledError
        batch = order[first : first + engine.batch]
        for piece, score in zip(batch, _scores(engine, query, batch), strict=True):
            scores[piece.text] = max(scores[piece.text], score)
    return Ranking.by(scores, asked * len(found) + sum(piece.tokens for piece in found))


def _scores(engine: _Engine, query: str, batch: list[Piece]) -> list[float]:
    import torch

    words = [piece.words for piece in batch]
    read = engine.tokenizer(
        [query] * len(batch),
        words,
        padding=True,
        truncation="only_second",  # where a piece that begins in a word has become a token longer
        max_length=engine.longest,
        return_tensors="pt",
    )
    try:
        with torch.inference_mode():
            made = engine.network(**read.to(engine.network.device)).logits
            return made.float().sigmoid()[:, 0].tolist()
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the ranking model failed") from None


def _load(options: CrossEncoder.Options) -> _Engine:
    import transformers

    path = weights_path(options.weights)
    local = is_local(path, options.weights)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    device, dtype = options.placed()
    source = {"revision": options.revision, "local_files_only": local, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **source)
        loaded: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
            path, dtype=dtype, use_safetensors=True, output_loading_info=True, **source
        )
        network = whole(loaded, options.weights)
        if network.config.num_labels != 1:
            raise ModelUnavailable(f"{options.weights} has {network.config.num_labels} outputs; a ranking needs one")
        network = network.to(device).eval()
    except ModelUnavailable:
        raise
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    longest = min(tokenizer.model_max_length, network.config.max_position_embeddings)
    return _Engine(network, tokenizer, longest, options.batch, threading.Lock())
