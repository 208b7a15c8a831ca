"""OpenAI's image routes: generation, edits and variations."""

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from deployments import pixels
from deployments.errors import InvalidInput
from deployments.media import Image

from ...json_body import read_json
from ...openapi_parts import answer, ref
from ...parsing_pool import in_parsing_pool
from ...service import Service
from .shared import DEFAULT_MODEL, FORM, described, form_body, names, prepare


class ImageCreation(BaseModel):
    model: str = DEFAULT_MODEL
    prompt: str
    n: int | None = Field(1, ge=1, le=8)
    size: str | None = Field(None, pattern=r"^(auto|\d{1,4}x\d{1,4})$")
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png"] | None = None

    @property
    def sides(self) -> tuple[int | None, int | None]:
        """Width and height in pixels; without a size, the model's own."""
        if not self.size or self.size == "auto":
            return None, None
        width, height = self.size.split("x")
        return int(width), int(height)


class ImageVariation(BaseModel):
    image: bytes
    model: str = DEFAULT_MODEL
    n: int | None = Field(1, ge=1, le=8)
    size: Literal["auto"] | None = None  # the size of the picture
    response_format: Literal["url", "b64_json"] | None = None


class ImageEdit(ImageVariation):
    prompt: str
    mask: bytes | None = None
    output_format: Literal["png"] | None = None


MADE = {200: answer("The pictures", ref("Images"))}


def add_generations(routes: APIRouter, service: Service) -> None:
    text_limit = service.config.gateway.body_limit(holds_media=False)
    image_generation = service.graph("image_generation")

    @routes.post("/images/generations", summary="Create images", openapi_extra=described(ImageCreation, MADE))
    async def images_generations(request: Request) -> Response:
        body = await read_json(request, ImageCreation, *text_limit)
        width, height = body.sides
        fields: dict[str, Any] = {"prompt": body.prompt, "count": body.n or 1, "width": width, "height": height}
        with names({"width": "size", "height": "size", "count": "n"}):
            run = await prepare(request, service, image_generation, "painter", body.model, **fields)
            images = (await run.answer()).images
        return _answer(images, body.response_format)


def add_edits(routes: APIRouter, service: Service) -> None:
    @routes.post("/images/edits", summary="Edit an image", openapi_extra=described(ImageEdit, MADE, FORM))
    async def images_edits(request: Request) -> Response:
        """With a mask, only its transparent area is painted; without a mask, the whole picture."""
        body = await form_body(request, ImageEdit, "picture as `image`")
        if body.mask is None:
            return await _changed(request, service, "image_edit", body, prompt=body.prompt)
        mask = await in_parsing_pool(_white_where_transparent, body.mask)
        return await _changed(request, service, "image_inpaint", body, prompt=body.prompt, mask=mask)


def add_variations(routes: APIRouter, service: Service) -> None:
    @routes.post("/images/variations", summary="Vary an image", openapi_extra=described(ImageVariation, MADE, FORM))
    async def images_variations(request: Request) -> Response:
        body = await form_body(request, ImageVariation, "picture as `image`")
        return await _changed(request, service, "image_vary", body)


async def _changed(request: Request, service: Service, graph: str, body: ImageVariation, **fields: Any) -> Response:
    """One run of a graph for each picture requested: each has its own price and seed."""

    async def changed() -> Image:
        run = await prepare(request, service, service.graph(graph), "painter", body.model, image=body.image, **fields)
        return (await run.answer()).image

    return _answer(await asyncio.gather(*(changed() for _ in range(body.n or 1))), body.response_format)


def _answer(images: Sequence[Image], form: Literal["url", "b64_json"] | None) -> Response:
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
