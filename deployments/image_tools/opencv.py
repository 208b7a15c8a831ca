"""Picture tools by Pillow and OpenCV: sizes, formats, cut-outs and edges, without a network of any kind."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import Box, ImageFormat, ImageTools
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_PADDING = 1024
FITS = ("contain", "cover", "stretch")
FORMATS = ("png", "jpeg", "webp")


class OpenCVTools(Backend, ImageTools):
    """Pillow (https://python-pillow.org) for sizes and formats, OpenCV (https://opencv.org) for edges.

    Pictures stay what they were: transparency is kept (JPEG gets a white ground), the format too except where a mask or
    edges make it PNG; a GIF, BMP or AVIF becomes PNG. A picture held sideways is turned first, so all coordinates are
    those that people see. EXIF is left out. Made pictures have 1 to 8192 pixels a side and 25 million in all. Of an
    animation the first frame is taken.
    """

    class Options(BackendOptions):
        """How hard it tries."""

        jpeg_quality: int = Field(90, ge=1, le=100, description="For JPEG and WebP that `resize` and `crop` write")

    needs: ClassVar[Needs] = Needs(cpus=0.25, concurrency=4)

    def __init__(self) -> None:
        self._options: OpenCVTools.Options | None = None

    async def reconfigure(self, options: Options) -> None:
        """Take other options.

        Raises:
            ModelUnavailable: OpenCV or Pillow cannot be loaded.
        """
        await in_thread(lambda cancelled: _load())
        self._options = options

    async def resize(
        self,
        image: Image,
        *,
        width: int | None = None,
        height: int | None = None,
        fit: Literal["contain", "cover", "stretch"] = "contain",
    ) -> Image:
        """Resize by Lanczos. `contain`: the largest that fits, no borders; `cover`: filled, the rest cut off evenly."""
        options = self._ready()
        if width is None and height is None:
            raise InvalidInput("width", "and height are both missing; one of them is needed")
        if fit not in FITS:
            raise InvalidInput("fit", f"is {fit!r}; one of {', '.join(FITS)}")
        _check_side(width, "width")
        _check_side(height, "height")

        def work(cancelled: object) -> Image:
            import PIL.Image
            import PIL.ImageOps

            picture = pixels.open_picture(image)
            size = _size(picture.size, width, height, fit)
            if fit == "cover" and width and height:
                picture = PIL.ImageOps.fit(picture, size, PIL.Image.Resampling.LANCZOS)
            else:
                picture = picture.resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
            return pixels.write_picture(picture, _format(image), options.jpeg_quality)

        return await in_thread(work)

    async def crop(self, image: Image, box: Box) -> Image:
        options = self._ready()

        def work(cancelled: object) -> Image:
            picture = pixels.open_picture(image)
            cut = picture.crop(pixels.check_box(box, picture.size, "box"))
            return pixels.write_picture(cut, _format(image), options.jpeg_quality)

        return await in_thread(work)

    async def encode(self, image: Image, *, format: ImageFormat = "png", quality: int = 90) -> Image:
        self._ready()
        if format not in FORMATS:
            raise InvalidInput("format", f"is {format!r}; one of {', '.join(FORMATS)}")
        if not 1 <= quality <= 100:
            raise InvalidInput("quality", f"is {quality}; it goes from 1 to 100")
        return await in_thread(lambda _: pixels.write_picture(pixels.open_picture(image), format, int(quality)))

    async def extract_object(self, image: Image, mask: Image, *, padding: int = 0) -> Image:
        """Soft edges of the mask become soft edges of the cut-out; `padding` may reach beyond the picture."""
        self._ready()
        if not 0 <= padding <= MOST_PADDING:
            raise InvalidInput("padding", f"is {padding}; it goes from 0 to {MOST_PADDING}")
        return await in_thread(lambda _: _extract(image, mask, int(padding)))

    async def canny(self, image: Image, *, low: float = 100, high: float = 200) -> Image:
        self._ready()
        for field, value in (("low", low), ("high", high)):
            if not 0 <= value <= 1000:  # also false for NaN
                raise InvalidInput(field, f"is {value}; it goes from 0 to 1000")
        if low > high:
            raise InvalidInput("low", f"is {low:g}, above high, {high:g}")
        return await in_thread(lambda _: _canny(image, low, high))

    def _ready(self) -> "OpenCVTools.Options":
        if self._options is None:
            raise ModelUnavailable("the picture tools are not loaded yet")
        return self._options


def _load() -> None:
    try:
        import cv2  # noqa: F401 -- loaded once here, so that the first call does not pay for it
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ModelUnavailable(f"OpenCV and Pillow are needed: {error}") from None


def _format(image: Image) -> ImageFormat:
    return {"image/jpeg": "jpeg", "image/webp": "webp"}.get(image.media_type, "png")  # type: ignore[return-value]


def _check_side(value: int | None, field: str) -> None:
    if value is None:
        return
    if not (math.isfinite(value) and value == int(value) and 1 <= value <= pixels.LONGEST_SIDE):
        raise InvalidInput(field, f"is {value}; it goes from 1 to {pixels.LONGEST_SIDE} pixels")


def _size(now: tuple[int, int], width: int | None, height: int | None, fit: str) -> tuple[int, int]:
    """What a picture of size `now` becomes, with the named side's field in the error if it would be too large."""
    scale_x = width / now[0] if width else math.inf
    scale_y = height / now[1] if height else math.inf
    if width and height and fit != "contain":
        size = (int(width), int(height))
    else:
        scale = min(scale_x, scale_y)
        size = (max(1, round(now[0] * scale)), max(1, round(now[1] * scale)))
    field = "width" if width else "height"
    if max(size) > pixels.LONGEST_SIDE:
        raise InvalidInput(field, f"makes {size[0]} x {size[1]} pixels; at most {pixels.LONGEST_SIDE} a side are made")
    pixels.check_size(*size, field=field)
    return size


def _extract(image: Image, mask: Image, padding: int) -> Image:
    import PIL.ImageChops

    picture = pixels.open_picture(image).convert("RGBA")
    cover = pixels.open_mask(mask, picture.size)
    box = cover.point([0] * 128 + [255] * 128).getbbox()
    assert box is not None
    left, top, right, bottom = box[0] - padding, box[1] - padding, box[2] + padding, box[3] + padding
    pixels.check_size(right - left, bottom - top, field="padding")
    picture.putalpha(PIL.ImageChops.multiply(picture.getchannel("A"), cover))
    return pixels.write_picture(_visible_only(picture.crop((left, top, right, bottom))))


def _visible_only(picture: "Picture") -> "Picture":
    """Black where nothing is to be seen: what was cut away is not to be had back by dropping the alpha."""
    import PIL.Image

    clear = PIL.Image.new("RGBA", picture.size, (0, 0, 0, 0))
    clear.paste(picture, mask=picture.getchannel("A").point([0] + [255] * 255))
    clear.info = dict(picture.info)
    return clear


def _canny(image: Image, low: float, high: float) -> Image:
    import cv2
    import numpy as np
    import PIL.Image

    grey = np.asarray(pixels.on_white(pixels.open_picture(image)).convert("L"))
    return pixels.write_picture(PIL.Image.fromarray(cv2.Canny(grey, low, high)))
