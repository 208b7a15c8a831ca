"""Recordings and films opened, whoever needs them: the gateway to check, a backend to hear.

Bytes are untrusted. Only listed containers are probed (a playlist could name other addresses) and only listed codecs
decoded; while a container is opened no decoder of pictures runs, so none is unpacked before its size is checked. Time
stamps are what a file says of itself: the length of sound is counted in samples where they could differ.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from .bad_media import damaged, too_large, unsupported
from .bare_picture import picture_brand
from .sound_frames import adts_seconds, flac_frames, mpeg_seconds, opus_seconds

Kind = Literal["audio", "video"]

CONTAINERS = "wav,mp3,ogg,flac,aac,aiff,amr,caf,au,mov,matroska,webm,avi,mpeg,mpegts,w64"
MOST_STREAMS = 64

# FFmpeg's names of codecs.
SOUND_CODECS = (
    "aac aac_latm ac3 adpcm_ima_qt adpcm_ima_wav adpcm_ms alac amr_nb amr_wb dts eac3 flac gsm gsm_ms mp1 mp2 mp3 opus "
    "pcm_alaw pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be "
    "pcm_s32le pcm_s8 pcm_u8 speex tta vorbis wavpack"
)
FILM_CODECS = (
    "av1 dvvideo ffv1 h263 h264 hevc mjpeg mpeg1video mpeg2video mpeg4 msmpeg4v3 prores rawvideo theora vp8 vp9"
)
SOUND, FILM = frozenset(SOUND_CODECS.split()), frozenset(FILM_CODECS.split())

# The decoders that may run while a container is opened: those without which a raw stream has no rate. None of pictures,
# and not ALAC's, which takes the memory that a file claims to need.
PROBES = {"audio": "aac,aac_latm,ac3,mp1float,mp2float,mp3float,mp1,mp2,mp3", "video": "none"}
# Containers without time stamps: FFmpeg counts them from the rate of the beginning, and there are no gaps.
TIMELESS = ("wav", "w64", "aiff", "au", "mp3", "aac", "flac", "amr")
STATE_LENGTH = ("wav", "w64", "aiff", "au", "caf", "flac", "mov", "matroska", "avi")  # of others it is an estimate

# What says how long a packet plays, by container ("" for any) and codec.
HEADS: dict[tuple[str, str], Callable[[bytes], float | None]] = {
    ("", "opus"): opus_seconds,
    ("aac", "aac"): adts_seconds,
    **dict.fromkeys((("mp3", "mp1"), ("mp3", "mp2"), ("mp3", "mp3")), mpeg_seconds),
}
PROOF = 3  # packets that are decoded as proof that the rest can be
MOST_ALAC = 65_536  # samples of a frame, which has 4,096
MOST_FRAMES = 32  # of FLAC in a packet, which has one
MOST_BROKEN = 10_000  # packets that cannot be decoded
MOST_BREAKS = 100  # places at which the container itself is broken
PACKETS_A_SECOND = {"audio": 500, "video": 1000}  # at most: Opus has 400, slow motion 960
RATES = (1_000, 768_000)  # Hz
MOST_PACKET = {  # bytes of a packet, for a decoder takes several frames of one and gives them back all at once
    **dict.fromkeys(("mp1", "mp2", "mp3", "ac3"), 8 << 10),
    **dict.fromkeys(("aac", "aac_latm", "eac3"), 32 << 10),
}


@contextmanager
def opened(data: bytes, kind: Kind, most_pixels: int | None = None) -> Iterator[tuple[Any, Any]]:
    """The container (PyAV's) and its first stream of `kind` in a codec that is read, as long as the block lasts.

    Raises:
        BadMedia: it is another kind of file, has no such stream, or more than `most_pixels` a frame.
    """
    import av
    import av.error

    if name := picture_brand(data):
        raise unsupported(f"is {name}, a picture, not {kind}")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none", "max_streams": str(MOST_STREAMS + 1)}
    try:
        container = av.open(io.BytesIO(data), "r", options={**options, "codec_whitelist": PROBES[kind]})
    except (av.error.FFmpegError, ValueError, EOFError):
        example = "such as WAV, MP3, Ogg, FLAC, MP4 or WebM" if kind == "audio" else "such as MP4, WebM, MKV or MOV"
        raise unsupported(f"is not {kind} that can be read: send a file in a container {example}") from None
    with container:
        if len(container.streams) > MOST_STREAMS:
            raise too_large(f"it has more than {MOST_STREAMS} streams")
        stream = _stream(container, kind)
        _check_alac(stream)
        if most_pixels is not None:
            _check_pixels(stream.codec_context.width, stream.codec_context.height, most_pixels)
            # A second bound, for frames that are larger than the header says; decoders round sides up, some to 128.
            stream.codec_context.options = {"max_pixels": str(2 * most_pixels + (1 << 16))}
            stream.codec_context.thread_count = 1  # each thread of a decoder has frames of its own
        yield container, stream


def measure(container: Any, stream: Any, kind: Kind, longest: float, most_pixels: int | None = None) -> float:
    """The seconds it takes to play, the samples of sound counted; decoding ends where it is longer than `longest`.

    Where that is infinite nothing is counted.

    Raises:
        BadMedia: it is longer, holds nothing, or less than its header promises.
    """
    said = counted = 0.0
    exact = kind == "video" or _is_exact(container, stream)
    believed, stamped = exact or math.isinf(longest), exact or _name(container) not in TIMELESS
    origin, proof = _origin(container), PROOF
    reading = Reading(container, stream, kind, longest)
    for packet in reading.packets():
        if stamped and packet.pts is not None and packet.time_base is not None:
            said = max(said, float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin)
        known = None if proof else reading.coded_seconds(packet)
        if known is not None:
            counted += known
        elif proof or not believed or packet.pts is None:
            for frame in reading.decoded(packet):
                proof = max(0, proof - 1)
                if kind == "video":
                    _check_pixels(frame.width, frame.height, most_pixels)
                else:
                    counted += frame.samples / frame.sample_rate
        if max(said, counted) > longest:
            raise too_large(f"longer than the {longest:g} s of {kind} that are accepted")
    if proof == PROOF:
        raise damaged(kind, reading.trouble or "nothing to play")
    seconds = max(said, counted)
    if seconds <= 0:
        raise damaged(kind, "nothing to play")
    if kind == "video" and reading.count > (seconds + 1) * PACKETS_A_SECOND[kind]:
        raise damaged(kind, f"{reading.count:,} pictures in {seconds:.1f} s")
    promised = _promised(container, stream)
    if promised > longest + 1 and promised > 1.5 * seconds + 1:
        raise damaged(kind, f"its header promises {promised:.0f} s, it holds {seconds:.1f} s")
    return seconds


def frames(container: Any, stream: Any) -> Iterator[Any]:
    """The decoded frames of sound with their time stamps, as they come; what cannot be decoded is left out.

    Raises:
        BadMedia: nothing can be decoded.
    """
    reading, found = Reading(container, stream, "audio"), False
    for packet in reading.packets():
        for frame in reading.decoded(packet):
            found = True
            yield frame
    if not found:
        raise damaged("audio", reading.trouble or "nothing to play")


class Reading:
    """Reads one stream of a container past what is broken, as a player would.

    Args:
        longest: seconds that are accepted, for a bound on packets.
    """

    def __init__(self, container: Any, stream: Any, kind: Kind, longest: float = math.inf) -> None:
        self._container, self._stream, self._kind = container, stream, kind
        self._codec = codec_of(stream)
        self._coded = HEADS.get((_name(container), self._codec)) or HEADS.get(("", self._codec))
        self._most = (longest + 1) * PACKETS_A_SECOND[kind]
        self._broken = 0
        self.count = 0  # of packets
        self.trouble: str | None = None  # the first that there was

    def packets(self) -> Iterator[Any]:
        """Packets as they are stored, the last one empty: it makes the decoder give what it holds back."""
        import av.error

        for _ in range(MOST_BREAKS):
            try:
                for packet in self._container.demux(self._stream):
                    self.count += packet.size > 0
                    if self.count > self._most:
                        raise too_large(f"it has more than {self._most:,.0f} packets")
                    yield packet
                return
            except av.error.FFmpegError as error:  # the demuxer looks for the next place that makes sense
                self.trouble = self.trouble or _said(error)

    def decoded(self, packet: Any) -> list[Any]:
        """The frames in a packet; none of one that is broken or would be unpacked to more than memory is there for.

        Raises:
            BadMedia: too many packets were.
        """
        import av.error

        trouble = self._too_much(packet)
        if trouble is None:
            try:
                frames = packet.decode()
                trouble = None if self._kind == "video" else _strange_rate(frames)
                if trouble is None:
                    return frames
            except (av.error.FFmpegError, EOFError, ValueError) as error:
                trouble = _said(error)
        self.trouble = self.trouble or trouble
        self._broken += 1
        if self._broken > MOST_BROKEN:
            raise damaged(self._kind, f"more than {MOST_BROKEN:,} of its packets cannot be decoded")
        return []

    def coded_seconds(self, packet: Any) -> float | None:
        """How long a packet plays by its own head; None where only its decoder knows."""
        read = self._coded
        return None if read is None or packet.size == 0 else read(bytes(packet)[:8])

    def _too_much(self, packet: Any) -> str | None:
        """Why a packet is not given to the decoder, which would unpack all of it at once."""
        most = MOST_PACKET.get(self._codec)
        if most is not None and packet.size > most:
            return f"a packet of {packet.size:,} bytes; {self._codec} has at most {most:,}"
        # A frame of 65,535 samples may have 14 bytes.
        if self._codec == "flac" and flac_frames(bytes(packet), MOST_FRAMES) == MOST_FRAMES:
            return f"{MOST_FRAMES} frames or more in one packet"
        return None


def _strange_rate(frames: list[Any]) -> str | None:
    """What is wrong with frames whose rate is none of sound: broken bytes, or a file that would play for years."""
    lowest, highest = RATES
    strange = [frame.sample_rate for frame in frames if not lowest <= frame.sample_rate <= highest]
    return f"{strange[0]:,} samples a second; {lowest:,} to {highest:,} are read" if strange else None


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def codec_of(stream: Any) -> str:
    """FFmpeg's name of a stream's codec, the same for all its decoders; empty where there is none."""
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""


def start_of(frame: Any, container: Any) -> float | None:
    """When a frame is to be played, in seconds from the beginning of the file; None where it is not said."""
    if frame.pts is None or frame.time_base is None or _name(container) in TIMELESS:
        return None
    return float(frame.pts * frame.time_base) - _origin(container)


def _origin(container: Any) -> float:
    """The time stamp with which the file begins, in seconds: broadcasts do not begin at 0."""
    return (container.start_time or 0) / 1_000_000


def _stream(container: Any, kind: Kind) -> Any:
    import av.stream

    found = container.streams.audio if kind == "audio" else container.streams.video
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in found if not stream.disposition & cover]
    if not streams:
        raise unsupported(f"has no {kind} in it")
    for stream in streams:
        if codec_of(stream) in (SOUND if kind == "audio" else FILM):
            return stream
    names = ", ".join(sorted({codec_of(stream) or "an unknown codec" for stream in streams}))
    raise unsupported(f"has {kind} in {names}, which is not read here")


def _check_alac(stream: Any) -> None:
    """Raise `BadMedia` for ALAC that claims huge frames: its decoder takes memory for one when it is opened."""
    head = (stream.codec_context.extradata or b"") if codec_of(stream) == "alac" else b""
    samples = int.from_bytes(head[12:16])
    if samples > MOST_ALAC:
        raise damaged("audio", f"{samples:,} samples a frame; ALAC has {MOST_ALAC:,} at most")


def _is_exact(container: Any, stream: Any) -> bool:
    """Whether times are made of bytes that each last the same."""
    codec, name = codec_of(stream), _name(container)
    return name in TIMELESS and codec.startswith(("pcm_", "amr_"))


def _name(container: Any) -> str:
    return container.format.name.split(",")[0]


def _promised(container: Any, stream: Any) -> float:
    """The length in seconds that the file's header states; 0 where it states none."""
    if _name(container) not in STATE_LENGTH:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1_000_000


def media_type(container: Any, kind: Kind) -> str:
    """The media type of an opened container, by what it holds."""
    name = _name(container)
    known = {"mp3": "audio/mpeg", "mov": f"{kind}/mp4", "matroska": f"{kind}/webm"}
    return known.get(name, f"{kind}/{name}")


def _check_pixels(width: int, height: int, most: int | None) -> None:
    if most is not None and width * height > most:
        raise too_large(f"{width} x {height} pixels a frame; at most {most:,} are accepted")
