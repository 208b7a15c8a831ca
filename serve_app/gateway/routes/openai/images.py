"""OpenAI's image routes: generation, edits and variations."""

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from deployments import pixels
from deployments.errors import InvalidInput
from deployments.media import Image

from ....config.schema import DEFAULT
from ...json_body import read_json
from ...openapi_parts import answer, ref
from ...parsing_pool import in_parsing_pool
from ...service import Service
from .shared import FORM, OpenAIBody, described, form_body, names, prepare


class Pictures(OpenAIBody):
    """What the three bodies have in common."""

    model: str = DEFAULT
    n: int = Field(1, ge=1, le=8)
    size: str = Field("auto", pattern=r"^(auto|[1-9]\d{0,3}x[1-9]\d{0,3})$")
    response_format: Literal["url", "b64_json"] = "b64_json"
    user: str | None = None  # has no bearing on the picture

    @property
    def sides(self) -> tuple[int, int] | None:
        """Width and height in pixels; None leaves them to the model, or to the picture."""
        if self.size == "auto":
            return None
        width, height = self.size.split("x")
        return int(width), int(height)


class ImageCreation(Pictures):
    prompt: str
    output_format: Literal["png"] = "png"
    quality: Literal["auto", "standard"] = "auto"
    background: Literal["auto"] = "auto"
    moderation: Literal["auto", "low"] = "auto"
    stream: Literal[False] = False


class ImageVariation(Pictures):
    image: bytes


class ImageEdit(Pictures):
    image: list[bytes] = Field(min_length=1, max_length=5, description="The picture, then others whose look it takes")
    prompt: str
    mask: bytes | None = None
    output_format: Literal["png"] = "png"
    quality: Literal["auto", "standard"] = "auto"
    background: Literal["auto"] = "auto"
    stream: Literal[False] = False


MADE = {200: answer("The pictures", ref("Images"))}


def add_generations(routes: APIRouter, service: Service) -> None:
    text_limit = service.config.gateway.body_limit(holds_media=False)
    image_generation = service.graph("image_generation")

    @routes.post("/images/generations", summary="Create images", openapi_extra=described(ImageCreation, MADE))
    async def create_images(request: Request) -> Response:
        body = await read_json(request, ImageCreation, *text_limit)
        width, height = body.sides or (None, None)
        fields: dict[str, Any] = {"prompt": body.prompt, "count": body.n, "width": width, "height": height}
        with names({"width": "size", "height": "size", "count": "n"}):
            run = await prepare(request, service, image_generation, "painter", body.model, **fields)
            images = (await run.answer()).images
        return _answer(images, body.response_format)


def add_edits(routes: APIRouter, service: Service) -> None:
    @routes.post("/images/edits", summary="Edit an image", openapi_extra=described(ImageEdit, MADE, FORM))
    async def edit_image(request: Request) -> Response:
        """With a mask, only its transparent area is painted; without a mask, the whole picture. With a `size`, the
        picture and its mask are first scaled to cover it, and cut."""
        body = await form_body(request, ImageEdit, "picture as `image`")
        picture, *references = body.image
        fields: dict[str, Any] = {"prompt": body.prompt, "references": references}
        if body.mask is None:
            return await _changed(request, service, "image_edit", body, picture, **fields)
        mask = await in_parsing_pool(_white_where_transparent, body.mask)
        return await _changed(request, service, "image_inpaint", body, picture, **fields, mask=mask)


def add_variations(routes: APIRouter, service: Service) -> None:
    @routes.post("/images/variations", summary="Vary an image", openapi_extra=described(ImageVariation, MADE, FORM))
    async def vary_image(request: Request) -> Response:
        body = await form_body(request, ImageVariation, "picture as `image`")
        return await _changed(request, service, "image_vary", body, body.image)


async def _changed(
    request: Request, service: Service, graph: str, body: Pictures, picture: bytes, **fields: Any
) -> Response:
    """One run of a graph for each picture requested: each has its own price and seed."""
    fields["image"] = picture
    if sides := body.sides:
        for name in fields.keys() & {"image", "mask"}:
            fields[name] = await in_parsing_pool(_covering, fields[name], sides, name)

    async def changed() -> Image:
        run = await prepare(request, service, service.graph(graph), "painter", body.model, **fields)
        return (await run.answer()).image

    with names({"references": "image"}):
        return _answer(await asyncio.gather(*(changed() for _ in range(body.n))), body.response_format)


def _covering(picture: bytes | Image, sides: tuple[int, int], field: str) -> bytes | Image:
    """A picture scaled to cover these sides, and cut to them around its middle.

    Raises:
        InvalidInput, UnsupportedMedia: it is not a picture; names the field.
    """
    import PIL.ImageOps

    pixels.check_size(*sides, field="size")
    given = picture if isinstance(picture, Image) else Image(picture, "image/png")
    opened = pixels.open_picture(given, field)
    return picture if opened.size == sides else pixels.write_picture(PIL.ImageOps.fit(opened, sides))


def _answer(images: Sequence[Image], form: Literal["url", "b64_json"]) -> Response:
    if form == "url":
        data = [{"url": image.url} for image in images]
    else:
        data = [{"b64_json": base64.b64encode(image.data).decode()} for image in images]
    return JSONResponse({"created": int(time.time()), "data": data, "output_format": "png"})


def _white_where_transparent(mask: bytes) -> Image:
    """OpenAI's mask, which is transparent where to paint, as Medley's mask, which is white there.

    Raises:
        InvalidInput, UnsupportedMedia: at `mask`, if it is not a picture or has no transparency.
    """
    picture = pixels.open_picture(Image(mask, "image/png"), "mask")
    if picture.mode != "RGBA":
        raise InvalidInput("mask", "has no transparency: make the area to paint transparent")
    return pixels.write_picture(picture.getchannel("A").point([255] * 128 + [0] * 128))
