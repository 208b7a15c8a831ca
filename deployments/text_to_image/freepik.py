"""Text to image by Freepik: Mystic, Imagen 3, Flux dev and Classic fast."""

import base64
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from ..callbacks import CalledBack
from ..errors import InvalidInput
from ..freepik import FreepikOptions, connect, picture_of_task
from ..remote_answers import MOST_MEDIA
from ..remote_http import Connection
from .remote_painter import BLAME, Limits, PainterOptions, RemotePainter, Wish

FEW_SHAPES = ("square_1_1", "social_story_9_16", "widescreen_16_9", "traditional_3_4", "classic_4_3")
MORE_SHAPES = (*FEW_SHAPES, "standard_3_2", "portrait_2_3", "horizontal_2_1", "vertical_1_2", "social_post_4_5")
ALL_SHAPES = (*MORE_SHAPES, "social_5_4", "smartphone_horizontal_20_9", "smartphone_vertical_9_20")


@dataclass(frozen=True)
class _Model:
    """One of Freepik's models, by the page of its reference."""

    path: str
    shapes: tuple[str, ...]  # a name ends with width and height
    limits: Limits


MODELS = {
    "mystic": _Model("mystic", FEW_SHAPES, Limits(frozenset())),  # all its styles paint these
    "imagen3": _Model("text-to-image/imagen3", FEW_SHAPES, Limits(frozenset())),
    "flux-dev": _Model("text-to-image/flux-dev", MORE_SHAPES, Limits(frozenset({"seed"}), seeds=(1, 2**32 - 1))),
    "classic-fast": _Model(
        "text-to-image",
        ALL_SHAPES,
        Limits(frozenset({"negative_prompt", "guidance", "seed"}), most_guidance=2.0, seeds=(0, 1_000_000)),
    ),
}


class FreepikTextToImage(CalledBack, RemotePainter):
    """Freepik's models (https://docs.freepik.com/api-reference), one chosen by `model`; billed per picture.

    They paint a few shapes, so the nearest to the sides of the call is painted, then scaled and cut to them. None takes
    steps; `flux-dev` and `classic-fast` take a seed, `classic-fast` a negative prompt and guidance (0 to 2) too, and a
    caller who names what the model does not take is refused. Freepik's filter is always on.
    """

    tells_progress: ClassVar[bool] = True  # its tasks, which a repeated call takes up again

    class Options(FreepikOptions, PainterOptions):
        """Which model, and what holds when the caller does not say."""

        model: Literal["mystic", "imagen3", "flux-dev", "classic-fast"] = Field("mystic")
        resolution: Literal["1k", "2k", "4k"] = Field("2k", description="What Mystic paints; it costs accordingly")
        style: Literal["realism", "fluid", "zen"] = Field("realism", description="Mystic's model")

    def limits(self, options: Options) -> Limits:
        return MODELS[options.model].limits

    async def paint(self, connection: Connection, wish: Wish) -> bytes:
        options, model = connection.options, MODELS[connection.options.model]
        shape = nearest_shape(model.shapes, wish.width, wish.height)
        body: dict[str, Any] = {"prompt": wish.prompt}
        if wish.seed is not None:
            body["seed"] = wish.seed
        if options.model == "classic-fast":
            return await _at_once(connection, model.path, body, shape, wish)
        body["aspect_ratio"] = shape
        if options.model == "mystic":
            body |= {"resolution": options.resolution, "model": options.style}
        return await picture_of_task(connection, model.path, body, BLAME, self.callbacks)

    def _connect(self, options: Options) -> Connection:
        return connect(options)


def nearest_shape(shapes: tuple[str, ...], width: int, height: int) -> str:
    """The shape nearest to these sides by its ratio."""

    def distance(shape: str) -> float:
        wide, high = (int(side) for side in shape.split("_")[-2:])
        return abs(math.log((width / height) / (wide / high)))

    return min(shapes, key=distance)


class _Picture(BaseModel):
    base64: str
    has_nsfw: bool = False


class _Pictures(BaseModel):
    data: list[_Picture] = Field(min_length=1)


async def _at_once(connection: Connection, path: str, body: dict[str, Any], shape: str, wish: Wish) -> bytes:
    """Classic fast, whose answer is the picture."""
    body |= {"num_images": 1, "image": {"size": shape}}
    if wish.negative_prompt:
        body["negative_prompt"] = wish.negative_prompt
    if wish.guidance is not None:
        body["guidance_scale"] = wish.guidance
    return await connection.ask("POST", path, _first, BLAME, most=MOST_MEDIA, creates=True, json=body)


def _first(body: bytes) -> bytes:
    picture = _Pictures.model_validate_json(body).data[0]
    if picture.has_nsfw:
        raise InvalidInput("prompt", "led to a picture that Freepik takes for unsafe")
    return base64.b64decode(picture.base64, validate=True)
