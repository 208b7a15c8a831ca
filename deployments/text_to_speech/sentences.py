"""A text in pieces that are spoken one after the other."""

import re

# After a full stop with a gap, or a mark that needs none; and between paragraphs.
SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？।။])\s*|\n\s*\n\s*")
SOFT_HYPHEN = "\xad"
CLAUSE = re.compile(r"(?<=[,;:)–—])\s+|(?<=[，；：、،؛])\s*")


def pieces(text: str, longest: int) -> list[str]:
    """Sentences, none of more than `longest` characters: longer ones are divided at clauses, words, or anywhere.

    Line breaks within a sentence become blanks, and soft hyphens go: networks have no letters for them.
    """
    sentences = (" ".join(sentence.replace(SOFT_HYPHEN, "").split()) for sentence in SENTENCE.split(text))
    return [piece for sentence in sentences for piece in _divided(sentence, longest) if piece]


def passages(text: str, longest: int) -> list[str]:
    """The same pieces, as many together as `longest` characters have room for."""
    found: list[str] = []
    for piece in pieces(text, longest):
        if found and len(found[-1]) + 1 + len(piece) <= longest:
            found[-1] += " " + piece
        else:
            found.append(piece)
    return found


def _divided(sentence: str, longest: int) -> list[str]:
    if len(sentence) <= longest:
        return [sentence]
    for seam in (CLAUSE, re.compile(r"\s+")):
        ends = [
            found for found in seam.finditer(sentence) if 0 < found.start() <= longest and found.end() < len(sentence)
        ]
        if ends:
            return [sentence[: ends[-1].start()], *_divided(sentence[ends[-1].end() :], longest)]
    return [sentence[:longest], *_divided(sentence[longest:], longest)]
