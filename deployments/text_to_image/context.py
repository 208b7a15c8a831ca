"""How much of a text a pipeline reads: what is beyond the context of its text encoders, diffusers cuts off unsaid."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import PromptTooLong

ENDLESS = 1_000_000  # a tokenizer that was told no length says a number beyond it


@dataclass(frozen=True)
class Reader:
    """A tokenizer, and how much of a text is read with it."""

    tokenizer: Any
    most: int  # tokens, without the marks of a text's beginning and end

    def count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def tokenizers_of(pipeline: Any) -> list[Any] | None:
    """Copies of a pipeline's tokenizers; None where pictures take a part of what it reads, which is then not known.

    Copies, as those that paint are set anew by each call, in its own thread, and bear no other one meanwhile.
    """
    components: dict[str, Any] = pipeline.components
    if components.get("processor") is not None:
        return None
    named = [part for name, part in components.items() if name.startswith("tokenizer") and part is not None]
    return [copy.deepcopy(tokenizer) for tokenizer in named]


def readers_of(pipeline: Any, tokenizers: Sequence[Any] | None) -> tuple[Reader, ...]:
    """What this pipeline reads a text with; none where it is not known how much of it.

    CLIP's tokenizers say it themselves. Of the others it is what the pipeline calls `max_sequence_length` (FLUX's and
    SD3's T5, Qwen-Image's Qwen2.5-VL): they say only how much their text encoder could read.
    """
    limit = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    readers = list[Reader]()
    for tokenizer in tokenizers or ():
        reads = tokenizer.model_max_length if "CLIP" in type(tokenizer).__name__ else limit.default if limit else None
        if not isinstance(reads, int) or reads > ENDLESS:
            return ()
        readers.append(Reader(tokenizer, reads - tokenizer.num_special_tokens_to_add()))
    return tuple(readers)


def check_context(readers: Sequence[Reader], **texts: str | None) -> None:
    """Every text must be read to its end by one of these.

    Raises:
        PromptTooLong: one is not; names it.
    """
    for field, text in texts.items():
        if not text or not readers:
            continue
        counts = [(reader.count(text), reader.most) for reader in readers]
        if all(count > most for count, most in counts):
            count, most = max(counts, key=lambda one: one[1])
            raise PromptTooLong(field, f"has {count:,} tokens; this model reads {most:,}")
