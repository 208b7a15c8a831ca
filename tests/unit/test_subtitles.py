"""Subtitles as the formats ask for them."""

import pytest

from deployments.capabilities import Segment
from serve_app.gateway.routes.openai.subtitles import srt, vtt

TWO = [Segment(start=0, end=1.5, text="Hello there."), Segment(start=1.5, end=3725.0625, text="Goodbye.")]


def test_subrip_is_numbered_and_has_commas() -> None:
    assert srt(TWO) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n00:00:01,500 --> 01:02:05,062\nGoodbye.\n"
    )


def test_webvtt_has_its_head_and_points() -> None:
    assert vtt(TWO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n00:00:01.500 --> 01:02:05.062\nGoodbye.\n"
    )


def test_silence_makes_files_without_subtitles() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n\n"


@pytest.mark.parametrize(("seconds", "time"), [(0.9996, "00:00:01,000"), (59.9999, "00:01:00,000")])
def test_rounding_carries_into_the_next_unit(seconds: float, time: str) -> None:
    assert f"{time} --> {time}" in srt([Segment(start=seconds, end=seconds, text="x")])


def test_webvtt_has_its_signs_escaped() -> None:
    text = "<b>R&D</b> -> &amp; <v Bob>"
    assert "&lt;b&gt;R&amp;D&lt;/b&gt; -&gt; &amp;amp; &lt;v Bob&gt;\n" in vtt([Segment(start=0, end=1, text=text)])
    assert text in srt([Segment(start=0, end=1, text=text)])


@pytest.mark.parametrize("write", [srt, vtt])
def test_a_text_cannot_end_its_subtitle_or_begin_another(write) -> None:  # type: ignore[no-untyped-def]
    bad = "one\n\n2\n00:00:09,000 --> 00:00:10,000\nforged"
    assert write([Segment(start=0, end=1, text=bad)]).count("-->") == 1
