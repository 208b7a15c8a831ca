"""Pictures opened, checked and written by Pillow, for the backends that work on pixels."""

import io
import math
from typing import TYPE_CHECKING

from . import picture_file
from .bad_media import BadMedia
from .capabilities import Box, ImageFormat
from .errors import InvalidInput, ModelUnavailable, UnsupportedMedia
from .media import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_PIXELS = 25_000_000
LONGEST_SIDE = 8192  # of a picture that is made
LONGEST_SIDES: dict[ImageFormat, int] = {"png": 2**31 - 1, "jpeg": 65_500, "webp": 16_383}  # of their encoders


def need_opencv() -> None:
    """Load OpenCV, so that the first call does not pay for it.

    Raises:
        ModelUnavailable: it cannot be loaded.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ModelUnavailable(f"OpenCV is needed: {error}") from None


def load_picture(image: Image, field: str = "image") -> "Picture":
    """The picture in its own mode (Pillow's), turned the way it was held; of an animation the first frame.

    Raises:
        InvalidInput: it is damaged, or has more than 25 million pixels or costs as much; the error names `field`.
        UnsupportedMedia: it is in none of `picture_file.formats`.
    """
    try:
        return picture_file.opened(image.data, MOST_PIXELS)[0]
    except BadMedia as error:
        raise (UnsupportedMedia if error.fault == "unsupported" else InvalidInput)(field, error.detail) from None


def open_picture(image: Image, field: str = "image") -> "Picture":
    """The picture as `load_picture` has it, as `RGB`, or `RGBA` where it has transparency; 16 bit become 8.

    Raises:
        InvalidInput, UnsupportedMedia: as `load_picture`.
    """
    picture = load_picture(image, field)
    if picture.mode.startswith("I"):  # 16 bit grey, which Pillow would clip at 255
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    colours = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    # What a profile of grey or of inks says of them says nothing of the red, green and blue they have become.
    profile = picture_file.profile_for("RGB", picture.info.get("icc_profile"))
    colours.info = {"icc_profile": profile} if profile else {}
    return colours


def open_mask(mask: Image, size: tuple[int, int]) -> "Picture":
    """A mask as 8-bit grey of the picture's `size` (width, height); soft edges stay soft, 128 and more count as white.

    Raises:
        InvalidInput: it has another size or covers nothing; the error names `mask`.
        UnsupportedMedia: it is in none of `picture_file.formats`.
    """
    cover = on_white(open_picture(mask, "mask")).convert("L")
    if cover.size != size:
        sizes = f"{cover.width} x {cover.height} pixels, the image {size[0]} x {size[1]}"
        raise InvalidInput("mask", f"has {sizes}; they must be the same")
    if not cover.point([0] * 128 + [255] * 128).getbbox():
        raise InvalidInput("mask", "covers nothing")
    return cover


def write_picture(picture: "Picture", format: ImageFormat = "png", quality: int = 90) -> Image:
    """Encode a picture with its colour profile if it fits, without EXIF. JPEG has no transparency: it gets a white
    ground.

    `quality`, 1 to 100, is for JPEG and WebP.

    Raises:
        InvalidInput: a side is longer than the format can have; names `format`.
    """
    if max(picture.size) > LONGEST_SIDES[format]:
        raise InvalidInput(
            "format",
            f"is {format}, which has at most {LONGEST_SIDES[format]:,} pixels a side; the picture has "
            f"{picture.width:,} x {picture.height:,}: choose png or make it smaller",
        )
    if format == "jpeg":
        picture = on_white(picture)
    file = io.BytesIO()
    extra = {"png": {"compress_level": 3}, "jpeg": {"quality": quality}, "webp": {"quality": quality}}[format]
    profile = picture_file.profile_for(picture.mode, picture.info.get("icc_profile"))
    try:
        # Pillow would write what it finds in `info` where an argument is missing, the place a photo was taken among it.
        picture.save(file, format=format.upper(), icc_profile=profile, exif=b"", **extra)
    except (OSError, ValueError) as error:
        raise InvalidInput("format", f"is {format}, in which this picture cannot be written: {error}") from None
    return Image(file.getvalue(), f"image/{format}")


def on_white(picture: "Picture") -> "Picture":
    """The picture as `RGB` on a white ground."""
    import PIL.Image

    if picture.mode == "RGBA":
        ground = PIL.Image.new("RGBA", picture.size, "white")
        ground.alpha_composite(picture)
        ground.info = dict(picture.info)
        return ground.convert("RGB")
    return picture.convert("RGB")


def check_size(width: int, height: int, *, field: str) -> None:
    """Raise `InvalidInput` naming `field` for more than 25 million pixels."""
    if width * height > MOST_PIXELS:
        raise InvalidInput(field, f"has {width} x {height} pixels; at most {MOST_PIXELS:,} are accepted")


def check_box(box: Box, size: tuple[int, int], field: str) -> tuple[int, int, int, int]:
    """`box` in whole pixels, at least one wide and high.

    Raises:
        InvalidInput: it is not four numbers, is empty, or leaves the picture of `size` (width, height).
    """
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise InvalidInput(field, "is four numbers: left, top, right, bottom")
    left, top, right, bottom = box
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise InvalidInput(field, f"is {_short(box)}, which is not a box inside {size[0]} x {size[1]} pixels")
    x, y = min(round(left), size[0] - 1), min(round(top), size[1] - 1)
    return x, y, max(x + 1, round(right)), max(y + 1, round(bottom))


def _short(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:g}' for number in numbers)})"
