"""The routes `/api/v1/webhooks`: a user's endpoints, and the log of their deliveries."""

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from deployments.addresses import check_endpoint

from ...jobs import settlement
from ...jobs.view import iso
from ...storage.database import Database
from ...webhooks import endpoints
from ...webhooks.endpoints import Delivery, Webhook
from ..json_body import read_json
from ..openapi_parts import FLAG, JSON, PAGE_PARAMETERS, answer, body_in, operation, query, ref
from .paging import page, read_page


class NewWebhook(BaseModel):
    """A new endpoint. Without `events` it gets every event; without `secret` a secret is generated."""

    model_config = ConfigDict(extra="forbid")

    url: str
    events: list[str] = Field(default=[], max_length=20)
    secret: str | None = Field(default=None, max_length=100)


class ChangedWebhook(BaseModel):
    """A change of an endpoint; omitted fields stay as they are."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    events: list[str] | None = Field(default=None, max_length=20)
    enabled: bool | None = None


# The operations of OpenAPI
CREATE = operation(
    {201: answer("The webhook with its secret", ref("Webhook"))}, body=body_in({JSON: NewWebhook.model_json_schema()})
)
OWN = query("own", FLAG, "Only the webhooks of jobs' own URLs")
EVERY = operation({200: answer("A page of webhooks", ref("Webhooks"))}, [OWN, *PAGE_PARAMETERS])
ONE = operation({200: answer("The webhook", ref("Webhook"))})
CHANGE = operation(
    {200: answer("The webhook", ref("Webhook"))}, body=body_in({JSON: ChangedWebhook.model_json_schema()})
)
DELETE = operation({204: answer("It is deleted")})
QUEUED = operation({202: answer("The delivery", ref("Delivery"))})
LOG = operation({200: answer("A page of deliveries", ref("Deliveries"))}, PAGE_PARAMETERS)


def router(database: Database, allowed: Collection[str]) -> APIRouter:
    """The routes of webhooks. `allowed` are the private hosts that the operator lets webhooks reach."""
    routes = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])

    @routes.post("", summary="Create a webhook; the response has its secret", openapi_extra=CREATE)
    async def create_webhook(request: Request) -> Response:
        new = await read_json(request, NewWebhook)
        endpoints.check_events(new.events)
        await check_endpoint(new.url, allowed)
        created = await database.write(endpoints.create, _user(request), new.url, new.events, new.secret)
        return JSONResponse({**describe(created), "secret": created.secret}, 201)

    @routes.get("", summary="Your webhooks, newest first, but for those of jobs' own URLs", openapi_extra=EVERY)
    async def list_webhooks(request: Request) -> Response:
        limit, cursor = read_page(request)
        own = request.query_params.get("own") == "true"
        rows = await database.read(endpoints.page, _user(request), limit + 1, cursor, own)
        return page("webhooks", rows, limit, describe)

    @routes.get("/{webhook_id}", summary="One webhook", openapi_extra=ONE)
    async def get_webhook(request: Request, webhook_id: str) -> Response:
        return JSONResponse(describe(await database.read(endpoints.find, _user(request), webhook_id)))

    @routes.put("/{webhook_id}", summary="Change, enable or disable a webhook", openapi_extra=CHANGE)
    async def change_webhook(request: Request, webhook_id: str) -> Response:
        user = _user(request)
        body = await read_json(request, ChangedWebhook)
        await database.read(endpoints.find, user, webhook_id)  # a 404 before the URL's host is resolved
        if body.url is not None:
            await check_endpoint(body.url, allowed)
        changed = await database.write(
            endpoints.update, user, webhook_id, url=body.url, events=body.events, enabled=body.enabled
        )
        return JSONResponse(describe(changed))

    @routes.delete("/{webhook_id}", summary="Delete a webhook with its log", openapi_extra=DELETE)
    async def delete_webhook(request: Request, webhook_id: str) -> Response:
        await database.write(endpoints.delete, _user(request), webhook_id)
        return Response(status_code=204)

    @routes.post("/{webhook_id}/secret", summary="Replace the secret and return the new one", openapi_extra=ONE)
    async def replace_webhook_secret(request: Request, webhook_id: str) -> Response:
        changed = await database.write(endpoints.rotate, _user(request), webhook_id)
        return JSONResponse({**describe(changed), "secret": changed.secret})

    _add_deliveries(routes, database)
    return routes


def _add_deliveries(routes: APIRouter, database: Database) -> None:
    @routes.post("/{webhook_id}/test", summary="Send a `webhook.test` event to a webhook", openapi_extra=QUEUED)
    async def test_webhook(request: Request, webhook_id: str) -> Response:
        queued = await database.write(settlement.send_test, _user(request), webhook_id)
        return JSONResponse(describe_delivery(queued), 202)

    @routes.get(
        "/{webhook_id}/deliveries",
        summary="The deliveries to a webhook, newest first",
        openapi_extra=LOG,
    )
    async def list_deliveries(request: Request, webhook_id: str) -> Response:
        limit, cursor = read_page(request)
        rows = await database.read(endpoints.deliveries_page, _user(request), webhook_id, limit + 1, cursor)
        return page("deliveries", rows, limit, describe_delivery)

    @routes.post(
        "/{webhook_id}/deliveries/{delivery_id}/replay",
        summary="Send the body again",
        openapi_extra=QUEUED,
    )
    async def replay_delivery(request: Request, webhook_id: str, delivery_id: str) -> Response:
        queued = await database.write(settlement.replay, _user(request), webhook_id, delivery_id)
        return JSONResponse(describe_delivery(queued), 202)


def describe(webhook: Webhook) -> dict[str, Any]:
    """A webhook without its secret."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": list(webhook.events),
        "enabled": webhook.disabled_at is None,
        "created_at": iso(webhook.created_at),
        "disabled_at": iso(webhook.disabled_at),
        "disabled_reason": webhook.disabled_reason,
    }


def describe_delivery(delivery: Delivery) -> dict[str, Any]:
    """A delivery with its attempts; `body` is the text that is sent and signed."""
    return {
        "id": delivery.id,
        "webhook_id": delivery.webhook_id,
        "job_id": delivery.job_id,
        "type": delivery.type,
        "status": delivery.status,
        "body": delivery.body,
        "created_at": iso(delivery.created_at),
        "next_at": iso(delivery.next_at),
        "delivered_at": iso(delivery.delivered_at),
        "attempts": [
            {
                "number": attempt.number,
                "at": iso(attempt.at),
                "seconds": round(attempt.seconds, 4),
                "status_code": attempt.status_code,
                "error": attempt.error,
            }
            for attempt in delivery.attempts
        ],
    }


def _user(request: Request) -> str:
    return request.scope["identity"].user
