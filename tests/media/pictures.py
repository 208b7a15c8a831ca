"""Pictures of every format, and odd ones."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import PIL.features
import PIL.Image
import PIL.ImageCms

from .sample import Sample, chunk, segment

SIZE = (40, 24)
SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]


def picture(size: tuple[int, int] = SIZE, mode: str = "RGB") -> PIL.Image.Image:
    """A gradient with a red corner."""
    made = PIL.Image.linear_gradient("L").resize(size).convert("RGB")
    made.paste("red", (0, 0, size[0] // 2, size[1] // 2))
    return made.convert(mode)


def written(made: PIL.Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    made.save(file, format, **options)
    return file.getvalue()


def with_exif(exif: bytes, format: str = "JPEG") -> bytes:
    """A picture with a block of EXIF, as it is, without its head."""
    plain = written(picture(), format)
    if format == "JPEG":
        return plain[:2] + segment(0xE1, b"Exif\x00\x00" + exif) + plain[2:]
    if format == "PNG":
        return plain[:33] + chunk(b"eXIf", exif) + plain[33:]
    return webp_with(b"EXIF", exif)


def webp_with(kind: bytes, data: bytes) -> bytes:
    """A WebP in the extended form with one more chunk behind its pixels."""
    pixels = written(picture(), "WEBP")[12:]
    size = b"".join((side - 1).to_bytes(3, "little") for side in SIZE)
    flags = {b"EXIF": 8, b"XMP ": 4}.get(kind, 0)
    more = kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes([flags, 0, 0, 0]) + size + pixels + more
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def tiff(orientation: int, *, kind: int = 3, more: bytes = b"", entries: int | None = None) -> bytes:
    """A block of EXIF that says how the camera was held; `more` are further entries of 12 bytes before that one."""
    count = len(more) // 12 + 1 if entries is None else entries
    value = struct.pack("<H2x" if kind == 3 else "<I", orientation)
    return (
        b"II*\x00\x08\x00\x00\x00"
        + struct.pack("<H", count)
        + more
        + struct.pack("<HHI", 0x112, kind, 1)
        + value
        + bytes(4)
    )


def png_with(*more: bytes) -> bytes:
    """A PNG with further chunks behind its header."""
    plain = written(picture(), "PNG")
    return plain[:33] + b"".join(more) + plain[33:]


def many_scans(scans: int, size: tuple[int, int] = SIZE) -> bytes:
    """A progressive JPEG whose last scan is there again and again."""
    plain = written(picture(size), "JPEG", progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    return plain[:-2] + last * (scans - plain.count(b"\xff\xda")) + plain[-2:]


def interlaced() -> bytes:
    """A grey PNG of 8 x 8 pixels by Adam7."""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [
        b"\x00" + bytes(16 * y + x for x in range(left, 8, across))
        for left, top, across, down in steps
        for y in range(top, 8, down)
    ]
    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    data = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def run_length_bmp(size: tuple[int, int], data: bytes) -> bytes:
    """A BMP of 8 bit in run lengths."""
    palette = bytes(1024)
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, 1, len(data), 0, 0, 256, 0)
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + palette + data


def commented_gif(blocks: int) -> bytes:
    """A GIF with a comment of many blocks before its picture."""
    plain = written(picture(mode="P"), "GIF")
    at = 13 + (3 << (plain[10] & 7) + 1)
    return plain[:at] + b"!\xfe" + (b"\xff" + bytes(255)) * blocks + b"\x00" + plain[at:]


def animation(format: str, frames: int) -> bytes:
    shades = [PIL.Image.new("P" if format == "GIF" else "RGB", SIZE, n % 251) for n in range(frames)]
    return written(shades[0], format, save_all=True, append_images=shades[1:], duration=20)


def iso_picture(major: bytes, *compatible: bytes) -> bytes:
    """The first bytes of a picture in an ISO file, with nothing in it."""
    brands = major + bytes(4) + b"".join(compatible)
    return (8 + len(brands)).to_bytes(4) + b"ftyp" + brands + (8).to_bytes(4) + b"mdat"


def ordinary() -> Iterator[Sample]:
    """One of every format and of every mode that formats have."""
    for format, modes in {
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "JPEG": ("L", "RGB", "CMYK"),
        "WEBP": ("RGB", "RGBA"),
        "GIF": ("L", "P"),
        "BMP": ("1", "L", "P", "RGB"),
    }.items():
        for mode in modes:
            made = PIL.Image.new("I;16", SIZE, 30_000) if mode == "I;16" else picture(mode=mode)
            yield Sample(f"{format} {mode}", "image", written(made, format))
    if PIL.features.check("avif"):
        yield Sample("AVIF", "image", written(picture(), "AVIF"))
        yield Sample("AVIF turned", "image", written(picture(), "AVIF", exif=b"Exif\x00\x00" + tiff(6)))
        yield Sample("AVIF as mif1", "image", written(picture(), "AVIF").replace(b"ftypavif", b"ftypmif1"))
    yield Sample("interlaced PNG", "image", interlaced())
    yield Sample("progressive JPEG", "image", written(picture(), "JPEG", progressive=True))
    yield Sample("one pixel", "image", written(picture((1, 1)), "PNG"))
    yield Sample("long PNG", "image", written(picture((3, 17_000)), "PNG"))
    yield Sample("long JPEG", "image", written(picture((65_500, 2)), "JPEG"))
    yield Sample("longest WebP", "image", written(picture((16_383, 1)), "WEBP"))
    for format in ("GIF", "WEBP", "PNG"):
        yield Sample(f"moving {format}", "image", animation(format, 300))
    yield Sample("camera's MPO", "image", written(picture(), "MPO", save_all=True, append_images=[picture()]))


def with_metadata() -> Iterator[Sample]:
    """Pictures with metadata that are broken, huge or do not fit."""
    ascii_resolution = struct.pack("<HHI4s", 0x11A, 2, 4, b"72/1")
    blocks = {
        "a resolution in letters": tiff(6, more=ascii_resolution),
        "an offset beyond": b"II*\x00\xff\xff\xff\x7f",
        "too many entries": tiff(6, entries=65_535),
        "no head": b"garbage",
        "nothing": b"",
        "a directory in itself": tiff(6, more=struct.pack("<HHII", 0x8769, 4, 1, 8)),
        "an orientation of 4 GB": tiff(2**32 - 1, kind=4),
    }
    for name, block in blocks.items():
        for format in ("JPEG", "PNG", "WEBP"):
            yield Sample(f"{format} EXIF: {name}", "image", with_exif(block, format))
    plain = written(picture(), "JPEG")
    for marker, data in (
        (0xE2, b"MPF\x00II*\x00\xff\xff"),
        (0xED, b"Photoshop 3.0\x008BIM\xff"),
        (0xEE, b"Adobe"),
        (0xE0, b"JFIF"),
    ):
        yield Sample(f"JPEG with a short {data[:5]!r}", "image", plain[:2] + segment(marker, data) + plain[2:])
    yield Sample("JPEG grey profile", "image", written(picture(mode="L"), "JPEG", icc_profile=GREY_PROFILE))
    yield Sample("JPEG profile of grey on colours", "image", written(picture(), "JPEG", icc_profile=GREY_PROFILE))
    yield Sample("PNG with a profile", "image", written(picture(), "PNG", icc_profile=SRGB))
    yield Sample("PNG with no profile in iCCP", "image", png_with(chunk(b"iCCP", b"x\x00\x00garbage")))
    bomb = zlib.compress(bytes(64 << 20), 9)
    yield Sample("PNG profile of 64 MB", "image", png_with(chunk(b"iCCP", b"x\x00\x00" + bomb)))
    yield Sample("PNG texts of 64 MB", "image", png_with(*[chunk(b"zTXt", b"x\x00\x00" + bomb)] * 3))
    yield Sample(
        "PNG with a broken text", "image", png_with(chunk(b"iTXt", b"\xff" * 9), b"\x00\x00\x00\x04tEXtabcdXXXX")
    )
    yield Sample("WebP with broken XMP", "image", webp_with(b"XMP ", b"<x"))
    yield Sample("GIF with 4 MB of comment", "image", commented_gif(16_000))
    yield Sample(
        "a thumbnail's markers",
        "image",
        plain[:2] + segment(0xE1, b"Exif\x00\x00" + b"\xff\xda\xff\xd9" * 99) + plain[2:],
    )


def costly() -> Iterator[Sample]:
    """Small files that would cost much, and files that are none."""
    yield Sample("JPEG of 64 scans", "image", many_scans(64))
    yield Sample("JPEG of 3,000 scans", "image", many_scans(3000), False)
    yield Sample("large JPEG of 90 scans", "image", many_scans(90, (3000, 3000)), False)
    yield Sample("BMP of one row in run lengths", "image", run_length_bmp((20_000_000, 1), b"\x01\x00\x00\x00"), False)
    yield Sample("small BMP in run lengths", "image", run_length_bmp((4, 1), b"\x04\x00\x00\x01"))
    yield Sample("PNG of 60,000 chunks", "image", png_with(*[chunk(b"tEXt", b"a\x00b")] * 60_000), False)
    yield Sample("WebP of 268 megapixels", "image", _claiming_webp(), False)
    yield Sample("HEIC", "image", iso_picture(b"heic", b"mif1", b"heic"), False)
    yield Sample("HEIC as mif1", "image", iso_picture(b"mif1", b"mif1", b"heic"), False)
    yield Sample("AVIF without a picture", "image", iso_picture(b"avif", b"avif", b"mif1"), False)
    for format in ("TIFF", "ICO", "PPM", "PCX"):
        yield Sample(format, "image", written(picture(), format), False)
    yield Sample("SVG", "image", b'<svg xmlns="http://www.w3.org/2000/svg"/>', False)
    for format in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        whole = written(picture(mode="P" if format == "GIF" else "RGB"), format)
        yield Sample(f"half a {format}", "image", whole[: len(whole) // 2], None)
        yield Sample(f"the head of a {format}", "image", whole[:20], False)


def _claiming_webp() -> bytes:
    plain = webp_with(b"XMP ", b"")
    return plain[:24] + b"\xfe\x3f\x00\xfe\x3f\x00" + plain[30:]


def pictures() -> Iterator[Sample]:
    yield from ordinary()
    yield from with_metadata()
    yield from costly()
