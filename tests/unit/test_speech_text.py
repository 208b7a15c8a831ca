"""The text that voices are given, and its pieces."""

import time

import pytest

from deployments.text_to_speech.arguments import speakable
from deployments.text_to_speech.sentences import pieces


@pytest.mark.parametrize("kept", ["in\xadter", "می\u200cخواهم", "क्\u200dष", "a\nb", "a\n\nb", "👩\u200d🚀", "a\u200eb"])
def test_what_shapes_words_and_pauses_stays(kept: str) -> None:
    assert speakable(kept) == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\x00b", "a b"),
        ("a\x01b\x1b", "a b"),
        ("a\x7fb", "a b"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a\u2028b\u2029c", "a\nb\nc"),
        ("a\x0bb\x0cc\x85d", "a\nb\nc\nd"),
        ("a\tb\xa0c", "a b c"),
        ("\ufeffa", "a"),
        ("a\ud800b", "a b"),
        ("a\ue000b", "a b"),
        ("\n a \n", "a"),
    ],
)
def test_what_is_no_text_becomes_a_blank_or_a_line(text: str, said: str) -> None:
    assert speakable(text) == said


def test_paragraphs_are_pieces_of_their_own() -> None:
    assert pieces("Milk\n\nEggs\n \n\nBread and\nbutter", 80) == ["Milk", "Eggs", "Bread and butter"]


def test_a_network_reads_words_without_their_soft_hyphens() -> None:
    assert pieces("in\xadter\xadna\xadtion\xadal\ntrade", 80) == ["international trade"]


@pytest.mark.parametrize("text", ["\n" * 4000, "\n" + " " * 4000, " \n" * 2000, "a" + "\n \t" * 1300])
def test_blanks_are_divided_soon(text: str) -> None:
    began = time.process_time()
    assert pieces(text, 80) in ([], ["a"])
    assert time.process_time() - began < 1
