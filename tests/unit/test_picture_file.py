"""Picture files are read whatever is beside their pixels, and cost what their head says."""

import io
import random
import struct
import time
from typing import Any

import PIL.Image
import PIL.ImageOps
import pytest

from deployments import bare_picture, picture_file
from deployments.bad_media import BadMedia
from deployments.media import Image, MediaLimits
from tests.media import pictures
from tests.media.sample import chunk, segment

PIXELS = 25_000_000


def opened(data: bytes) -> PIL.Image.Image:
    return picture_file.opened(data, PIXELS)[0]


def refusal(data: bytes, pixels: int = PIXELS) -> BadMedia:
    with pytest.raises(BadMedia) as refused:
        picture_file.opened(data, pixels)
    return refused.value


def test_a_camera_s_multi_picture_jpeg_is_a_jpeg() -> None:
    second = PIL.Image.new("RGB", (300, 200))
    data = pictures.written(pictures.picture(), "MPO", save_all=True, append_images=[second])
    picture, media_type = picture_file.opened(data, PIXELS)
    assert (media_type, picture.size) == ("image/jpeg", pictures.SIZE)
    assert Image.checked(data, MediaLimits()) == Image(data, "image/jpeg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("held", range(1, 9))
def test_a_picture_is_turned_the_way_it_was_held(held: int, format: str) -> None:
    plain = PIL.Image.open(io.BytesIO(pictures.with_exif(pictures.tiff(held), format)))
    expected = PIL.ImageOps.exif_transpose(plain)
    assert opened(pictures.with_exif(pictures.tiff(held), format)).tobytes() == expected.convert("RGB").tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_an_orientation_is_read_in_both_byte_orders_and_every_whole_type(order: str, kind: int) -> None:
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I"}[kind], 8)
    head = {"<": b"II*\x00", ">": b"MM\x00*"}[order] + struct.pack(order + "I", 8)
    assert bare_picture.orientation(head + struct.pack(order + "HHHI", 1, 0x112, kind, 1) + value) == 8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_no_exif_however_broken_decides_whether_a_picture_is_read(format: str) -> None:
    chance = random.Random(format)
    for number in range(1500):
        block = bytearray(pictures.tiff(chance.randrange(9), more=chance.randbytes(12 * chance.randrange(4))))
        for _ in range(chance.randrange(12)):
            block[chance.randrange(len(block))] = chance.randrange(256)
        block = block[: chance.randrange(len(block) + 1)] if number % 3 == 0 else block
        assert sorted(opened(pictures.with_exif(bytes(block), format)).size) == sorted(pictures.SIZE)


@pytest.mark.parametrize("marker", range(0xE0, 0xF0))
def test_no_segment_of_an_application_decides_whether_a_jpeg_is_read(marker: int) -> None:
    plain, chance = pictures.written(pictures.picture(), "JPEG"), random.Random(marker)
    heads = (
        b"",
        b"Exif\x00\x00",
        b"MPF\x00II*\x00",
        b"JFIF\x00",
        b"Adobe",
        b"ICC_PROFILE\x00\x01\x02",
        b"Photoshop 3.0\x00",
    )
    for head in heads:
        for _ in range(20):
            data = plain[:2] + segment(marker, head + chance.randbytes(chance.randrange(40))) + plain[2:]
            if marker == 0xEE and head == b"Adobe":  # which says what the colours are
                continue
            assert sorted(opened(data).size) == sorted(pictures.SIZE)


def test_a_jpeg_with_dozens_of_scans_is_read_and_one_with_thousands_is_not() -> None:
    assert opened(pictures.many_scans(64)).size == pictures.SIZE
    error = refusal(pictures.many_scans(2000))
    assert (error.fault, "2000 scans" in error.detail, "baseline" in error.detail) == ("too_large", True, True)


def test_the_scans_of_a_large_jpeg_are_bounded_by_its_pixels() -> None:
    data = pictures.many_scans(60, (4000, 4000))
    began = time.process_time()
    assert refusal(data).fault == "too_large"
    assert time.process_time() - began < 1
    ordinary = pictures.written(pictures.picture((5000, 5000)), "JPEG", progressive=True)
    assert opened(ordinary).size == (5000, 5000)


@pytest.mark.parametrize("data", [b"\xff\x01" * 200_000, b"\xff\xe5\x00\x02" * 200_000, b"\xff\xd8" * 200_000])
def test_a_jpeg_of_endless_segments_is_refused_soon(data: bytes) -> None:
    plain = pictures.written(pictures.picture(), "JPEG")
    began = time.process_time()
    assert refusal(plain[:2] + data + plain[2:]).fault == "damaged"
    assert time.process_time() - began < 1


def test_texts_comments_and_profiles_are_left_out_unread() -> None:
    began = time.process_time()
    for name in ("PNG texts of 64 MB", "PNG profile of 64 MB", "GIF with 4 MB of comment", "PNG with a broken text"):
        (sample,) = [sample for sample in pictures.with_metadata() if sample.name == name]
        picture = opened(sample.data)
        assert (picture.size, picture.info) == (pictures.SIZE, {}), name
    assert time.process_time() - began < 5


def test_a_large_comment_takes_no_time() -> None:
    data = pictures.commented_gif(45_000)  # 11 MB; Pillow would copy it for each of its blocks
    began = time.process_time()
    assert opened(data).size == pictures.SIZE
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "data",
    [
        pictures.commented_gif(0).replace(b"!\xfe\x00", b"!\xfe\x00" * 3_000_000),
        pictures.run_length_bmp((2000, 2000), b"\x00\x00" * 5_000_000),
        pictures.run_length_bmp((2000, 2000), b"\x00\x02\x00\x00" * 3_000_000),
        pictures.png_with(chunk(b"IDAT", b"") * 200_000),
        pictures.webp_with(b"XMP ", b"") + b"JUNK\x00\x00\x00\x00" * 200_000,
    ],
    ids=["GIF extensions", "BMP lines", "BMP steps", "PNG chunks", "WebP chunks"],
)
def test_a_picture_of_endless_empty_parts_is_refused_soon(data: bytes) -> None:
    began = time.process_time()
    assert refusal(data).fault in ("damaged", "too_large")
    assert time.process_time() - began < 1


def test_a_profile_that_fits_stays() -> None:
    data = pictures.written(pictures.picture(), "PNG", icc_profile=pictures.SRGB)
    assert opened(data).info == {"icc_profile": pictures.SRGB}
    parts = [pictures.SRGB[:200], pictures.SRGB[200:]]
    plain = pictures.written(pictures.picture(), "JPEG")
    icc = b"".join(segment(0xE2, b"ICC_PROFILE\x00" + bytes([n, 2]) + parts[n - 1]) for n in (2, 1))
    assert opened(plain[:2] + icc + plain[2:]).info == {"icc_profile": pictures.SRGB}


@pytest.mark.parametrize(
    ("mode", "profile", "fits"),
    [
        ("RGB", pictures.SRGB, True),
        ("RGBA", pictures.SRGB, True),
        ("L", pictures.SRGB, False),
        ("L", pictures.GREY_PROFILE, True),
        ("RGB", pictures.GREY_PROFILE, False),
        ("RGB", pictures.SRGB[:16] + b"CMYK" + pictures.SRGB[20:], False),
        ("RGB", pictures.SRGB[:12] + b"link" + pictures.SRGB[16:], False),
        ("RGB", pictures.SRGB[:100], False),
        ("RGB", pictures.SRGB[:-1], False),
        ("RGB", bytes(200), False),
        ("RGB", b"", False),
        ("RGB", None, False),
    ],
)
def test_a_profile_fits_the_pixels_it_is_made_for(mode: str, profile: bytes | None, fits: bool) -> None:
    assert picture_file.profile_for(mode, profile) == (profile if fits else None)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_is_read_and_no_other(format: str) -> None:
    data = pictures.animation(format, 300)
    assert opened(data).convert("L").getextrema() == (0, 0)
    bare = bare_picture.bare(data)
    assert bare is not None
    if format != "GIF":
        assert len(bare.data) < len(data) / 20


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (pictures.iso_picture(b"heic", b"mif1"), "HEIC"),
        (pictures.iso_picture(b"mif1", b"heic"), "HEIC"),
        (pictures.iso_picture(b"mif1", b"avif"), "AVIF"),
        (pictures.iso_picture(b"mif1"), "HEIF"),
        (pictures.iso_picture(b"isom", b"mp41"), None),
        (b"\x00\x00\x00\x08ftyp", None),
        (b"II*\x00" + bytes(20), "TIFF"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"plain text", None),
        (b"", None),
    ],
)
def test_pictures_that_are_not_read_have_names(data: bytes, name: Any) -> None:
    assert bare_picture.name_of_other(data) == name


def test_an_interlaced_png_is_read_in_order() -> None:
    assert opened(pictures.interlaced()).convert("L").tobytes() == bytes(16 * y + x for y in range(8) for x in range(8))


def test_a_second_header_does_not_change_what_was_counted() -> None:
    small, large = (chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)) for side in (2, 20_000))
    data = bare_picture.PNG + small + large + pictures.interlaced()[33:]
    assert refusal(data, 1000).fault in ("too_large", "damaged")


def test_without_its_decoder_an_avif_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pictures.iso_picture(b"avif", b"mif1")
    monkeypatch.setattr(picture_file, "formats", lambda: ("PNG", "JPEG"))
    assert refusal(data).detail == "is AVIF, which is not read here: send PNG or JPEG"
    assert Image.unread_format(data) == "AVIF"


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_picture_without_pixels_is_damaged(size: tuple[int, int]) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    for data in (bare_picture.PNG + header + pictures.interlaced()[33:], pictures.run_length_bmp(size, b"\x00\x01")):
        assert refusal(data).fault == "damaged"


def test_a_picture_in_an_iso_file_of_an_unknown_brand_is_no_film() -> None:
    data = pictures.iso_picture(b"xyz1") + bytes(20) + b"meta" + bytes(8) + b"hdlr" + bytes(8) + b"pict"
    assert bare_picture.picture_brand(data) == "HEIF"
