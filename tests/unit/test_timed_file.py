"""The length of a recording is counted, its broken places are skipped, and films are bounded before decoding."""

import base64
import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deployments import audio, sound_frames, timed_file
from deployments.bad_media import BadMedia
from deployments.errors import InvalidInput
from deployments.media import Audio, MediaLimits
from tests.media import films, recordings
from tests.media.sample import film, recording, tone

ROOT = Path(__file__).parents[2]
RATE = 16_000


def seconds(data: bytes, longest: float = 600) -> float:
    with timed_file.opened(data, "audio") as (container, stream):
        return timed_file.measure(container, stream, "audio", longest)


def film_seconds(data: bytes, pixels: int = MediaLimits.video_pixels) -> float:
    with timed_file.opened(data, "video", pixels) as (container, stream):
        return timed_file.measure(container, stream, "video", 300, pixels)


def heard(data: bytes) -> np.ndarray:
    return audio.decode(Audio(data, "audio/*"), RATE)


def refusal(data: bytes, kind: str = "audio", **limits: Any) -> BadMedia:
    with pytest.raises(BadMedia) as refused:
        film_seconds(data, **limits) if kind == "video" else seconds(data, **limits)
    return refused.value


def loud(samples: np.ndarray) -> np.ndarray:
    """Tenths of a second, whether there is sound in them."""
    return np.abs(samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)).max(axis=1) > 0.05


MEMORY = """
import base64, resource, sys
from deployments import audio
from deployments.errors import InvalidInput
from deployments.media import Audio, MediaLimits
data = base64.b64decode(sys.stdin.read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for call in (lambda: Audio.checked(data, MediaLimits()), lambda: audio.decode(Audio(data, "audio/webm"), 16_000)):
    try:
        call()
    except (ValueError, InvalidInput) as error:
        print(error, file=sys.stderr)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    "data", [recordings.false_times("matroska", 5), recordings.crowded_packet(8000)], ids=["times", "packet"]
)
def test_a_small_file_of_many_hours_takes_no_memory_for_them(data: bytes) -> None:
    given = base64.b64encode(data).decode()
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=dict(os.environ),
    )
    assert "hour" in done.stderr or "longer" in done.stderr or "in one packet" in done.stderr
    assert int(done.stdout) < 400  # MB; an hour at 16 kHz has 230, five had 1,150 and as much again


@pytest.mark.parametrize("container", ["matroska", "ogg", "flac"])
def test_false_time_stamps_do_not_shorten_a_recording(container: str) -> None:
    data = recordings.false_times(container, 0.05)  # three minutes
    assert seconds(data) == pytest.approx(180, abs=1)
    assert refusal(data, longest=100).detail == "is too large: longer than the 100 s of audio that are accepted"


def test_a_recording_is_counted_to_its_limit_and_no_further() -> None:
    data = recordings.false_times("matroska", 3)
    began = time.process_time()
    assert refusal(data, longest=60).fault == "too_large"
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("webm", "libopus"), ("ogg", "libopus"), ("wav", "pcm_s16le")]
)
def test_ordinary_recordings_are_opened_without_decoding_them(
    container: str, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = list[int]()
    real = timed_file.Reading.decoded

    def counted(self: timed_file.Reading, packet: Any) -> list[Any]:
        decoded.append(packet.size)
        return real(self, packet)

    monkeypatch.setattr(timed_file.Reading, "decoded", counted)
    assert seconds(recording(container, codec, 20)) == pytest.approx(20, abs=0.1)
    assert len(decoded) < 10


@pytest.mark.parametrize("ms", [2.5, 5, 10, 20, 40, 60])
def test_an_opus_packet_says_how_long_it_plays(ms: float) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as out:
        stream: Any = out.add_stream("libopus", rate=48_000, layout="mono", options={"frame_duration": str(ms)})
        size = int(48 * ms)
        for at in range(0, 48_000, size):
            frame = av.AudioFrame.from_ndarray(tone(1)[:, at : at + size], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, at
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    container: Any
    with av.open(io.BytesIO(file.getvalue())) as container:
        lengths = [sound_frames.opus_seconds(bytes(packet)) for packet in container.demux() if packet.size]
    assert lengths == pytest.approx([ms / 1000] * len(lengths))
    assert len(lengths) >= 1000 / ms


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize(
    ("container", "codec", "read"),
    [("adts", "aac", sound_frames.adts_seconds), ("mp3", "libmp3lame", sound_frames.mpeg_seconds)],
)
def test_a_frame_of_a_raw_stream_says_how_long_it_plays(container: str, codec: str, read: Any, rate: int) -> None:
    file: Any
    with av.open(io.BytesIO(recording(container, codec, 2, rate=rate))) as file:
        packets = [packet for packet in file.demux() if packet.size]
        lengths = [(read(bytes(packet)), sum(f.samples / f.sample_rate for f in packet.decode())) for packet in packets]
    assert [told for told, _ in lengths[2:-1]] == pytest.approx([decoded for _, decoded in lengths[2:-1]])


@pytest.mark.parametrize("read", [sound_frames.adts_seconds, sound_frames.mpeg_seconds, sound_frames.opus_seconds])
def test_a_head_that_is_none_says_nothing(read: Any) -> None:
    assert read(b"") is None
    if read is not sound_frames.opus_seconds:
        assert read(b"no head at all") is None
        assert read(b"\xff\xff\xff\xff\xff\xff\xff") is None


def test_a_stream_that_slows_down_is_not_counted_at_its_first_rate() -> None:
    for container, codec in (("adts", "aac"), ("mp3", "libmp3lame")):
        fast, slow = (recording(container, codec, 1, rate=rate) for rate in (48_000, 16_000))
        assert seconds(fast + slow * 12) == pytest.approx(13, abs=1.2)
        assert refusal(fast + slow * 12, longest=10).fault == "too_large"
        assert seconds(slow + fast * 12, longest=16) == pytest.approx(13, abs=1.2)


def test_a_hole_in_the_middle_costs_what_was_in_it() -> None:
    data = recording("ipod", "aac", 4)
    whole, holed = heard(data), heard(recordings.with_hole(data, 400))
    assert len(holed) == pytest.approx(len(whole), abs=0.1 * RATE)
    assert loud(holed).sum() >= len(loud(whole)) - 4
    assert loud(holed)[-8:-2].all()  # behind the hole


def test_a_recording_that_begins_broken_is_heard_from_where_it_is_not() -> None:
    data = recording("ipod", "aac", 4)
    begin = data.index(b"mdat") + 4
    assert loud(heard(data[:begin] + bytes(300) + data[begin + 300 :]))[-20:-2].all()


@pytest.mark.parametrize(
    "between", [b"", b"ID3\x03\x00\x00\x00\x00\x02\x00" + bytes(256), b"\xff" * 700], ids=["", "ID3", "junk"]
)
@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("ogg", "libopus")])
def test_joined_files_are_heard_to_their_end(container: str, codec: str, between: bytes) -> None:
    one = recording(container, codec, 3)
    assert loud(heard(one + between + one)).sum() >= 56
    assert seconds(one + between + one) == pytest.approx(6, abs=0.4)


@pytest.mark.parametrize(("container", "codec"), [("adts", "aac"), ("mp3", "libmp3lame"), ("mpegts", "aac")])
@pytest.mark.parametrize("seed", [0, 10, 14])  # of the last two FFmpeg makes AAC of 46 and of 42 channels
def test_what_follows_a_recording_does_not_take_it_away(container: str, codec: str, seed: int) -> None:
    data = recording(container, codec, 3) + random.Random(seed).randbytes(3_000_000)
    assert loud(heard(data))[:29].sum() >= 27


@pytest.mark.parametrize(("container", "codec"), [("adts", "aac"), ("mp3", "libmp3lame")])
@pytest.mark.parametrize("rates", [(48_000, 22_050), (16_000, 44_100, 48_000)])
def test_a_format_that_changes_on_the_way_is_followed(container: str, codec: str, rates: tuple[int, ...]) -> None:
    samples = heard(b"".join(recording(container, codec, 2, rate=rate) for rate in rates))
    assert len(samples) / RATE == pytest.approx(2 * len(rates), abs=0.4)
    for number in range(len(rates)):
        middle = samples[int((2 * number + 0.7) * RATE) : int((2 * number + 1.7) * RATE)]
        assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(440, abs=2)


def test_the_length_that_only_an_estimate_promises_is_not_a_lie() -> None:
    assert seconds(recordings.quiet_start(), longest=60) == pytest.approx(36.4, abs=0.5)
    assert "promises 3600 s, it holds 1.0 s" in refusal(recordings.promising_flac(3600)).detail


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_that_begins_late_has_silence_before_it(container: str) -> None:
    samples = heard(recordings.late_sound(2.5, container))
    assert len(samples) / RATE == pytest.approx(3.5, abs=0.1)
    assert np.flatnonzero(np.abs(samples) > 0.05)[0] / RATE == pytest.approx(2.5, abs=0.05)
    assert seconds(recordings.late_sound(2.5, container)) == pytest.approx(3.5, abs=0.1)


def test_a_gap_in_the_middle_stays() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream: Any = out.add_stream("flac", rate=48_000, layout="mono")
        for begin in (0, 3):
            for at in range(0, 48_000, 4608):
                cut = tone(1)[:, at : at + 4608]
                if cut.shape[1] == 4608:
                    frame = av.AudioFrame.from_ndarray(cut, format="s16", layout="mono")
                    frame.sample_rate, frame.pts = 48_000, begin * 48_000 + at
                    out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    sound = loud(heard(file.getvalue()))
    assert sound[:9].all() and not sound[11:29].any() and sound[31:38].all()


def test_a_broadcast_begins_at_its_first_time_stamp() -> None:
    data = recording("mpegts", "aac", 2, start=72_000)
    assert seconds(data, longest=10) == pytest.approx(2, abs=0.1)
    assert len(heard(data)) / RATE == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_a_rate_that_is_none_of_sound_is_refused(rate: int) -> None:
    data = recordings.wav(tone(0.25, RATE).tobytes(), rate=rate)
    assert "samples a second" in refusal(data, longest=1e9).detail
    with pytest.raises(InvalidInput, match="samples a second"):
        heard(data)


@pytest.mark.slow
def test_more_than_an_hour_is_not_decoded() -> None:
    with pytest.raises(InvalidInput, match="longer than the 3600 s"):
        heard(recordings.false_times("matroska", 1.01))
    with pytest.raises(InvalidInput, match="longer than the 3600 s"):
        audio.decode(Audio(bytes(3601 * 2 * audio.PCM_RATE), "audio/pcm"), RATE)


def test_the_frames_of_a_film_have_a_limit() -> None:
    assert film_seconds(film(side=64), pixels=64 * 64) == pytest.approx(0.4, abs=0.05)
    error = refusal(film(side=64), "video", pixels=64 * 63)
    assert (error.fault, "64 x 64 pixels a frame" in error.detail) == ("too_large", True)


@pytest.mark.parametrize(("container", "codec"), films.FORMATS)
def test_the_limit_of_frames_holds_in_every_container(container: str, codec: str) -> None:
    data = film(container, codec, side=320)
    assert film_seconds(data, pixels=320 * 320) > 0
    assert refusal(data, "video", pixels=300 * 300).fault in ("too_large", "damaged")


def test_a_frame_that_is_larger_than_its_header_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = list[int]()
    real = timed_file.Reading.decoded

    def counted(self: timed_file.Reading, packet: Any) -> list[Any]:
        frames = real(self, packet)
        largest.extend(frame.width for frame in frames)
        return frames

    monkeypatch.setattr(timed_file.Reading, "decoded", counted)
    film_seconds(films.growing(32, 4000), pixels=1_000_000)
    assert largest == [32]
    assert refusal(films.growing(32, 1200), "video", pixels=1_000_000).fault == "too_large"


def test_a_film_in_a_codec_that_is_not_listed_is_refused_by_its_name() -> None:
    assert refusal(film("mov", "png"), "video").detail == "has video in png, which is not read here"


def test_a_film_of_very_many_streams_is_refused() -> None:
    assert "more than 64 streams" in refusal(films.many_streams(100), "video").detail
    assert film_seconds(films.many_streams(20)) > 0


def test_no_decoder_of_pictures_runs_while_a_container_is_opened() -> None:
    """A cover of a thousand megapixels beside the sound would be unpacked."""
    with timed_file.opened(recordings.covered_mp3(), "audio") as (container, _):
        assert container.streams.video[0].codec_context.format is None
    with timed_file.opened(film("mpegts", "mpeg2video"), "video") as (container, stream):
        assert stream.codec_context.is_open is False


def test_a_cover_is_no_film() -> None:
    assert refusal(recordings.covered_mp3(), "video").detail == "has no video in it"


def test_the_frames_of_flac_in_a_packet_are_counted_by_their_checksums() -> None:
    quiet = np.random.default_rng(0).integers(-12, 4, (1, 4608 * 30)).astype(np.int16)
    blocks = [quiet[:, at : at + 4608] for at in range(0, quiet.shape[1], 4608)]
    file: Any
    with av.open(io.BytesIO(recordings.muxed("flac", "flac", blocks))) as file:
        packets = [bytes(packet) for packet in file.demux() if packet.size]
    assert [sound_frames.flac_frames(packet, 32) for packet in packets] == [1] * 30
    assert sound_frames.flac_frames(b"".join(packets), 99) == 30
    samples = quiet.astype(">i2").tobytes()
    assert samples.count(b"\xff\xf8") > 1000 and sound_frames.flac_frames(samples, 32) < 5
    assert sound_frames.flac_frames(b"", 32) == 0
    began = time.process_time()
    assert sound_frames.flac_frames(b"\xff\xf8\x10\x00\x00\x00" * 3_000_000, 32) == 32
    assert time.process_time() - began < 2


def test_alac_that_claims_huge_frames_is_refused_before_its_decoder_opens() -> None:
    data = recording("ipod", "alac")
    at = data.index(b"alac", data.index(b"alac") + 4) + 8  # in the box of that name in the one of that name
    assert int.from_bytes(data[at : at + 4]) == 4096
    huge = data[:at] + (16_000_000).to_bytes(4) + data[at + 4 :]
    assert "16,000,000 samples a frame" in refusal(huge).detail
    with pytest.raises(InvalidInput, match="16,000,000 samples a frame"):
        heard(huge)


def test_a_film_of_a_thousand_pictures_in_no_time_is_damaged() -> None:
    assert film_seconds(film("mov", "mjpeg", 900, 16, rate=10_000)) > 0
    assert "1,500 pictures" in refusal(film("mov", "mjpeg", 1500, 16, rate=10_000), "video").detail


def test_a_limit_of_infinity_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = list[int]()
    real = timed_file.Reading.decoded
    monkeypatch.setattr(
        timed_file.Reading, "decoded", lambda self, packet: decoded.append(packet.size) or real(self, packet)
    )
    assert seconds(recording("mp4", "aac", 20), float("inf")) == pytest.approx(20, abs=0.1)
    assert len(decoded) < 10
