"""Media are what they were found to be when opened, and nothing they name is ever opened."""

import base64
import io
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import BaseModel, ValidationError

from deployments import picture_file
from deployments.errors import MedleyError, ModelUnavailable
from deployments.media import Audio, Image, Media, MediaLimits, Video

from .fakes import PICTURE, RECORDING, picture_bytes, wav_bytes

# container of PyAV, codec, media type, file name ending
AUDIO_FORMATS = [
    ("wav", "pcm_s16le", "audio/wav", ".wav"),
    ("mp3", "libmp3lame", "audio/mpeg", ".mp3"),
    ("ogg", "libopus", "audio/ogg", ".ogg"),
    ("ogg", "flac", "audio/ogg", ".ogg"),
    ("flac", "flac", "audio/flac", ".flac"),
    ("adts", "aac", "audio/aac", ".aac"),
    ("mp4", "aac", "audio/mp4", ".mp4"),
    ("mov", "aac", "audio/mp4", ".mp4"),
    ("matroska", "libopus", "audio/webm", ".webm"),
    ("webm", "libopus", "audio/webm", ".webm"),
    ("aiff", "pcm_s16be", "audio/aiff", ".aiff"),
    ("au", "pcm_s16be", "audio/au", ".au"),
    ("caf", "pcm_s16le", "audio/caf", ".caf"),
    ("w64", "pcm_s16le", "audio/w64", ".w64"),
    ("avi", "pcm_s16le", "audio/avi", ".avi"),
    ("mpegts", "aac", "audio/mpegts", ".mpegts"),
]


class Song(BaseModel):
    audio: Audio


class Page(BaseModel):
    image: Image
    notes: list[Image] = []


class Film(BaseModel):
    video: Video


def recording(container: str, codec: str, seconds: int = 1) -> bytes:
    buffer = io.BytesIO()
    rate = 48000
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.layout = "mono"
        for second in range(seconds):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, rate), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, second * rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def film(container: str = "mp4", codec: str = "mpeg4", frames: int = 10) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def promising_png(width: int, height: int) -> bytes:
    """A header of so many pixels, and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def promising_flac(seconds: int) -> bytes:
    """A header of so many seconds at 48 kHz over one."""
    data = bytearray(recording("flac", "flac"))
    struct.pack_into(">I", data, 22, seconds * 48000)  # the number of samples in STREAMINFO
    return bytes(data)


def endless_wav() -> bytes:
    """A quarter of a second as a program writes it that does not know the length yet."""
    data = bytearray(wav_bytes(0.25))
    struct.pack_into("<I", data, 4, 0xFFFFFFFF)
    struct.pack_into("<I", data, 40, 0xFFFFFFFF)
    return bytes(data)


def refusal(model: type[BaseModel], data: object, limits: MediaLimits | None = None) -> tuple[str, str]:
    """Type and text of the one error; it names the field."""
    name = next(iter(model.model_fields))
    with pytest.raises(ValidationError) as refused:
        model.model_validate({name: data}, context={"limits": limits} if limits else None)
    (error,) = refused.value.errors()
    assert error["loc"] == (name,)
    return error["type"], error["msg"]


@pytest.mark.parametrize("format", picture_file.formats())
def test_a_picture_is_named_by_its_content(format: str) -> None:
    media_type = picture_file.MEDIA_TYPES[format]
    data = picture_bytes(format)
    assert Page.model_validate({"image": data}).image == Image(data, media_type)
    lying = f"data:image/x-icon;base64,{base64.b64encode(data).decode()}"
    assert Page.model_validate({"image": lying}).image.media_type == media_type


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_mode_are_accepted(mode: str) -> None:
    buffer = io.BytesIO()
    Pillow.new(mode, (4, 3)).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert Page.model_validate({"image": buffer.getvalue()}).image.data == buffer.getvalue()


@pytest.mark.parametrize(("container", "codec", "media_type", "suffix"), AUDIO_FORMATS)
def test_a_recording_is_named_by_its_content(container: str, codec: str, media_type: str, suffix: str) -> None:
    data = recording(container, codec)
    audio = Song.model_validate({"audio": data}).audio
    assert (audio.data, audio.media_type, audio.suffix) == (data, media_type, suffix)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "mpeg4"), ("webm", "libvpx"), ("avi", "mpeg4")])
def test_a_film_is_named_by_its_content(container: str, codec: str) -> None:
    video = Film.model_validate({"video": film(container, codec)}).video
    assert video.media_type == f"video/{container}"


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [
        ("image/jpeg", ".jpg"),
        ("image/png", ".png"),
        ("audio/x-wav", ".wav"),
        ("video/x-matroska", ".mkv"),
        ("video/quicktime", ".mov"),
    ],
)
def test_a_suffix_fits_the_media_type(media_type: str, suffix: str) -> None:
    assert Media(b"x", media_type).suffix == suffix


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png;base64,",
        "data:image/jpeg;base64,",
        "data:;base64,",
        "DATA:IMAGE/PNG;BASE64,",
        "data:image/png;name=a.png;base64,",
        "data:image/png;charset=utf-8;name=b;base64,",
        "data:application/octet-stream;base64,",
        "data:image/vnd.some-thing+x;base64,",
        "data:audio/ogg; codecs=opus;base64,",
        "data:audio/ogg; codecs=opus ; base64 ,",
        "data:video/webm;codecs=vp9,opus;base64,",
        'data:audio/webm;codecs="opus";base64,',
        'data:video/webm; codecs="vp8, opus; x\\"y";base64,',
        "data:image/png;name=a%20b.png;base64,",
        "data:image/png;charset=;base64,",
        "data:image/png;quality;base64,",
        "data:;base64;base64,",
    ],
)
def test_data_urls_in_every_spelling_are_read(head: str) -> None:
    url = head + base64.b64encode(PICTURE.data).decode()
    assert Page.model_validate({"image": url}).image == PICTURE
    assert Page.model_validate_json(Page.model_construct(image=PICTURE).model_dump_json()).image == PICTURE


@pytest.mark.parametrize("lines", ["{}\n{}", "{}\r\n{}\r\n", " {}\t{} "])
def test_base64_in_lines_is_read(lines: str) -> None:
    text = base64.b64encode(PICTURE.data).decode()
    url = "data:image/png;base64," + lines.format(text[:76], text[76:])
    assert Page.model_validate({"image": url}).image == PICTURE


def test_base64_escaped_as_urls_are_is_read() -> None:
    text = quote(base64.b64encode(PICTURE.data).decode(), safe="")
    assert "%" in text
    assert Page.model_validate({"image": f"data:image/png;base64,{text}"}).image == PICTURE


def test_a_head_without_end_is_refused_soon() -> None:
    began = time.process_time()
    for head in ("data:a/b" + ";x=y" * 500_000, "data:a/b;x=" + " " * 2_000_000, 'data:a/b;x="' + "\\" * 2_000_000):
        assert refusal(Page, head)[0] == "media_reference"
    assert time.process_time() - began < 1


def test_browsers_recordings_come_with_their_codec() -> None:
    data = recording("webm", "libopus")
    url = f"data:audio/webm;codecs=opus;base64,{base64.b64encode(data).decode()}"
    assert Song.model_validate({"audio": url}).audio == Audio(data, "audio/webm")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "hello",
        "data:image/png,abc",
        "data:image/png;base64",
        " data:image/png;base64,AAAA",
        "data:image/png;base64,%%%",
        "data:image/png;base64,AAA",
        "data:image/png;base64,ÄÄÄÄ",
        "http://127.0.0.1:9/x.png",
        "file:///etc/passwd",
        "/etc/passwd",
        7,
        None,
        ["a"],
        {"data": "x"},
    ],
)
def test_what_is_no_data_url_is_refused(value: object) -> None:
    assert refusal(Page, value)[0] == "media_reference"


@pytest.mark.parametrize("value", [b"", "data:image/png;base64,", bytearray()])
def test_nothing_is_no_picture(value: object) -> None:
    assert refusal(Page, value) == ("media_damaged", "is empty")


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes_is_taken(buffer: Any) -> None:
    assert Page.model_validate({"image": buffer(PICTURE.data)}).image == PICTURE


def test_an_instance_is_taken_as_it_is_and_of_another_kind_is_opened() -> None:
    unchecked = Image(b"not checked", "image/png")
    assert Page.model_validate({"image": unchecked}).image is unchecked
    assert refusal(Page, RECORDING)[0] == "media_unsupported"
    assert Page.model_validate({"image": Media(PICTURE.data, "text/plain")}).image == PICTURE


def test_media_survive_json() -> None:
    page = Page(image=PICTURE, notes=[PICTURE, PICTURE])
    assert Page.model_validate_json(page.model_dump_json()) == page
    song = Song(audio=RECORDING)
    assert Song.model_validate_json(song.model_dump_json()) == song


def test_a_repr_shows_no_bytes() -> None:
    assert repr(Image(bytes(12_000), "image/png")) == "Image(image/png, 12,000 bytes)"


def test_the_schema_says_how_media_are_sent() -> None:
    schema = Page.model_json_schema()["properties"]["image"]
    assert (schema["type"], schema["format"], schema["contentMediaType"]) == ("string", "data-url", "image/*")
    assert "the id of an artifact" in schema["description"]


def test_the_limits_of_the_context_hold() -> None:
    small = MediaLimits(image_pixels=11, audio_seconds=0.5, video_seconds=0.5)
    kind, text = refusal(Page, PICTURE.data, small)
    assert (kind, "4 x 3 pixels; at most 11" in text) == ("media_too_large", True)
    kind, text = refusal(Song, wav_bytes(1), small)
    assert (kind, "longer than the 0.5 s of audio" in text) == ("media_too_large", True)
    assert refusal(Film, film(), small)[0] == "media_too_large"
    exact = MediaLimits(image_pixels=12, audio_seconds=1, video_seconds=1)
    Page.model_validate({"image": PICTURE.data}, context={"limits": exact})
    Song.model_validate({"audio": wav_bytes(1)}, context={"limits": exact})
    Film.model_validate({"video": film()}, context={"limits": exact})


@pytest.mark.parametrize("side", [6_000, 20_000])
def test_a_picture_that_promises_too_many_pixels_is_refused_by_its_header(side: int) -> None:
    assert refusal(Page, promising_png(side, side))[0] == "media_too_large"


def test_a_picture_that_promises_more_than_it_holds_is_damaged() -> None:
    assert refusal(Page, promising_png(100, 100))[0] == "media_damaged"
    whole = picture_bytes("JPEG", (100, 100))
    assert refusal(Page, whole[: len(whole) // 2])[0] == "media_damaged"


def test_a_recording_that_promises_more_than_it_holds_is_damaged() -> None:
    kind, text = refusal(Song, promising_flac(3600))
    assert (kind, "promises 3600 s, it holds 1.0 s" in text) == ("media_damaged", True)


def test_a_recording_of_unknown_length_is_measured() -> None:
    assert Song.model_validate({"audio": endless_wav()}).audio.media_type == "audio/wav"
    small = MediaLimits(audio_seconds=0.2)
    assert refusal(Song, endless_wav(), small)[0] == "media_too_large"


def test_a_recording_without_sound_is_damaged() -> None:
    assert refusal(Song, wav_bytes(0)) == ("media_damaged", "is damaged audio: nothing to play")


def test_a_film_is_no_recording_and_a_recording_no_film() -> None:
    assert refusal(Song, film()) == ("media_unsupported", "has no audio in it")
    assert refusal(Film, wav_bytes(1)) == ("media_unsupported", "has no video in it")


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[str]:
    """An address that must not be called: afterwards nobody has knocked."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("model", [Page, Song, Film])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://{trap}/a.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:10,\nfile://{file}\n",
        "ffconcat version 1.0\nfile 'http://{trap}/a.wav'\n",
        "ffconcat version 1.0\nfile '{file}'\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        "<Representation><BaseURL>http://{trap}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        '<svg xmlns="http://www.w3.org/2000/svg"><image href="http://{trap}/"/></svg>',
        '<!DOCTYPE svg [<!ENTITY x SYSTEM "file://{file}">]><svg xmlns="http://www.w3.org/2000/svg">&x;</svg>',
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({file}) run\n",
    ],
    ids=["hls", "hls file", "concat", "concat file", "dash", "sdp", "svg", "svg entity", "eps"],
)
def test_what_names_other_addresses_is_never_opened(
    model: type[BaseModel], text: str, trap: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav_bytes(1))
    data = text.replace("{trap}", trap).replace("{file}", str(file)).encode()
    assert refusal(model, data)[0] == "media_unsupported"


@pytest.mark.parametrize("format", ["TIFF", "ICO", "PPM", "TGA", "PCX", "PDF"])
def test_other_formats_of_pictures_are_refused(format: str) -> None:
    kind, text = refusal(Page, picture_bytes(format, (16, 16)))
    assert kind == "media_unsupported"
    assert ": send PNG, JPEG, WEBP, GIF" in text


class Missing(MedleyError):
    """Not there"""

    status = 404


KEPT = "art_0123456789abcdef0123456789ab"


def from_artifacts(model: type[BaseModel], id: object, error: Exception | None = None) -> Any:
    """The model read where one artifact is kept, a picture, or reading it fails."""
    limits = MediaLimits(image_pixels=12)

    def load(asked: str) -> bytes:
        if error:
            raise error
        return {KEPT: PICTURE.data}[asked]

    return model.model_validate({next(iter(model.model_fields)): id}, context={"artifacts": load, "limits": limits})


def test_the_id_of_an_artifact_stands_for_its_bytes() -> None:
    image = from_artifacts(Page, KEPT).image
    assert image == PICTURE
    assert image.artifact == KEPT
    assert Page.model_validate({"image": PICTURE.url}).image.artifact is None
    page = Page.model_validate_json(f'{{"image": "{KEPT}"}}', context={"artifacts": lambda _: PICTURE.data})
    assert page.model_dump_json() == f'{{"image":"{PICTURE.url}","notes":[]}}'


def test_an_artifact_is_opened_like_any_bytes() -> None:
    with pytest.raises(ValidationError) as caught:
        from_artifacts(Song, KEPT)
    assert caught.value.errors()[0]["type"] == "media_unsupported"
    large = {"artifacts": lambda _: PICTURE.data, "limits": MediaLimits(image_pixels=11)}
    with pytest.raises(ValidationError) as caught:
        Page.model_validate({"image": KEPT}, context=large)
    assert caught.value.errors()[0]["type"] == "media_too_large"


def test_an_artifact_that_is_not_there_is_a_wrong_field() -> None:
    with pytest.raises(ValidationError) as caught:
        from_artifacts(Page, KEPT, Missing("There is no artifact {of} this %s id."))
    (error,) = caught.value.errors()
    assert (error["type"], error["loc"]) == ("media_reference", ("image",))
    assert error["msg"] == "There is no artifact {of} this %s id."


def test_a_store_that_is_away_is_no_fault_of_the_field() -> None:
    with pytest.raises(ModelUnavailable, match=r"Away\."):
        from_artifacts(Page, KEPT, ModelUnavailable("Away."))


@pytest.mark.parametrize("context", [None, {}, {"limits": MediaLimits()}])
def test_without_artifacts_an_id_is_refused(context: dict[str, Any] | None) -> None:
    with pytest.raises(ValidationError) as caught:
        Page.model_validate({"image": KEPT}, context=context)
    (error,) = caught.value.errors()
    assert (error["type"], "artifact ids are not taken here" in error["msg"]) == ("media_reference", True)


@pytest.mark.parametrize(
    "id",
    [
        "../../etc/passwd",
        "art_../..",
        KEPT[:-1],
        KEPT + "0",
        KEPT + "\n",
        " " + KEPT,
        KEPT.upper(),
        f"artifact:{KEPT}",
        f"job_{KEPT[4:]}",
        f"../{KEPT}",
    ],
)
def test_what_only_resembles_an_id_is_never_looked_up(id: str) -> None:
    with pytest.raises(ValidationError) as caught:
        from_artifacts(Page, id, AssertionError("looked up"))
    (error,) = caught.value.errors()
    assert (error["type"], "looked up" in error["msg"]) == ("media_reference", False)
