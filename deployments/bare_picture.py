"""Picture files cut down to what makes their pixels, before a decoder sees them.

Metadata never decide whether a picture can be read: comments, texts, thumbnails, camera notes and further frames are
left out unread, and with them every way in which they can be broken, be huge when unpacked or take long to read. Two
things are kept aside: how the camera was held and the colour profile. The walk over a file is by its own lengths; where
these make no sense it ends, and the decoder says what is missing.
"""

import re
import struct
import zlib
from dataclasses import dataclass

from .bad_media import damaged

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
MOST_PROFILE = (
    1 << 20
)  # bytes of a colour profile, unpacked; larger ones are of printing presses, whose inks are not kept
MOST_PARTS = 50_000  # chunks, segments or blocks of one file; a PNG of 32 MB in the usual 8 KiB has 4,000

MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in coded data FF00 is FF, and FFD0 to D7 restart
SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
TEM, SOI, EOI, SOS, COM = 0x01, 0xD8, 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
EXIF = b"Exif\x00\x00"
ICC = b"ICC_PROFILE\x00"

# Brands of ISO files that hold a picture (ISO/IEC 23008-12, AV1 Image File Format), by the name people know.
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2", b"miaf", b"avci", b"avcs"), "HEIF"),
    **dict.fromkeys((b"jp2 ", b"jpx ", b"jpm "), "JPEG 2000"),
    b"jxl ": "JPEG XL",
    b"crx ": "Canon CR3",
}
PICTURE_HANDLER = re.compile(rb"hdlr.{8}pict", re.DOTALL)  # in a film it comes later, with `vide` in it
EXIF_ITEM = re.compile(rb"(infe.{8}(?:..)?)Exif", re.DOTALL)

# First bytes of pictures that are not read, to name them.
OTHERS = (
    (rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+", "TIFF"),
    (rb"\x00\x00\x00\x0cJXL \r\n\x87\n|\xff\x0a", "JPEG XL"),
    (rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"\x00\x00\x01\x00", "ICO"),
    (rb"8BPS", "PSD"),
    (rb"%PDF-", "PDF"),
    (rb"%!PS", "PostScript"),
    (rb"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)?(?:<!DOCTYPE svg[^>]{0,500}>\s*)?<svg[\s>]", "SVG"),
    (rb"qoif", "QOI"),
)


@dataclass(frozen=True)
class Bare:
    """A picture file without metadata.

    `format` is Pillow's name; `exif` as TIFF, without a head; `size` is there where it costs memory to ask the decoder.
    """

    data: bytes
    format: str
    exif: bytes = b""
    profile: bytes | None = None
    scans: int = 1
    size: tuple[int, int] | None = None


def bare(data: bytes) -> Bare | None:
    """The picture in `data`, None where it is none of PNG, JPEG, WebP, GIF, BMP and AVIF.

    Raises:
        BadMedia: it consists of more parts than any picture needs.
    """
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(JPEG + b"\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    if data.startswith(b"BM"):
        return Bare(data, "BMP")
    if picture_brand(data) == "AVIF":
        return Bare(EXIF_ITEM.sub(rb"\1skip", data[: 1 << 20]) + data[1 << 20 :], "AVIF")
    return None


def picture_brand(data: bytes) -> str | None:
    """The name of the picture format of an ISO file (AVIF, HEIC, ...); None for a film and for anything else."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4]), 512)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))]
    name = BRANDS.get(brands[0])
    if name is None and PICTURE_HANDLER.search(data, size, size + 4096):
        name = "HEIF"
    if name == "HEIF":  # which codec is among those it says it is compatible with
        return next((BRANDS[brand] for brand in brands if BRANDS.get(brand, name) != name), name)
    return name


def name_of_other(data: bytes) -> str | None:
    """The name of a picture format that is known and not read here."""
    for first, name in OTHERS:
        if re.match(first, data[:4096], re.DOTALL):
            return name
    return picture_brand(data)


def orientation(exif: bytes) -> int:
    """How EXIF says the camera was held, 1 to 8; 1 where it says nothing that makes sense.

    Reads the one entry of the first directory and nothing else.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (at,) = struct.unpack_from(order + "I", exif, 4)
    if at + 2 > len(exif):
        return 1
    (count,) = struct.unpack_from(order + "H", exif, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", exif, entry)
        if tag == 0x0112 and number == 1 and kind in (1, 3, 4):
            (value,) = struct.unpack_from(order + {1: "B", 3: "H", 4: "I"}[kind], exif, entry + 8)
            return value if 1 <= value <= 8 else 1
    return 1


def _png(data: bytes) -> Bare:
    """Header, palette, transparency and pixels, of an animation the first picture."""
    kept, exif, profile, at = [PNG], b"", None, len(PNG)
    for _ in range(MOST_PARTS):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        whole = data[at : at + 12 + size] if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND") else b""
        kept.append(whole)
        if kind == b"eXIf":
            exif = data[at + 8 : at + 8 + size].removeprefix(EXIF)
        elif kind == b"iCCP" and profile is None:
            profile = _unpacked(data[at + 8 : at + 8 + size].partition(b"\x00")[2][1:])
        at += 12 + size
        if kind == b"IEND" or at >= len(data):
            return Bare(b"".join(kept), "PNG", exif, profile)
    raise damaged("image", f"it has more than {MOST_PARTS:,} chunks")


def _unpacked(data: bytes) -> bytes | None:
    """A profile as zlib packed it; None where it is broken or too large to be one."""
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(data, MOST_PROFILE)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


def _jpeg(data: bytes) -> Bare:
    """The first picture, without comments and what applications added but for what decides on colours."""
    kept, end, first_scan, scans = [JPEG], len(data), None, 0
    exif, profile, parts, at = b"", dict[int, bytes](), 0, 2
    while found := MARKER.search(data, at):
        code, at, parts = found[1][0], found.end(), parts + 1
        if parts > MOST_PARTS:
            raise damaged("image", f"it has more than {MOST_PARTS:,} segments")
        if code == EOI:
            end = at
            break
        if code in (TEM, SOI):
            continue
        size = int.from_bytes(data[at : at + 2])
        inside, at = data[at + 2 : at + size], at + size
        if code == SOS:
            scans += 1
            first_scan = found.start() if first_scan is None else first_scan
        elif code == APP1 and inside.startswith(EXIF):
            exif = exif or inside.removeprefix(EXIF)
        elif code == APP2 and inside.startswith(ICC) and len(inside) > len(ICC) + 2:
            profile.setdefault(inside[len(ICC)], inside[len(ICC) + 2 :])
        elif code == APP0 and inside.startswith(b"JFIF\x00"):
            kept.insert(
                1, JFIF
            )  # that it is there says which colours these are; what it says of inches does not matter
        elif code == APP14 and inside.startswith(b"Adobe") and len(inside) >= 12:
            kept.append(b"\xff\xee\x00\x0e" + inside[:12])
        elif not (APP0 <= code <= APP15 or code == COM) and first_scan is None:
            kept.append(data[found.start() : at])
    kept.append(b"" if first_scan is None else data[first_scan:end])
    joined = b"".join(profile[number] for number in sorted(profile))
    return Bare(b"".join(kept), "JPEG", exif, joined or None, scans)


def _webp(data: bytes) -> Bare:
    """Pixels, transparency and, of an animation, the first picture."""
    kept, exif, profile, size, at = list[bytes](), b"", None, None, 12
    for _ in range(MOST_PARTS):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        whole, inside = data[at : at + 8 + length + length % 2], data[at + 8 : at + 8 + length]
        if kind in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF") and not (
            kind == b"ANMF" and _has(kept, kind)
        ):
            if kind == b"VP8X":
                whole = whole[:8] + bytes([whole[8] & ~0x2C]) + whole[9:] if len(whole) > 8 else whole
            kept.append(whole)
            size = size or _webp_size(kind, inside)
        elif kind == b"EXIF":
            exif = inside.removeprefix(EXIF)
        elif kind == b"ICCP" and length <= MOST_PROFILE:
            profile = inside
        at += 8 + length + length % 2
        if at >= len(data):
            body = b"WEBP" + b"".join(kept)
            return Bare(b"RIFF" + len(body).to_bytes(4, "little") + body, "WEBP", exif, profile, size=size)
    raise damaged("image", f"it has more than {MOST_PARTS:,} chunks")


def _has(chunks: list[bytes], kind: bytes) -> bool:
    return any(chunk.startswith(kind) for chunk in chunks)


def _webp_size(kind: bytes, inside: bytes) -> tuple[int, int] | None:
    """Width and height as the first chunk has them: the decoder takes memory for them when it opens the file."""
    if kind == b"VP8X" and len(inside) >= 10:
        return int.from_bytes(inside[4:7], "little") + 1, int.from_bytes(inside[7:10], "little") + 1
    if kind == b"VP8 " and len(inside) >= 10:
        return int.from_bytes(inside[6:8], "little") & 0x3FFF, int.from_bytes(inside[8:10], "little") & 0x3FFF
    if kind == b"VP8L" and len(inside) >= 5:
        bits = int.from_bytes(inside[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _gif(data: bytes) -> Bare:
    """The first picture with its palette and transparency."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    head, control, blocks = data[:at], b"", 0
    while data[at : at + 1] == b"!":
        kind, begin = data[at + 1 : at + 2], at
        at, blocks = at + 2, blocks + 1
        while at < len(data) and data[at] and blocks <= MOST_PARTS:
            at, blocks = at + 1 + data[at], blocks + 1
        if blocks > MOST_PARTS:
            raise damaged("image", f"it has more than {MOST_PARTS:,} blocks before its first picture")
        at += 1
        if kind == b"\xf9":
            control = data[begin:at]
    return Bare(head + control + data[at:], "GIF")
