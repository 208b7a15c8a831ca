"""Webhook endpoints (Standard Webhooks): announced in the transaction that ends a job, delivered by the job workers.

An endpoint is a row that its user creates. A job's own `webhook_url` becomes a row too, with the single event
`job.own`, which no filter matches: its deliveries then have a log, and rotating its secret reveals a new one. All such
rows of a user share one secret, since a URL may be used by one job only. If the user has an endpoint with the same URL,
the job uses that endpoint instead.

Every delivery is a row with a fixed body; its id is the `webhook-id` of all its attempts.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select
from sqlalchemy import delete as delete_row
from sqlalchemy import update as update_row

from deployments.errors import InvalidInput

from ..errors import Conflict, NotFound, nearest
from ..storage.locks import ENDPOINTS_LOCK, lock
from ..storage.tables import deliveries, delivery_attempts, messages, new_id, now, webhooks

EVENTS = ("job.succeeded", "job.failed", "job.cancelled", "webhook.test")
OWN = ("job.own",)
MAX_ENDPOINTS = 20  # per user


@dataclass(frozen=True)
class Webhook:
    """An endpoint. Times are seconds since the epoch; empty `events` means every event."""

    id: str
    user_id: str
    url: str
    secret: str = field(repr=False)
    events: tuple[str, ...]
    created_at: float
    disabled_at: float | None
    disabled_reason: str | None


@dataclass(frozen=True)
class Attempt:
    """One attempt of a delivery; `number` counts from 1."""

    number: int
    at: float
    seconds: float
    status_code: int | None
    error: str | None


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one endpoint: `pending`, `delivered` or `failed`."""

    id: str
    webhook_id: str
    job_id: str | None
    type: str
    message_id: str
    body: str
    status: str
    next_at: float | None
    created_at: float
    delivered_at: float | None
    attempts: tuple[Attempt, ...] = ()


class Queued(NamedTuple):
    """A delivery that is to be queued, and its endpoint."""

    id: str
    webhook_id: str


# Deliveries with their bodies.
DELIVERIES = select(deliveries, messages.c.body).join(messages, messages.c.id == deliveries.c.message_id)


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def create(connection: Connection, user: str, url: str, events: Sequence[str], secret: str | None = None) -> Webhook:
    """Create an endpoint. The caller has checked the URL with `addresses.check_endpoint`.

    Raises:
        InvalidInput: an event is unknown, or the secret is not `whsec_` and base64 of 24 to 64 bytes.
        Conflict: the user has `MAX_ENDPOINTS` endpoints already.
    """
    check_events(events)
    if secret is not None:
        _check_secret(secret)
    lock(connection, ENDPOINTS_LOCK)
    mine = select(func.count()).where(webhooks.c.user_id == user, webhooks.c.events != json.dumps(OWN))
    if connection.execute(mine).scalar_one() >= MAX_ENDPOINTS:
        raise Conflict(f"You have {MAX_ENDPOINTS} webhooks already, the most a user may have. Delete one first.")
    return find(connection, user, _insert(connection, user, url, events, secret or new_secret()))


def find(connection: Connection, user: str, webhook_id: str) -> Webhook:
    """An endpoint of the user.

    Raises:
        NotFound: no endpoint has this id, or the endpoint is another user's.
    """
    row = connection.execute(select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.user_id == user)).first()
    if not row:
        raise NotFound(f"There is no webhook {webhook_id!r}.")
    return webhook_of(row)


def page(
    connection: Connection, user: str, limit: int, before_id: str | None = None, own: bool = False
) -> list[Webhook]:
    """The user's endpoints, newest first: the endpoints of jobs' own URLs if `own`, else the endpoints they created."""
    is_own = webhooks.c.events == json.dumps(OWN)
    query = select(webhooks).where(webhooks.c.user_id == user, is_own if own else ~is_own)
    if before_id:
        query = query.where(webhooks.c.id < before_id)
    return [webhook_of(row) for row in connection.execute(query.order_by(webhooks.c.id.desc()).limit(limit))]


def update(
    connection: Connection,
    user: str,
    webhook_id: str,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Change the values that are not None; pending deliveries follow. `enabled` also revives an endpoint after a 410.

    Raises:
        NotFound, InvalidInput: as `find` and `create`.
        Conflict: the URL or events of the endpoint of a job's own URL.
    """
    hook = find(connection, user, webhook_id)
    change: dict[str, Any] = {}
    if url is not None:
        change["url"] = url
    if events is not None:
        check_events(events)
        change["events"] = json.dumps(list(events))
    if change and hook.events == OWN:
        raise Conflict("This webhook is a job's own URL: it can only be enabled, disabled or deleted.")
    if enabled:
        change |= {"disabled_at": None, "disabled_reason": None}
    elif enabled is False and hook.disabled_at is None:
        change |= {"disabled_at": now(), "disabled_reason": "Disabled by its owner."}
    if change:
        connection.execute(update_row(webhooks).where(webhooks.c.id == webhook_id).values(**change))
    return find(connection, user, webhook_id)


def delete(connection: Connection, user: str, webhook_id: str) -> None:
    """Delete an endpoint with its log; its pending deliveries are not sent.

    Raises:
        NotFound: as `find`.
    """
    find(connection, user, webhook_id)
    connection.execute(delete_row(webhooks).where(webhooks.c.id == webhook_id))


def rotate(connection: Connection, user: str, webhook_id: str) -> Webhook:
    """Replace an endpoint's secret; the next attempt is signed with the new secret.

    Raises:
        NotFound: as `find`.
    """
    hook = find(connection, user, webhook_id)
    change = update_row(webhooks).where(webhooks.c.user_id == user).values(secret=new_secret())
    same_secret = webhooks.c.events == json.dumps(OWN) if hook.events == OWN else webhooks.c.id == webhook_id
    connection.execute(change.where(same_secret))
    return find(connection, user, webhook_id)


def announce(
    connection: Connection, *, user: str, type: str, data: str, job_id: str | None, url: str | None
) -> list[Queued]:
    """Create a delivery of an event for `url` and each of the user's endpoints that subscribe to the event, in the
    transaction in which the event happens.

    `data` is JSON text. Call this after the ledger's part of the transaction: it may wait for a lock.

    Returns:
        The deliveries, which the caller queues. An endpoint gets at most one, a disabled endpoint none.
    """
    mine = select(webhooks).where(webhooks.c.user_id == user, webhooks.c.disabled_at.is_(None))
    hooks = [webhook_of(row) for row in connection.execute(mine.where(webhooks.c.events != json.dumps(OWN)))]
    chosen = {hook.id: hook for hook in hooks if not hook.events or type in hook.events}
    own = _own(connection, user, url) if url else None
    if own and own.disabled_at is None:
        chosen[own.id] = own
    if not chosen:
        return []
    message = _message(connection, type, data)
    return [Queued(_deliver_row(connection, hook, job_id, type, message), hook.id) for hook in chosen.values()]


def make_test(connection: Connection, user: str, webhook_id: str) -> Delivery:
    """Create a delivery of a `webhook.test` event for one endpoint, whatever its filter; the caller queues it.

    Raises:
        NotFound, Conflict: as `make_replay`.
    """
    hook = _enabled(connection, user, webhook_id)
    message = _message(connection, "webhook.test", json.dumps({"webhook": hook.id}))
    delivery_id = _deliver_row(connection, hook, None, "webhook.test", message)
    return find_delivery(connection, webhook_id, delivery_id)


def make_replay(connection: Connection, user: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Create a new delivery with the body of an earlier one; the caller queues it.

    Raises:
        NotFound: the user has no such endpoint or delivery.
        Conflict: the endpoint is disabled.
    """
    hook = _enabled(connection, user, webhook_id)
    old = find_delivery(connection, webhook_id, delivery_id)
    again = _deliver_row(connection, hook, old.job_id, old.type, old.message_id)
    return find_delivery(connection, webhook_id, again)


def find_delivery(connection: Connection, webhook_id: str, delivery_id: str) -> Delivery:
    """One delivery of an endpoint, with its attempts.

    Raises:
        NotFound: the endpoint has no such delivery.
    """
    query = DELIVERIES.where(deliveries.c.webhook_id == webhook_id, deliveries.c.id == delivery_id)
    matching = _with_attempts(connection, connection.execute(query).all())
    if not matching:
        raise NotFound(f"There is no delivery {delivery_id!r}.")
    return matching[0]


def deliveries_page(
    connection: Connection, user: str, webhook_id: str, limit: int, before_id: str | None = None
) -> list[Delivery]:
    """The log of an endpoint, newest first, with every attempt.

    Raises:
        NotFound: as `find`.
    """
    find(connection, user, webhook_id)
    query = DELIVERIES.where(deliveries.c.webhook_id == webhook_id)
    if before_id:
        query = query.where(deliveries.c.id < before_id)
    return _with_attempts(connection, connection.execute(query.order_by(deliveries.c.id.desc()).limit(limit)).all())


def check_events(events: Sequence[str]) -> None:
    """Check that event types exist.

    Raises:
        InvalidInput: at `events`, if one does not; names the nearest.
    """
    for event in events:
        if event not in EVENTS:
            raise InvalidInput("events", f"there is no event {event!r}.{nearest(event, EVENTS)}")


def _check_secret(secret: str) -> None:
    try:
        length = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if not secret.startswith("whsec_") or not 24 <= length <= 64:
        raise InvalidInput("secret", "must be whsec_ followed by the base64 of 24 to 64 random bytes.")


def _own(connection: Connection, user: str, url: str) -> Webhook:
    """The endpoint for a job's own URL: the user's endpoint with this URL, enabled first; else a new endpoint."""
    same_url = select(webhooks).where(webhooks.c.user_id == user, webhooks.c.url == url)
    same_url = same_url.order_by(webhooks.c.disabled_at.is_not(None), webhooks.c.id)
    row = connection.execute(same_url).first()
    if not row:
        lock(connection, ENDPOINTS_LOCK)
        row = connection.execute(same_url).first()
    if not row:
        others = select(webhooks.c.secret).where(webhooks.c.user_id == user, webhooks.c.events == json.dumps(OWN))
        secret = connection.execute(others.limit(1)).scalar() or new_secret()
        return find(connection, user, _insert(connection, user, url, OWN, secret))
    return webhook_of(row)


def _insert(connection: Connection, user: str, url: str, events: Sequence[str], secret: str) -> str:
    row = {"id": new_id("whk"), "user_id": user, "url": url, "secret": secret, "events": json.dumps(list(events))}
    connection.execute(webhooks.insert().values(**row, created_at=now()))
    return row["id"]


def _enabled(connection: Connection, user: str, webhook_id: str) -> Webhook:
    hook = find(connection, user, webhook_id)
    if hook.disabled_at is not None:
        raise Conflict(f"The webhook is disabled: {hook.disabled_reason} Enable it first.")
    return hook


def _message(connection: Connection, type: str, data: str) -> str:
    """Store the body of an event, once for all its deliveries; returns its id."""
    at = datetime.fromtimestamp(connection.execute(select(now())).scalar_one(), UTC)
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = f'{{"type":{json.dumps(type)},"timestamp":"{stamp}","data":{data}}}'
    message_id = new_id("evt")
    connection.execute(messages.insert().values(id=message_id, body=body, created_at=now()))
    return message_id


def _deliver_row(connection: Connection, hook: Webhook, job_id: str | None, type: str, message_id: str) -> str:
    row = {"id": new_id("msg"), "webhook_id": hook.id, "user_id": hook.user_id, "job_id": job_id, "type": type}
    start = {"message_id": message_id, "status": "pending", "attempts": 0}
    connection.execute(deliveries.insert().values(**row, **start, created_at=now()))
    return str(row["id"])


def give_up(connection: Connection, delivery_id: str) -> None:
    pending = update_row(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.status == "pending")
    connection.execute(pending.values(status="failed", next_at=None))


def _with_attempts(connection: Connection, rows: Sequence[Row[Any]]) -> list[Delivery]:
    query = select(delivery_attempts).where(delivery_attempts.c.delivery_id.in_([row.id for row in rows]))
    attempts = connection.execute(query.order_by(delivery_attempts.c.number)).all()
    return [delivery_of(row, [attempt for attempt in attempts if attempt.delivery_id == row.id]) for row in rows]


def webhook_of(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        user_id=row.user_id,
        url=row.url,
        secret=row.secret,
        events=tuple(json.loads(row.events)),
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
    )


def delivery_of(row: Row[Any], attempts: Sequence[Row[Any]]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        job_id=row.job_id,
        type=row.type,
        message_id=row.message_id,
        body=row.body,
        status=row.status,
        next_at=row.next_at,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        attempts=tuple(Attempt(row.number, row.at, row.seconds, row.status_code, row.error) for row in attempts),
    )
