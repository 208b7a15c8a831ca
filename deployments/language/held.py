"""Tokens that are held to a JSON schema, in transformers' `generate`."""

from typing import Any


def matcher_tokens(tokenizer: Any, size: int, ends: frozenset[int]) -> Any:
    """The tokenizer as llguidance knows it; takes up to a second for a large one, so it is kept.

    Args:
        size: how many tokens the model scores.
        ends: tokens that end a reply.
    """
    import llguidance.hf

    return llguidance.hf.from_tokenizer(tokenizer, max(size, len(tokenizer)), eos_token=sorted(ends))


class Held:
    """A logits processor that leaves only tokens after which the reply can still become what the grammar allows."""

    def __init__(self, tokens: Any, grammar: str) -> None:
        import llguidance
        import llguidance.numpy

        self._matcher = llguidance.LLMatcher(tokens, grammar, log_level=0)
        self._mask = llguidance.numpy.allocate_token_bitmask(1, tokens.vocab_size)
        self._begun = False

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import llguidance.numpy
        import numpy
        import torch

        if self._begun:
            self._matcher.consume_token(int(input_ids[0, -1]))
        self._begun = True
        # Where the grammar has become too complex to go on, only the end is left.
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask)
        bits = numpy.unpackbits(self._mask.view(numpy.uint8), bitorder="little")[: scores.shape[-1]]
        allowed = torch.from_numpy(bits.astype(bool)).to(scores.device)
        return scores.masked_fill(~allowed, -torch.inf)
