"""OpenAI's moderations."""

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Discriminator, Field, Tag
from starlette.responses import JSONResponse, Response

from deployments.capabilities import MOST_TEXTS, Judgement, Judgements
from deployments.errors import InvalidInput
from deployments.unions import STRING_OR_LIST, by_type

from ....config.schema import DEFAULT
from ...json_body import read_json
from ...openapi_parts import answer, ref
from ...service import Service
from .shared import OpenAIBody, described, names, prepare


class ModeratedText(OpenAIBody):
    type: Literal["text"]
    text: str


class ModeratedImage(OpenAIBody):
    type: Literal["image_url"]
    image_url: dict[str, Any]


Part = Annotated[
    Annotated[ModeratedText, Tag("(text)")] | Annotated[ModeratedImage, Tag("(image_url)")],
    by_type("text", "image_url"),
]
Item = Annotated[
    Annotated[str, Tag("(string)")] | Annotated[Part, Tag("(part)")],
    Discriminator(lambda value: "(part)" if isinstance(value, dict | ModeratedText | ModeratedImage) else "(string)"),
]


class ModerationCreation(OpenAIBody):
    input: Annotated[
        Annotated[str, Tag("(string)")]
        | Annotated[list[Item], Field(min_length=1, max_length=MOST_TEXTS), Tag("(list)")],
        STRING_OR_LIST,
    ]
    model: str = DEFAULT

    @property
    def texts(self) -> list[str]:
        """The texts to judge: a list of strings is as many, the parts of a message are one.

        Raises:
            InvalidInput: there is a picture.
        """
        if isinstance(self.input, str):
            return [self.input]
        for place, part in enumerate(self.input):
            if isinstance(part, ModeratedImage):
                raise InvalidInput(f"input.{place}", "is a picture; no model here judges pictures")
        said = [part.text for part in self.input if isinstance(part, ModeratedText)]
        return [part for part in self.input if isinstance(part, str)] + (["\n".join(said)] if said else [])


def add(routes: APIRouter, service: Service) -> None:
    text_limit = service.config.gateway.body_limit(holds_media=False)
    graph = service.graph("moderation")

    @routes.post(
        "/moderations",
        summary="Judge texts",
        openapi_extra=described(ModerationCreation, {200: answer("The judgements", ref("Moderations"))}),
    )
    async def create_moderation(request: Request) -> Response:
        """The categories are those of the model that judges."""
        body = await read_json(request, ModerationCreation, *text_limit)
        with names({"texts": "input"}):
            run = await prepare(request, service, graph, "moderator", body.model, texts=body.texts)
            made: Judgements = await run.answer()
        head = {"id": f"modr-{uuid.uuid4().hex}", "model": run.run.steps[-1].model}
        return JSONResponse({**head, "results": [_result(one) for one in made.results]})


def _result(judgement: Judgement) -> dict[str, Any]:
    return {
        "flagged": judgement.flagged,
        "categories": {name: name in judgement.categories for name in judgement.scores},
        "category_scores": judgement.scores,
        "category_applied_input_types": {name: ["text"] for name in judgement.scores},
    }
