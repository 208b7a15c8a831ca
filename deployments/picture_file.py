"""Picture files opened, whoever needs them: the gateway to check, a backend to work on the pixels.

What a file costs is known from its head before it is decoded: its pixels, and how often a decoder goes over them.
"""

import io
from functools import cache
from typing import TYPE_CHECKING

from .bad_media import BadMedia, damaged, too_large, unsupported
from .bare_picture import EXIF, MOST_PROFILE, Bare, bare, name_of_other, orientation

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "AVIF": "image/avif",
}
# A progressive JPEG is gone over once for each scan, however little the scan says: encoders write 6 to 15.
MOST_SCANS = 100
MOST_PASSES = 400_000_000  # pixels times scans: a picture of 25 million may have 16
PROFILE_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")  # of pixels; others lead from one profile to another
MOST_RUN_LENGTH = 4_000_000  # pixels and bytes of a BMP in run lengths, which Pillow reads one by one in Python


@cache
def formats() -> tuple[str, ...]:
    """The formats that the Pillow at hand reads, of `MEDIA_TYPES`."""
    import PIL.features

    return tuple(name for name in MEDIA_TYPES if name != "AVIF" or PIL.features.check("avif"))


def opened(data: bytes, most_pixels: int) -> "tuple[Picture, str]":
    """The first picture of a file with its pixels loaded, turned as it was held, and its media type.

    Its `info` has the transparency, and the colour profile if there is one; no other metadata.

    Raises:
        BadMedia: it is none of `formats`, is damaged, or costs too much to decode.
    """
    import PIL.Image

    found = bare(data)
    if found is None or found.format not in formats():
        accepted = f"send {', '.join(formats()[:-1])} or {formats()[-1]}"
        name = name_of_other(data)
        raise unsupported(f"is {name}, which is not read here: {accepted}" if name else f"is not a picture: {accepted}")
    if found.size:
        _check_pixels(*found.size, most_pixels)
    try:
        with PIL.Image.open(io.BytesIO(found.data), formats=[found.format]) as picture:
            _check_pixels(*picture.size, most_pixels)
            _check_passes(found, picture)
            picture.load()
            exif = found.exif or picture.info.get("exif", b"").removeprefix(EXIF)
            turned = _upright(picture, orientation(exif))
    except BadMedia:
        raise
    except PIL.UnidentifiedImageError:
        raise damaged("image", f"its head is no whole one of {found.format}") from None
    except PIL.Image.DecompressionBombError:
        raise too_large(f"it has more pixels than the {most_pixels:,} that are accepted") from None
    except Exception as error:  # decoders have more ways to fail on bytes than they have errors for
        raise damaged("image", error if str(error) else type(error).__name__) from None
    profile = found.profile or (turned.info.get("icc_profile") if found.format == "AVIF" else None)
    kept = {name: turned.info[name] for name in ("transparency",) if name in turned.info}
    turned.info = {**kept, **({"icc_profile": profile} if profile else {})}
    return turned, MEDIA_TYPES[found.format]


def unread_name(data: bytes) -> str | None:
    """The name of the picture format of `data` if it is one that is known and not read, such as HEIC."""
    found = bare(data)
    return None if found is not None and found.format in formats() else name_of_other(data)


def profile_for(mode: str, profile: bytes | None) -> bytes | None:
    """A colour profile if it is one for pixels of `mode` (Pillow's: `L`, `RGB`, ...), else None (ICC.1, table 15)."""
    if not profile or not 128 <= len(profile) <= MOST_PROFILE or profile[36:40] != b"acsp":
        return None
    space = b"GRAY" if mode in ("1", "L", "LA") else b"RGB " if mode in ("P", "PA", "RGB", "RGBA") else None
    whole = int.from_bytes(profile[:4]) <= len(profile)
    return profile if whole and profile[16:20] == space and profile[12:16] in PROFILE_CLASSES else None


def _check_pixels(width: int, height: int, most: int) -> None:
    if width * height < 1:
        raise damaged("image", f"it has {width} x {height} pixels")
    if width * height > most:
        raise too_large(f"{width} x {height} pixels; at most {most:,} are accepted")


def _check_passes(found: Bare, picture: "Picture") -> None:
    pixels = picture.width * picture.height
    if found.scans > MOST_SCANS or (found.scans > 1 and found.scans * pixels > MOST_PASSES):
        raise too_large(
            f"a JPEG of {found.scans} scans over {pixels:,} pixels; at most {MOST_SCANS} scans and {MOST_PASSES:,} "
            "pixels in all of them are read: save it as a baseline JPEG"
        )
    work = max(pixels, len(found.data))
    if found.format == "BMP" and work > MOST_RUN_LENGTH and picture.info.get("compression") in (1, 2):
        raise too_large(
            f"a BMP in run lengths of {work:,} pixels or bytes; at most {MOST_RUN_LENGTH:,}: save it as a PNG"
        )


def _upright(picture: "Picture", held: int) -> "Picture":
    """The picture turned by an EXIF orientation, 1 to 8."""
    import PIL.Image

    turn = PIL.Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    if held in turns:
        return picture.transpose(turns[held])
    return picture.copy()  # which holds on to no file
