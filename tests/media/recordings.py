"""Recordings in every container, and odd ones."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from .pictures import picture, written
from .sample import Sample, film, recording, tone

# Container of PyAV and codec.
FORMATS = (
    ("wav", "pcm_s16le"),
    ("wav", "pcm_mulaw"),
    ("wav", "adpcm_ms"),
    ("mp3", "libmp3lame"),
    ("ogg", "libopus"),
    ("ogg", "flac"),
    ("flac", "flac"),
    ("adts", "aac"),
    ("mp4", "aac"),
    ("mov", "aac"),
    ("ipod", "alac"),
    ("mp4", "flac"),
    ("matroska", "libopus"),
    ("matroska", "aac"),
    ("matroska", "flac"),
    ("webm", "libopus"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("caf", "pcm_s16le"),
    ("w64", "pcm_s16le"),
    ("avi", "pcm_s16le"),
    ("avi", "libmp3lame"),
    ("mpegts", "aac"),
    ("mpeg", "mp2"),
)


def wav(samples: bytes, *, rate: int = 16_000, channels: int = 1, bits: int = 16, claimed: int | None = None) -> bytes:
    """PCM with a header of one's choice."""
    size = len(samples) if claimed is None else claimed
    align = channels * bits // 8
    head = struct.pack("<HHIIHH", 1, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", min(36 + size, 0xFFFFFFFF)) + body + samples


def muxed(
    container: str, codec: str, sounds: list[np.ndarray], *, rate: int = 48_000, step: int | None = None
) -> bytes:
    """int16 frames, each [1, n], a packet for each; with `step` their time stamps are so far apart, in samples."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        at = written_packets = 0
        for sound in [*sounds, None]:
            frame = None
            if sound is not None:
                frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate, at
                at += sound.shape[1]
            for packet in stream.encode(frame):
                if step is not None:
                    packet.pts = packet.dts = written_packets * step
                    packet.duration, packet.time_base = step, Fraction(1, rate)
                    written_packets += 1
                out.mux(packet)
    return file.getvalue()


def false_times(container: str, hours: float = 1) -> bytes:
    """FLAC of many silent hours, the time stamps of which say milliseconds."""
    frames = int(hours * 3600 * 48_000 / 4608)
    if container == "flac":  # its frames are numbered
        return muxed(container, "flac", [np.zeros((1, 4608), np.int16)] * frames)
    return repeated(container, 1, frames)


def repeated(container: str, frames: int, packets: int) -> bytes:
    """A silent FLAC frame of a tenth of a second over and over, so many in each packet; a packet lasts a sample."""
    source: Any = av.open(io.BytesIO(muxed("flac", "flac", [np.zeros((1, 4608), np.int16)] * 4)))
    file = io.BytesIO()
    with source, av.open(file, "w", format=container) as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        one = next(bytes(packet) for packet in source.demux() if packet.size)
        for number in range(packets):
            packet = av.Packet(one * frames)
            packet.stream, packet.time_base = stream, Fraction(1, 48_000)
            packet.pts = packet.dts = number
            packet.duration = 1
            out.mux(packet)
    return file.getvalue()


def crowded_packet(frames: int) -> bytes:
    """Matroska with one packet that holds many FLAC frames, which a decoder gives back all at once."""
    return repeated("matroska", frames, 1)


def with_hole(data: bytes, size: int = 400) -> bytes:
    """With bytes of nothing in the middle of the sound, which `mdat` holds."""
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    return data[:middle] + bytes(size) + data[middle + size :]


def late_sound(seconds: float = 2.0, container: str = "mp4", sound_track: np.ndarray | None = None) -> bytes:
    """A film whose sound, int16 [1, n] at 48 kHz or a second of a tone, begins after `seconds`."""
    heard, file = tone(1) if sound_track is None else sound_track, io.BytesIO()
    with av.open(file, "w", format=container) as out:
        pictures: Any = out.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound: Any = out.add_stream("aac", rate=48_000, layout="mono")
        for _ in range(int(10 * seconds + heard.shape[1] / 4_800)):
            black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            out.mux(pictures.encode(black))
        out.mux(pictures.encode(None))
        for number, at in enumerate(range(0, heard.shape[1], 1024)):
            frame = av.AudioFrame.from_ndarray(heard[:, at : at + 1024], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, int(seconds * 48_000) + 1024 * number
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return file.getvalue()


def covered_mp3() -> bytes:
    """An MP3 with a picture for its cover, in ID3."""
    cover = written(picture(), "PNG")
    inside = b"APIC" + (len(cover) + 13).to_bytes(4) + b"\x00\x00" + b"\x00image/png\x00\x03\x00" + cover
    size = len(inside)
    syncsafe = bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    return b"ID3\x03\x00\x00" + syncsafe + inside + recording("mp3", "libmp3lame")


def promising_flac(seconds: int) -> bytes:
    """A header of so many seconds at 48 kHz over one."""
    data = bytearray(recording("flac", "flac"))
    struct.pack_into(">I", data, 22, seconds * 48_000)  # the number of samples in STREAMINFO
    return bytes(data)


def quiet_start() -> bytes:
    """ADTS that begins with long silence in small frames, from which its length is guessed at many times what it is."""
    noise = np.random.default_rng(0).normal(0, 9000, (1, 30 * 48_000)).astype(np.int16)
    sounds = [np.zeros((1, 1024), np.int16)] * 300 + [noise[:, at : at + 1024] for at in range(0, 30 * 48_000, 1024)]
    return muxed("adts", "aac", sounds[:-1])


def recordings() -> Iterator[Sample]:
    for container, codec in FORMATS:
        yield Sample(f"{codec} in {container}", "audio", recording(container, codec))
    mp3, ogg, aac, m4a = (
        recording(*of, 5) for of in (("mp3", "libmp3lame"), ("ogg", "libopus"), ("adts", "aac"), ("ipod", "aac"))
    )
    tag = b"ID3\x03\x00\x00\x00\x00\x02\x00" + bytes(256)
    yield Sample("MP4 with a hole", "audio", with_hole(m4a))
    yield Sample("MP3 with a hole", "audio", mp3[:4000] + bytes(400) + mp3[4400:])
    yield Sample("Ogg with a hole", "audio", ogg[: len(ogg) // 2] + bytes(100) + ogg[len(ogg) // 2 + 100 :])
    yield Sample("MP3 with ID3 in the middle", "audio", mp3 + tag + mp3)
    yield Sample("ADTS with ID3 in the middle", "audio", aac + tag + aac)
    for name, one in {"MP3": mp3, "Ogg": ogg, "ADTS": aac, "WAV": recording("wav", "pcm_s16le")}.items():
        yield Sample(f"{name} twice", "audio", one + one)
        yield Sample(f"half an {name}", "audio", one[: len(one) // 2])
    yield Sample("half an MP4", "audio", m4a[: len(m4a) // 2], None)
    yield Sample("ADTS that changes its rate", "audio", aac + recording("adts", "aac", rate=22_050))
    yield Sample("MP3 that changes its rate", "audio", mp3 + recording("mp3", "libmp3lame", rate=22_050))
    yield Sample("ADTS with a quiet start", "audio", quiet_start())
    yield Sample("MPEG-TS of the 20th hour", "audio", recording("mpegts", "aac", start=72_000))
    yield Sample("film with late sound", "audio", late_sound())
    yield Sample("MKV with late sound", "audio", late_sound(container="matroska"))
    yield Sample("MP3 with a cover", "audio", covered_mp3())
    yield from odd_waves()
    yield from false()


def odd_waves() -> Iterator[Sample]:
    """WAV whose header says uncommon things."""
    quarter = tone(0.25, 16_000).tobytes()
    yield Sample("WAV of unknown length", "audio", wav(quarter, claimed=0xFFFFFFFF))
    yield Sample("WAV of no length", "audio", wav(quarter, claimed=0), None)
    yield Sample("WAV of 24 channels", "audio", wav(quarter * 24, channels=24), None)
    yield Sample("WAV of 3 channels", "audio", wav(quarter * 3, channels=3), None)
    yield Sample("WAV of 24 bit", "audio", wav(quarter * 3, bits=24))
    yield Sample("WAV of 8 bit", "audio", wav(quarter, bits=8))
    yield Sample("WAV of 1 Hz", "audio", wav(quarter, rate=1), False)
    yield Sample("WAV of 2 GHz", "audio", wav(quarter, rate=2**31 - 1), False)
    yield Sample("WAV of 0 Hz", "audio", wav(quarter, rate=0), False)
    yield Sample("WAV of 384 kHz", "audio", wav(quarter, rate=384_000))
    yield Sample("WAV without sound", "audio", wav(b""), False)


def false() -> Iterator[Sample]:
    """Recordings that lie about themselves, and what is none."""
    yield Sample("FLAC that promises an hour", "audio", promising_flac(3600), False)
    for container in ("matroska", "ogg"):
        yield Sample(f"{container} of an hour in milliseconds", "audio", false_times(container), False)
    yield Sample("a packet of many frames", "audio", crowded_packet(5000), False)
    yield Sample("a playlist", "audio", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", False)
    yield Sample("a film without sound", "audio", film(), False)
    yield Sample("nothing but ID3", "audio", b"ID3\x03\x00\x00\x00\x00\x02\x00" + bytes(256), False)
    yield Sample("a text", "audio", b"not sound at all " * 100, False)
