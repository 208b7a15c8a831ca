"""Films in every container, and odd ones."""

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from .pictures import iso_picture, picture, written
from .recordings import late_sound
from .sample import Sample, film, recording

FORMATS = (
    ("mp4", "mpeg4"),
    ("mov", "mjpeg"),
    ("webm", "libvpx"),
    ("matroska", "mpeg4"),
    ("avi", "mpeg4"),
    ("mpegts", "mpeg2video"),
    ("mpeg", "mpeg1video"),
)


def many_streams(count: int) -> bytes:
    """A film of one picture in each of so many streams."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        streams: list[Any] = [out.add_stream("mpeg4", rate=10) for _ in range(count)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for stream in streams:
            black = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(black))
            out.mux(stream.encode(None))
    return file.getvalue()


def growing(first: int = 32, then: int = 4000) -> bytes:
    """A film whose header and first picture are small, and whose second picture is large."""
    file = io.BytesIO()
    small, large = film("avi", "mjpeg", 1, first), written(picture((then, then)), "JPEG", quality=5)
    source: Any = av.open(io.BytesIO(small))
    with source, av.open(file, "w", format="avi") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        (one,) = [packet for packet in source.demux() if packet.size]
        base = one.time_base
        for number, data in enumerate((bytes(one), large)):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, base
            out.mux(packet)
    return file.getvalue()


def films() -> Iterator[Sample]:
    for container, codec in FORMATS:
        yield Sample(f"{codec} film in {container}", "video", film(container, codec))
    yield Sample("a film with late sound", "video", late_sound())
    yield Sample("a film of one picture", "video", film(frames=1))
    yield Sample("an 8K film", "video", film("avi", "mjpeg", 1, 4096), False)
    yield Sample("a film that grows", "video", growing(), False)
    yield Sample("a film in PNG", "video", film("mov", "png"), False)
    yield Sample("a film of 100 streams", "video", many_streams(100), False)
    yield Sample("half a film", "video", film()[:400], False)
    yield Sample("a recording for a film", "video", recording("wav", "pcm_s16le"), False)
    yield Sample("a HEIC for a film", "video", iso_picture(b"heic", b"mif1"), False)
    yield Sample("a text for a film", "video", b"no film " * 100, False)
