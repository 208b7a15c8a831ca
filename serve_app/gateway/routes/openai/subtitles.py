"""Segments of speech as subtitles: SubRip and WebVTT."""

from collections.abc import Sequence

from deployments.capabilities import Segment


def srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered, with a comma before the milliseconds."""
    blocks = [
        f"{number}\n{_time(segment.start, ',')} --> {_time(segment.end, ',')}\n{_line(segment.text)}\n"
        for number, segment in enumerate(segments, 1)
    ]
    return "\n".join(blocks)


def vtt(segments: Sequence[Segment]) -> str:
    """WebVTT (W3C)."""
    blocks = [
        f"{_time(segment.start, '.')} --> {_time(segment.end, '.')}\n{_escaped(_line(segment.text))}\n"
        for segment in segments
    ]
    return "WEBVTT\n\n" + "\n".join(blocks)


def _line(text: str) -> str:
    """The text without the characters that would end its subtitle: an empty line or an arrow."""
    return " ".join(text.split()).replace("-->", "->")


def _escaped(text: str) -> str:
    """The text with the signs that begin WebVTT's tags and entities written as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, separator: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{separator}{rest % 1000:03}"
