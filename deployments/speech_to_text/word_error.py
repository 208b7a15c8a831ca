"""How two transcripts differ, in words."""

import re


def words(text: str) -> str:
    """A text without case and punctuation, so that only its words count."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def word_errors(said: str, heard: str) -> int:
    """Words substituted, left out or put in: the edit distance between two word lists."""
    right, distances = heard.split(), list(range(len(heard.split()) + 1))
    for row, word in enumerate(said.split(), 1):
        diagonal, distances[0] = distances[0], row
        for column, other in enumerate(right, 1):
            best = min(distances[column] + 1, distances[column - 1] + 1, diagonal + (word != other))
            diagonal, distances[column] = distances[column], best
    return distances[-1]


def agreement(one: str, other: str) -> float:
    """1 for the same words in the same order, 0 for none in common."""
    longer = max(len(one.split()), len(other.split()))
    return 1 - word_errors(one, other) / longer if longer else 1.0
