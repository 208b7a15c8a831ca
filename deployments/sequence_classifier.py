"""Networks that judge texts, or pairs of texts, in transformers' layout: loaded and run."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from .backend import weights_path
from .engine import TorchOptions, failure, is_local, whole
from .errors import ModelUnavailable
from .texts import Piece, pieces

if TYPE_CHECKING:
    import torch


class ClassifierOptions(TorchOptions):
    """Weights, where they run, how many texts are read at once."""

    weights: str = Field(description="Folder or hub name")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
    batch: int = Field(16, ge=1, le=1024, description="Pieces of texts read at once")


@dataclass(frozen=True)
class SequenceClassifier:
    """A network ready to read. Shared by calls, changed by none."""

    network: Any
    tokenizer: Any
    longest: int  # tokens that it reads at once, special ones among them
    batch: int
    lock: threading.Lock  # a tokenizer is one thread's at a time: hold it for all methods

    def tokens(self, text: str) -> int:
        """How many a text makes, special ones not counted."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def room(self, pair: bool = False) -> int:
        """Tokens beside the special ones."""
        return self.longest - self.tokenizer.num_special_tokens_to_add(pair=pair)

    def judged(
        self, texts: Sequence[str], room: int, cancelled: threading.Event, first: str | None = None
    ) -> Iterator[tuple[Piece, "torch.Tensor"]]:
        """Each piece of the texts with the network's outputs for it, float32 (labels,).

        Args:
            room: tokens of a piece.
            first: the text before each, of a network that reads pairs.

        Raises:
            CancelledError: `cancelled` was set; looked at before each batch.
        """
        order = sorted(pieces(texts, self.tokenizer, room, cancelled.is_set), key=lambda piece: piece.tokens)
        for start in range(0, len(order), self.batch):
            if cancelled.is_set():
                raise CancelledError
            batch = order[start : start + self.batch]
            yield from zip(batch, self._outputs([piece.words for piece in batch], first), strict=True)

    def _outputs(self, words: list[str], first: str | None) -> "torch.Tensor":
        import torch

        # A piece that begins in a word may have become a token longer.
        how = {"padding": True, "max_length": self.longest, "return_tensors": "pt"}
        if first is None:
            read = self.tokenizer(words, truncation=True, **how)
        else:
            read = self.tokenizer([first] * len(words), words, truncation="only_second", **how)
        try:
            with torch.inference_mode():
                return self.network(**read.to(self.network.device)).logits.float().cpu()
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "the network failed") from None


def load_classifier(options: ClassifierOptions) -> SequenceClassifier:
    """The network of the options, complete, in safetensors.

    Raises:
        ModelUnavailable: the weights are missing, damaged, incomplete or pickled.
        OutOfMemory: there is no room for it.
    """
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
        network = whole(loaded, options.weights).to(device).eval()
    except ModelUnavailable:
        raise
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    longest = min(tokenizer.model_max_length, network.config.max_position_embeddings)
    return SequenceClassifier(network, tokenizer, longest, options.batch, threading.Lock())
