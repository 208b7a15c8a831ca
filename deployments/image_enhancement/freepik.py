"""Image enhancement by Freepik: Magnific's upscaler, which keeps to the picture or invents detail."""

import base64
from typing import Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import in_thread
from ..callbacks import CalledBack
from ..capabilities import ImageEnhancement
from ..errors import InvalidInput
from ..freepik import FreepikOptions, connect, picture_of_task
from ..media import Image
from ..remote_http import Blame, Connection, Remote
from ..remote_media import received

SCALES = (2, 4)
SMALLEST = 160  # pixels of a side, and
LONGEST_SHAPE = 3  # times as long as wide: what is beyond either is not taken by the upscaler
BLAME = Blame("image", {"image": "image", "scale_factor": "scale"})


class FreepikImageEnhancement(CalledBack, Remote, ImageEnhancement):
    """Freepik's upscalers by Magnific (https://docs.freepik.com/api-reference/image-upscaler-precision-v2).

    `precision` keeps to what is there, `creative` adds what was not. A picture that is smaller or longer than they take
    is continued beyond its edges and cut again. A result has at most 25 million pixels. Transparency is enlarged here,
    by bicubic, and a colour profile is put back. The same call need not give the same picture; each is billed.
    """

    tells_progress: ClassVar[bool] = True  # its tasks, which a repeated call takes up again

    class Options(FreepikOptions):
        """Which upscaler, and how."""

        mode: Literal["precision", "creative"] = Field("precision")
        flavor: Literal["sublime", "photo", "photo_denoiser"] | None = Field(None, description="Of `precision`")
        sharpen: int = Field(7, ge=0, le=100, description="Of `precision`")
        smart_grain: int = Field(7, ge=0, le=100, description="Of `precision`")
        ultra_detail: int = Field(30, ge=0, le=100, description="Of `precision`")
        creativity: int = Field(0, ge=-10, le=10, description="Of `creative`")

    async def upscale(self, image: Image, *, scale: Literal[2, 4] = 2) -> Image:
        async with self._connected() as connection:
            if scale not in SCALES:
                raise InvalidInput("scale", f"is {scale!r}; one of {', '.join(map(str, SCALES))}")
            picture, sent = await in_thread(lambda cancelled: _prepared(image, scale))
            path, body = _request(connection.options, sent, scale)
            data = await picture_of_task(connection, path, body, BLAME, self.callbacks)
            return await in_thread(lambda cancelled: _finished(received(data, connection.host), picture, scale))

    def _connect(self, options: Options) -> Connection:
        return connect(options)


def _request(options: FreepikImageEnhancement.Options, png: bytes, scale: int) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"image": base64.b64encode(png).decode()}
    if options.mode == "creative":
        return "image-upscaler", body | {"scale_factor": f"{scale}x", "creativity": options.creativity}
    body |= {"scale_factor": scale, "sharpen": options.sharpen, "smart_grain": options.smart_grain}
    body |= {"ultra_detail": options.ultra_detail} | ({"flavor": options.flavor} if options.flavor else {})
    return "image-upscaler-precision-v2", body


def _prepared(image: Image, scale: int) -> tuple[Any, bytes]:
    """The picture, and the PNG to send: its colours, continued to a size the upscaler takes."""
    import numpy as np
    import PIL.Image

    picture = pixels.open_picture(image)
    pixels.check_size(picture.width * scale, picture.height * scale, field="scale")
    colours = np.asarray(picture.convert("RGB"))
    wide, high = _taken(picture.size)
    pixels.check_size(wide * scale, high * scale, field="image")  # of a long one, more than its own
    if (wide, high) != picture.size:
        beyond = ((0, high - picture.height), (0, wide - picture.width), (0, 0))
        colours = np.pad(colours, beyond, "symmetric")
    return picture, pixels.write_picture(PIL.Image.fromarray(colours)).data


def _taken(size: tuple[int, int]) -> tuple[int, int]:
    """The least size around `size` that the upscaler takes."""
    least = max(SMALLEST, -(-max(size) // LONGEST_SHAPE))
    return max(size[0], least), max(size[1], least)


def _finished(large: Any, picture: Any, scale: int) -> Image:
    """What came back, cut to the picture, of exactly its size times `scale`, with its transparency and its profile."""
    import PIL.Image

    wide, high = (side * scale for side in _taken(picture.size))
    size = (picture.width * scale, picture.height * scale)
    large = large.convert("RGB")
    if large.size != (wide, high):  # a provider may round, or bound what it makes
        large = large.resize((wide, high), PIL.Image.Resampling.LANCZOS)
    result = large.crop((0, 0, *size))
    result.info.clear()
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A").resize(size, PIL.Image.Resampling.BICUBIC))
    if profile := picture.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    return pixels.write_picture(result)
