"""What a model thinks aloud before it answers, between `<think>` and `</think>`, told apart from the answer.

The form is that of DeepSeek R1, Qwen 3 and many others. Some chat templates open it for the model, at the prompt's end.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

from .reading import End, Reading

OPENING, CLOSING = "<think>", "</think>"
LAST_TOKENS = 16  # of a prompt, in which a template may have opened it


class Said(NamedTuple):
    """A piece of a reply."""

    thought: str
    answer: str


def opened_by(tokenizer: Any, prompt: list[int]) -> bool:
    """Whether a prompt ends where a model is to think."""
    return tokenizer.decode(prompt[-LAST_TOKENS:]).rstrip().endswith(OPENING)


class Thoughts:
    """A reply as it is written. Text waits only as long as it could be the beginning of a mark.

    Args:
        opened: whether the reply begins amid thoughts.
    """

    def __init__(self, opened: bool) -> None:
        self._place: Literal["before", "within", "after"] = "within" if opened else "before"
        self._held, self._blank = "", True  # whether nothing but blanks was said since the last mark

    def take(self, text: str) -> Said:
        """The next text; returns what is certain."""
        self._held += text
        thought = ""
        if self._place == "before":
            begun = self._held.lstrip()
            if len(begun) < len(OPENING) and OPENING.startswith(begun):
                return Said("", "")
            self._place = "within" if begun.startswith(OPENING) else "after"
            if self._place == "within":
                self._held = begun.removeprefix(OPENING)
            else:
                self._blank = False  # an answer without thoughts stays as it is
        if self._place == "within":
            thought, mark, rest = self._held.partition(CLOSING)
            if not mark:
                kept = next(n for n in range(len(CLOSING) - 1, -1, -1) if thought.endswith(CLOSING[:n]))
                thought, self._held = thought[: len(thought) - kept], thought[len(thought) - kept :]
                return Said(self._begun(thought), "")
            thought, self._held, self._place = self._begun(thought).rstrip(), rest, "after"
            self._blank = True
        answer, self._held = self._begun(self._held), ""
        return Said(thought, answer)

    def end(self) -> Said:
        """What is left, after the last text."""
        left, self._held = self._held, ""
        return Said(left, "") if self._place == "within" else Said("", left)

    def _begun(self, text: str) -> str:
        """The text, without the blanks after a mark."""
        if self._blank:
            text = text.lstrip()
            self._blank = not text
        return text


class ThinkingReading:
    """A reply whose thoughts are told apart, and whose answer is read as `read` has it.

    Args:
        opened: whether the reply begins amid thoughts.
    """

    def __init__(self, read: Reading, opened: bool) -> None:
        self.skip_special_tokens = read.skip_special_tokens
        self._read, self._thoughts = read, Thoughts(opened)

    def take(self, text: str, tokens: list[int]) -> Said:
        """The next text, and all tokens until now; returns what is certain to be said."""
        thought, answer = self._thoughts.take(text)
        return Said(thought, self._read.take(answer, tokens) if answer or not thought else "")

    def end(self, reason: Literal["stop", "length"], tokens: list[int]) -> End:
        """After the last text.

        Raises:
            InvalidInput: it is not of the form that was asked for.
        """
        thought, answer = self._thoughts.end()
        text = self._read.take(answer, tokens) if answer else ""
        end = self._read.end(reason)
        return replace(end, text=text + end.text, thought=thought)
