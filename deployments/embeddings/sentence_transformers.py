"""Embeddings by sentence-transformers: any of its models in safetensors, on a CPU or one GPU."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ..backend import Backend, Needs, in_thread, turn
from ..batching import Batches, Call
from ..capabilities import Embeddings, Purpose, Vectors
from ..engine import TorchOptions, failure
from ..errors import InvalidInput, ModelUnavailable
from ..texts import Piece, check_texts, pieces
from .sentence_weights import sentence_folder

if TYPE_CHECKING:
    import numpy as np

MOST_CALLS = 64  # in one batch


class SentenceTransformers(Backend, Embeddings):
    """A model of sentence-transformers (Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084), or any encoder of
    transformers, whose tokens' mean it takes.

    Takes a folder or a hub name with safetensors; never pickles and never code that comes with weights. A text with
    more tokens than the model reads at once is read in pieces, and has their mean, weighted by their tokens: nothing is
    cut off, but what a long text is about becomes an average. Calls that wait together are read in one batch. Prompts
    for queries and documents are the weights' own, where they have some.
    """

    class Options(TorchOptions):
        """Weights, where they run, how many texts are read at once."""

        weights: str = Field(description="Folder or hub name, such as sentence-transformers/all-MiniLM-L6-v2")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        batch: int = Field(32, ge=1, le=1024, description="Pieces of texts read at once")
        shortens: bool = Field(
            False, description="Whether the first dimensions say most (Matryoshka), so that callers may ask for fewer"
        )

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=16)

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._batches: Batches[list[str], Vectors] | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another model beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled, or name code to be run.
            OutOfMemory: both do not fit in memory at once.
        """
        engine = await in_thread(lambda cancelled: load(options))

        async def work(batch: Sequence[Call[list[str], Vectors]]) -> list[Vectors]:
            texts = [call.item for call in batch]
            gone = [call.cancelled for call in batch]
            return await in_thread(lambda cancelled: engine.embed(texts, batch[0].kind, gone))

        self._engine, self._batches = engine, Batches(work, MOST_CALLS)

    async def embed(
        self, texts: list[str], *, purpose: Purpose | None = None, dimensions: int | None = None
    ) -> Vectors:
        engine = self._ready()
        check_texts(texts, "texts")
        size = engine.checked(dimensions)
        assert self._batches is not None  # there with the engine
        whole = await self._batches.answer(texts, purpose)
        return whole if size == engine.size else shortened(whole, size)

    def _ready(self) -> "Engine":
        if self._engine is None:
            raise ModelUnavailable("the embedding model is not loaded yet")
        return self._engine


@dataclass(frozen=True, eq=False)
class Engine:
    """A loaded model."""

    model: Any
    size: int  # of its vectors
    options: SentenceTransformers.Options
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # a tokenizer is one thread's at a time

    def checked(self, dimensions: int | None) -> int:
        """The dimensions that a call gets."""
        if dimensions is None or dimensions == self.size:
            return self.size
        if not self.options.shortens or not 1 <= dimensions <= self.size:
            least = "1 to " if self.options.shortens else ""
            raise InvalidInput("dimensions", f"is {dimensions}; this model's vectors have {least}{self.size}")
        return dimensions

    def embed(self, calls: list[list[str]], purpose: Any, gone: Sequence[threading.Event] = ()) -> list[Vectors]:
        """The vectors of each call's texts.

        Raises:
            CancelledError: all callers have gone.
        """
        with turn(self._lock, lambda: _all_set(gone)):
            return self._embed(calls, purpose, gone)

    def _embed(self, calls: list[list[str]], purpose: Any, gone: Sequence[threading.Event]) -> list[Vectors]:
        import numpy as np

        texts = [text for call in calls for text in call]
        prompt: str = (self.model.prompts or {}).get(purpose or "", "") or ""
        found = self._pieces(texts, prompt, gone)
        order = sorted(range(len(found)), key=lambda at: found[at].tokens)  # those of a length together
        sums, counts = np.zeros((len(texts), self.size), np.float32), np.zeros(len(texts), np.int64)
        for first in range(0, len(order), self.options.batch):
            if _all_set(gone):
                raise CancelledError
            batch = [found[at] for at in order[first : first + self.options.batch]]
            for piece, vector in zip(batch, self._encoded(batch, prompt), strict=True):
                sums[piece.text] += vector * max(piece.tokens, 1)
                counts[piece.text] += piece.tokens
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        vectors, tokens = sums.tolist(), counts.tolist()
        answers, at = list[Vectors](), 0
        for call in calls:
            end = at + len(call)
            answers.append(Vectors(vectors=vectors[at:end], prompt_tokens=sum(tokens[at:end])))
            at = end
        return answers

    def _pieces(self, texts: list[str], prompt: str, gone: Sequence[threading.Event]) -> list[Piece]:
        tokenizer = self.model.tokenizer
        taken = tokenizer.num_special_tokens_to_add() + len(tokenizer.tokenize(prompt))
        longest = min(self.model.max_seq_length or 512, 100_000) - taken
        return pieces(texts, tokenizer, max(longest, 1), lambda: _all_set(gone))

    def _encoded(self, batch: list[Piece], prompt: str) -> "np.ndarray":
        try:
            return self.model.encode(
                [piece.words for piece in batch],
                prompt=prompt or None,
                batch_size=len(batch),
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "the embedding model failed") from None


def _all_set(events: Sequence[threading.Event]) -> bool:
    return bool(events) and all(event.is_set() for event in events)


def shortened(whole: Vectors, size: int) -> Vectors:
    """The first dimensions of vectors, at length 1 again."""
    import numpy as np

    cut = np.array(whole.vectors)[:, :size]
    cut /= np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
    return Vectors(vectors=cut.tolist(), prompt_tokens=whole.prompt_tokens)


def load(options: SentenceTransformers.Options) -> Engine:
    import sentence_transformers
    import transformers

    folder = sentence_folder(options.weights, options.revision)
    transformers.utils.logging.disable_progress_bar()
    device, dtype = options.placed()
    try:
        model = sentence_transformers.SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": dtype},
        )
        model.eval()
        size = model.get_embedding_dimension()
        if not size:
            raise ModelUnavailable(f"{options.weights} does not say how many dimensions its vectors have")
    except ModelUnavailable:
        raise
    except Exception as error:  # a folder can be wrong in more ways than the library has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    return Engine(model, size, options)
