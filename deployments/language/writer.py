"""From a language model's tokens to the text of its reply: whole characters, stop texts, the end."""

import threading
from collections.abc import Callable
from typing import Any, Literal

LONGEST_CHARACTER = 8  # tokens; what gives no character by then never will
NOT_DECODED = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for a character whose bytes are not all there yet


class Writer:
    """Takes a reply's tokens one by one, emits its text, and says when to stop.

    One of the stopping criteria of transformers' `generate`, which calls it with all token ids after each new one.
    `tokens` are those of the reply, the one that ended it included; `finish_reason` is None until it is complete.
    """

    def __init__(
        self,
        tokenizer: Any,
        ends: frozenset[int],  # tokens that end a reply and are no part of its text
        stop: tuple[str, ...],  # texts that end it before themselves
        most: int,  # tokens
        emit: Callable[[str], None],
        cancelled: threading.Event,
        skip_special_tokens: bool = True,
    ) -> None:
        self.tokens: list[int] = []
        self.finish_reason: Literal["stop", "length"] | None = None
        self._tokenizer, self._ends, self._stop, self._most = tokenizer, ends, stop, most
        self._emit, self._cancelled, self._skip = emit, cancelled, skip_special_tokens
        self._prefix = self._read = 0  # tokens[prefix:read] are written; they give what follows its leading space
        self._held = ""  # text that may be the beginning of a stop text

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        import torch

        if self.finish_reason is None and not self._cancelled.is_set():
            self.take(int(input_ids[0, -1]))
        over = self.finish_reason is not None or self._cancelled.is_set()
        return torch.full((input_ids.shape[0],), over, dtype=torch.bool, device=input_ids.device)

    def take(self, token: int) -> None:
        if token in self._ends:
            self.finish("stop")
            self.tokens.append(token)  # counted, not said
            return
        self.tokens.append(token)
        self._say(last=False)
        if self.finish_reason is None and len(self.tokens) >= self._most:
            self.finish("length")

    def finish(self, reason: Literal["stop", "length"]) -> None:
        self._say(last=True)
        self.finish_reason = self.finish_reason or reason

    def _say(self, last: bool) -> None:
        """Emit what is certain: whole characters that cannot belong to a stop text; with `last`, all there is."""
        before = self._decode(self.tokens[self._prefix : self._read])
        now = self._decode(self.tokens[self._prefix :])
        whole = len(now) > len(before) and not now.endswith(NOT_DECODED)
        if last or whole or len(self.tokens) - self._read > LONGEST_CHARACTER:
            self._held += now[len(before) :]
            self._prefix, self._read = self._read, len(self.tokens)
        places = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if places:
            self._held, self.finish_reason, last = self._held[: min(places)], "stop", True
        keep = 0 if last else max((_overlap(self._held, stop) for stop in self._stop), default=0)
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        if certain:
            self._emit(certain)

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=self._skip, clean_up_tokenization_spaces=False)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` could be the beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
