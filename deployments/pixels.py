"""Pictures opened, checked and written by Pillow, for the backends that work on pixels."""

import io
import math
from typing import TYPE_CHECKING

from .capabilities import Box, ImageFormat
from .errors import InvalidInput, ModelUnavailable, UnsupportedMedia
from .media import IMAGE_FORMATS, Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_PIXELS = 25_000_000
LONGEST_SIDE = 8192  # of a picture that is made


def need_opencv() -> None:
    """Load OpenCV, so that the first call does not pay for it.

    Raises:
        ModelUnavailable: it cannot be loaded.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ModelUnavailable(f"OpenCV is needed: {error}") from None


def open_picture(image: Image, field: str = "image") -> "Picture":
    """The picture as `RGB`, or `RGBA` where it has transparency, turned the way its EXIF says it was held.

    Of an animation the first frame; 16 bit become 8.

    Raises:
        InvalidInput: it is damaged or has more than 25 million pixels; the error names `field`.
        UnsupportedMedia: it is not one of `IMAGE_FORMATS`.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(io.BytesIO(image.data), formats=list(IMAGE_FORMATS)) as picture:
            check_size(*picture.size, field=field)
            picture.load()
            turned = PIL.ImageOps.exif_transpose(picture)
    except PIL.UnidentifiedImageError:
        raise UnsupportedMedia(field, f"is not one of {', '.join(IMAGE_FORMATS)}") from None
    except PIL.Image.DecompressionBombError:
        raise InvalidInput(field, f"has more than {MOST_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInput(field, f"is damaged: {error}") from None
    if turned.mode.startswith("I"):  # 16 bit grey, which Pillow would clip at 255
        turned = turned.convert("I").point(lambda value: value / 256).convert("L")
    if turned.has_transparency_data:
        return turned.convert("RGBA")
    if turned.mode == "CMYK":
        turned.info.pop("icc_profile", None)  # it describes inks
    return turned.convert("RGB")


def open_mask(mask: Image, size: tuple[int, int]) -> "Picture":
    """A mask as 8-bit grey of the picture's `size` (width, height); soft edges stay soft, 128 and more count as white.

    Raises:
        InvalidInput: it has another size or covers nothing; the error names `mask`.
        UnsupportedMedia: it is not one of `IMAGE_FORMATS`.
    """
    cover = on_white(open_picture(mask, "mask")).convert("L")
    if cover.size != size:
        sizes = f"{cover.width} x {cover.height} pixels, the image {size[0]} x {size[1]}"
        raise InvalidInput("mask", f"has {sizes}; they must be the same")
    if not cover.point([0] * 128 + [255] * 128).getbbox():
        raise InvalidInput("mask", "covers nothing")
    return cover


def write_picture(picture: "Picture", format: ImageFormat = "png", quality: int = 90) -> Image:
    """Encode a picture with its colour profile, without EXIF. JPEG has no transparency: it gets a white ground.

    `quality`, 1 to 100, is for JPEG and WebP.
    """
    if format == "jpeg":
        picture = on_white(picture)
    file = io.BytesIO()
    extra = {"png": {"compress_level": 3}, "jpeg": {"quality": quality}, "webp": {"quality": quality}}[format]
    profile = picture.info.get("icc_profile")
    # Pillow would write what it finds in `info` where an argument is missing, the place a photo was taken among it.
    picture.save(file, format=format.upper(), icc_profile=profile, exif=b"", **extra)
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
