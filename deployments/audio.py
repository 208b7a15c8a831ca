"""Samples from recordings and recordings from samples, through FFmpeg (PyAV). Always mono; arrays are numpy's.

Files are opened by `timed_file.py`.
"""

import io
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Literal

from . import timed_file
from .bad_media import BadMedia
from .capabilities import AudioFormat
from .errors import InvalidInput
from .media import Audio

if TYPE_CHECKING:
    import numpy as np

PCM_RATE = 24_000  # raw `pcm` has no header to say its rate: OpenAI's clients take 24 kHz, signed 16 bit, little endian
OPUS_RATE = 48_000  # the rate at which Opus counts time; its encoder takes 22,050 Hz and 44,100 Hz from nobody
LONGEST = 3600  # seconds that are decoded at most: 230 MB of float32 at 16 kHz
CANCELLED = 0.01  # of the louder channel's power: a mix of two channels that has less is of opposite phases
GAP_S = 0.1  # of silence between time stamps that is kept; shorter ones come of rounding and of clocks that drift

# format: media type, FFmpeg's container, its codec
FORMATS: dict[AudioFormat, tuple[str, str, str]] = {
    "wav": ("audio/wav", "wav", "pcm_s16le"),
    "mp3": ("audio/mpeg", "mp3", "libmp3lame"),
    "opus": ("audio/ogg", "ogg", "libopus"),
    "aac": ("audio/aac", "adts", "aac"),
    "flac": ("audio/flac", "flac", "flac"),
}
PCM_TYPE = "audio/pcm"
FORMAT_NAMES: dict[Literal["float32", "int16"], str] = {"float32": "flt", "int16": "s16"}  # FFmpeg's


def decode(audio: Audio, rate: int, *, dtype: Literal["float32", "int16"] = "float32") -> "np.ndarray":
    """The samples of `audio`, mixed to mono, at `rate` Hz: shape (n,), float32 within -1..1 or int16.

    Of two channels whose opposite phases would cancel each other out, the louder is taken. The first sample is the
    beginning of the file: where its time stamps leave a gap, before the first sound or later, there is silence. What
    cannot be decoded is left out.

    Raises:
        InvalidInput: `audio` cannot be decoded, is silent of length, or is longer than an hour.
    """
    import av.error
    import numpy as np

    if audio.media_type.startswith(PCM_TYPE):
        return _raw(audio.data, rate, dtype)
    samples = _Samples(rate, dtype)
    try:
        with timed_file.opened(audio.data, "audio") as (container, stream):
            for frame in timed_file.frames(container, stream):
                samples.add(frame, timed_file.start_of(frame, container))
        samples.end()
    except BadMedia as error:
        raise InvalidInput("audio", error.detail) from None
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise InvalidInput("audio", f"cannot be decoded: {error}") from None
    if not samples.data:
        trouble = samples.trouble
        raise InvalidInput("audio", f"cannot be decoded: {trouble}" if trouble else "has no sound in it")
    return np.frombuffer(samples.data, dtype)


def _raw(data: bytes, rate: int, dtype: Literal["float32", "int16"]) -> "np.ndarray":
    """The samples of raw `pcm`."""
    import numpy as np

    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
    if not len(samples):
        raise InvalidInput("audio", "has no sound in it")
    if len(samples) > LONGEST * PCM_RATE:
        raise InvalidInput("audio", f"is longer than the {LONGEST} s that are decoded")
    return _converted(samples, PCM_RATE, rate, FORMAT_NAMES[dtype])


class _Samples:
    """Samples at one rate, in `data`, of frames that may change their format on the way."""

    def __init__(self, rate: int, dtype: Literal["float32", "int16"]) -> None:
        self.data = bytearray()  # grows in place: pieces would be there twice while they are put together
        self._rate, self._format = rate, FORMAT_NAMES[dtype]
        self._width = {"float32": 4, "int16": 2}[dtype]
        self._resampler: Any = None
        self._kind: tuple[str, str, int] | None = None  # of the frames that the resampler takes
        self.trouble: str | None = None  # the first that there was
        self._seconds = 0.0  # of the frames so far: the resampler holds some back

    def add(self, frame: Any, start: float | None) -> None:
        """A decoded frame, to be played `start` seconds from the beginning.

        One that cannot be mixed, which broken bytes decode to at times, is left out.

        Raises:
            InvalidInput: with it, it is more than is decoded.
        """
        import av
        import av.error

        length = frame.samples / frame.sample_rate
        gap = 0.0 if start is None else start - self._seconds
        self._check(length)
        if gap > GAP_S and self._seconds + gap + length <= LONGEST:  # beyond, the time stamps make no sense
            self._silence(gap)
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or kind != self._kind:
            self.end()
            # Two channels are mixed here, by samples of the resampler, which checks frames: a broken one's own lie.
            layout = "stereo" if frame.layout.nb_channels == 2 else "mono"
            self._resampler = av.AudioResampler(format=self._format, layout=layout, rate=self._rate)
            self._kind = kind
        frame.pts = None  # overlapping time stamps are not to become errors
        try:
            self._take(self._resampler.resample(frame))
            self._seconds += length
        except (av.error.FFmpegError, ValueError) as error:
            self.trouble, self._resampler = self.trouble or str(error), None

    def end(self) -> None:
        """Take what the resampler holds back."""
        if self._resampler is not None:
            self._take(self._resampler.resample(None))
            self._resampler = None

    def _silence(self, seconds: float) -> None:
        self.end()
        self._seconds += seconds
        self.data.extend(bytes(max(0, round(self._seconds * self._rate) * self._width - len(self.data))))

    def _check(self, seconds: float) -> None:
        if self._seconds + seconds > LONGEST:
            raise InvalidInput("audio", f"is longer than the {LONGEST} s that are decoded")

    def _take(self, frames: list[Any]) -> None:
        for frame in frames:
            samples = frame.to_ndarray()
            self.data += (_mixed(samples.reshape(-1, 2)) if frame.layout.nb_channels == 2 else samples).tobytes()


def _mixed(samples: "np.ndarray") -> "np.ndarray":
    """The mean of two channels (n, 2) as (n,), rounded as FFmpeg does; where that cancels them, the louder of them."""
    import numpy as np

    wide = samples.astype(np.float32 if samples.dtype == np.float32 else np.int32)
    mean = wide.sum(1) / 2 if samples.dtype == np.float32 else (wide.sum(1) + 1) >> 1
    power = np.square(samples, dtype=np.float64).mean(0)
    cancels = np.square(mean, dtype=np.float64).mean() < CANCELLED * power.max()
    return samples[:, power.argmax()].copy() if cancels else mean.astype(samples.dtype)


def encode(
    samples: "np.ndarray", rate: int, format: AudioFormat = "wav", cancelled: threading.Event | None = None
) -> Audio:
    """Write mono `samples`, shape (n,), float32 within -1..1 or int16, at `rate` Hz, as a file of `format`.

    `opus` is Opus in Ogg; `pcm` is raw signed 16 bit little endian at 24 kHz, without a header. Ten minutes of AAC take
    some ten seconds of a core, so `cancelled` is looked at.

    Raises:
        InvalidInput: `format` is not one of `AudioFormat`.
        CancelledError: `cancelled` was set meanwhile.
    """
    file = io.BytesIO()
    encoder = Encoder(file, rate, format, cancelled)
    encoder.write(samples)
    encoder.end()
    return Audio(file.getvalue(), encoder.media_type)


class Encoder:
    """Writes a file of mono samples as they come.

    Args:
        file: what is written to. Where one cannot go back in it (`Passing`), the header does not say how long it is.
        rate: of the samples, Hz.
        cancelled: writing raises `CancelledError` once it is set.

    Raises:
        InvalidInput: `format` is not one of `AudioFormat`.
    """

    def __init__(
        self,
        file: "io.BytesIO | Passing",
        rate: int,
        format: AudioFormat,
        cancelled: threading.Event | None = None,
    ) -> None:
        import av

        if format != "pcm" and format not in FORMATS:
            raise InvalidInput("format", f"is {format!r}; one of {', '.join((*FORMATS, 'pcm'))} is written")
        self._file, self._rate, self._cancelled = file, rate, cancelled
        self._container: Any = None
        if format == "pcm":
            self.media_type = PCM_TYPE
            self._resampler = av.AudioResampler("s16", "mono", PCM_RATE)
            return
        self.media_type, container, codec = FORMATS[format]
        out_rate = OPUS_RATE if format == "opus" else rate
        options = {"flush_packets": "1"}  # to the file, packet by packet
        if container == "ogg":
            options["page_duration"] = "200000"  # microseconds of sound that leave together; a second by default
        self._container = av.open(file, "w", format=container, options=options)
        self._stream: Any = self._container.add_stream(codec, rate=out_rate, layout="mono")
        self._resampler = av.AudioResampler(self._stream.codec_context.format, "mono", out_rate, frame_size=0)
        self._fifo = av.AudioFifo()  # encoders such as Opus and AAC take frames of one size only

    def write(self, samples: "np.ndarray") -> None:
        """`samples`: shape (n,), float32 within -1..1 or int16."""
        import numpy as np

        if len(samples):
            self._take(self._resampler.resample(_frame(np.ascontiguousarray(samples), self._rate)), last=False)

    def end(self) -> None:
        self._take(self._resampler.resample(None), last=True)
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def _take(self, frames: list[Any], last: bool) -> None:
        if self._container is None:
            for frame in frames:
                self._file.write(frame.to_ndarray().reshape(-1).astype("<i2").tobytes())
            return
        for frame in frames:
            frame.pts = None  # counted from here on
            self._fifo.write(frame)
        size = self._stream.codec_context.frame_size or 4096
        while frame := self._fifo.read(size, partial=last):
            if self._cancelled is not None and self._cancelled.is_set():
                raise CancelledError
            self._container.mux(self._stream.encode(frame))


class Passing:
    """A file whose bytes are taken away as they come, so that one cannot go back in it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def taken(self) -> bytes:
        """What has been written since the last time."""
        data = bytes(self._data)
        self._data.clear()
        return data


def at_tempo(samples: "np.ndarray", rate: int, factor: float) -> "np.ndarray":
    """Speech at `factor` (0.1 to 10) of its tempo with its pitch kept, by FFmpeg's `atempo`; int16 stays int16."""
    import av
    import av.error
    import av.filter
    import numpy as np

    if not len(samples):
        return samples
    graph = av.filter.Graph()
    frame = _frame(samples, rate)
    source = graph.add_abuffer(sample_rate=rate, format=frame.format.name, layout="mono", time_base=frame.time_base)
    chain = [source]
    while factor != 1:  # one atempo goes down to a half; beyond the double it would leave samples out
        step = min(max(factor, 0.5), 2.0)
        chain.append(graph.add("atempo", f"{step:.6f}"))
        factor = 1 if step == factor else factor / step
    chain += [graph.add("aformat", f"sample_fmts={frame.format.name}"), graph.add("abuffersink")]
    graph.link_nodes(*chain).configure()
    graph.push(frame)
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray().reshape(-1))
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(pieces) if pieces else samples[:0]


def _frame(samples: "np.ndarray", rate: int) -> Any:
    from fractions import Fraction

    import av

    name = "s16" if samples.dtype.kind == "i" else "flt"
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format=name, layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    return frame


def _converted(samples: "np.ndarray", rate: int, new_rate: int, format: str) -> "np.ndarray":
    """Samples at another rate and in another sample format (FFmpeg's name: `s16`, `flt`)."""
    import av
    import numpy as np

    resampler = av.AudioResampler(format=format, layout="mono", rate=new_rate)
    frames = [*resampler.resample(_frame(samples, rate)), *resampler.resample(None)]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
