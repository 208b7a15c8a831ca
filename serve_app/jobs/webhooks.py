"""Webhooks: Standard Webhooks, announced in the transaction that ends a job and delivered by the queue's workers.

An endpoint is a row its user makes. A job's own `webhook_url` becomes a row too, with the one event `job.own`, which no
filter matches: its deliveries then have a log, and its secret can be had by rotating it. All such rows of a user have
one secret, since a URL may be a job's alone. Where the user has an endpoint of that very URL, that is used instead.

Every delivery is a row as well, its body fixed; its id is the `webhook-id` of all of its attempts.
"""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import standardwebhooks
from sqlalchemy import Connection, Row, func, select
from sqlalchemy import delete as delete_row
from sqlalchemy import update as update_row

from deployments.errors import InvalidInput

from ..errors import Conflict, NotFound, nearest
from ..storage.database import ENDPOINTS_LOCK, Database, lock
from ..storage.tables import deliveries, delivery_attempts, new_id, now, webhooks
from .addresses import PublicTransport, check_url

EVENTS = ("job.succeeded", "job.failed", "job.cancelled", "webhook.test")
OWN = ("job.own",)
MAX_ENDPOINTS = 20  # a user
# Before each attempt, in seconds: at once, then 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h after the one before.
SCHEDULE_S = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
LONGEST_WAIT_S = 86400.0  # that a receiver may ask for
TIMEOUT_S = 15.0
MAX_REASON = 200  # characters of an attempt's error

Queue = Callable[[Connection, str, float], None]  # (connection, delivery, delay in seconds): an entry on the job queue


@dataclass(frozen=True)
class Webhook:
    """An endpoint. Times are seconds since the epoch; no `events` means all of them."""

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
    """One try of a delivery; `number` counts from 1."""

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
    body: str
    status: str
    next_at: float | None
    created_at: float
    delivered_at: float | None
    attempts: tuple[Attempt, ...] = ()


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def create(connection: Connection, user: str, url: str, events: Sequence[str], secret: str | None = None) -> Webhook:
    """A new endpoint. The URL is taken as it is: `addresses.check_endpoint` comes before.

    Raises:
        InvalidInput: an unknown event, or a secret that is not `whsec_` and base64 of 24 to 64 bytes.
        Conflict: the user has as many endpoints as one may have.
    """
    check_events(events)
    if secret is not None:
        _check_secret(secret)
    lock(connection, ENDPOINTS_LOCK)
    mine = select(func.count()).where(webhooks.c.user_id == user, webhooks.c.events != json.dumps(OWN))
    if connection.execute(mine).scalar_one() >= MAX_ENDPOINTS:
        raise Conflict(f"There are {MAX_ENDPOINTS} webhooks already, the most one user may have.")
    return find(connection, user, _insert(connection, user, url, events, secret or new_secret()))


def find(connection: Connection, user: str, webhook_id: str) -> Webhook:
    """The user's endpoint.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    found = connection.execute(select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.user_id == user)).first()
    if not found:
        raise NotFound(f"There is no webhook {webhook_id!r}.")
    return _webhook(found)


def page(
    connection: Connection, user: str, limit: int, before_id: str | None = None, own: bool = False
) -> list[Webhook]:
    """The user's endpoints, newest first; `own`: those made of jobs' own URLs, which are not among the others."""
    is_own = webhooks.c.events == json.dumps(OWN)
    asked = select(webhooks).where(webhooks.c.user_id == user, is_own if own else ~is_own)
    if before_id:
        asked = asked.where(webhooks.c.id < before_id)
    return [_webhook(row) for row in connection.execute(asked.order_by(webhooks.c.id.desc()).limit(limit))]


def update(
    connection: Connection,
    user: str,
    webhook_id: str,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Change what is given; deliveries under way follow. Enabling one also undoes what a 410 did.

    Raises:
        NotFound, InvalidInput: as `find` and `create`.
        Conflict: the URL or events of an endpoint made of a job's own URL.
    """
    found = find(connection, user, webhook_id)
    change: dict[str, Any] = {}
    if url is not None:
        change["url"] = url
    if events is not None:
        check_events(events)
        change["events"] = json.dumps(list(events))
    if change and found.events == OWN:
        raise Conflict("This webhook is a job's own URL: it can be enabled, disabled and deleted only.")
    if enabled:
        change |= {"disabled_at": None, "disabled_reason": None}
    elif enabled is False and found.disabled_at is None:
        change |= {"disabled_at": now(), "disabled_reason": "Disabled by its owner."}
    if change:
        connection.execute(update_row(webhooks).where(webhooks.c.id == webhook_id).values(**change))
    return find(connection, user, webhook_id)


def delete(connection: Connection, user: str, webhook_id: str) -> None:
    """Remove an endpoint with its log; what is under way to it is over.

    Raises:
        NotFound: as `find`.
    """
    find(connection, user, webhook_id)
    connection.execute(delete_row(webhooks).where(webhooks.c.id == webhook_id))


def rotate(connection: Connection, user: str, webhook_id: str) -> Webhook:
    """Give an endpoint a new secret, which the next attempt is signed with already.

    Raises:
        NotFound: as `find`.
    """
    found = find(connection, user, webhook_id)
    change = update_row(webhooks).where(webhooks.c.user_id == user).values(secret=new_secret())
    same = webhooks.c.events == json.dumps(OWN) if found.events == OWN else webhooks.c.id == webhook_id
    connection.execute(change.where(same))
    return find(connection, user, webhook_id)


def announce(
    connection: Connection, *, user: str, type: str, data: str, job_id: str | None, url: str | None, queue: Queue
) -> int:
    """Queue an event, within the transaction it happens in, for each endpoint of the user that wants it and for `url`.

    `data` is JSON text. Comes after the ledger's part of the transaction: it may wait for another one.

    Returns:
        How many deliveries were queued. An endpoint gets at most one, and a disabled one none.
    """
    mine = select(webhooks).where(webhooks.c.user_id == user, webhooks.c.disabled_at.is_(None))
    wanting = [_webhook(row) for row in connection.execute(mine.where(webhooks.c.events != json.dumps(OWN)))]
    chosen = {hook.id: hook for hook in wanting if not hook.events or type in hook.events}
    own = _own(connection, user, url) if url else None
    if own and own.disabled_at is None:
        chosen[own.id] = own
    if chosen:
        body = _body(connection, type, data)
        for hook in chosen.values():
            queue(connection, _deliver_row(connection, hook, job_id, type, body), 0.0)
    return len(chosen)


def send_test(connection: Connection, user: str, webhook_id: str, queue: Queue) -> Delivery:
    """Queue a `webhook.test` event for one endpoint, whatever its filter.

    Raises:
        NotFound, Conflict: as `replay`.
    """
    hook = _enabled(connection, user, webhook_id)
    body = _body(connection, "webhook.test", json.dumps({"webhook": hook.id}))
    delivery_id = _deliver_row(connection, hook, None, "webhook.test", body)
    queue(connection, delivery_id, 0.0)
    return find_delivery(connection, webhook_id, delivery_id)


def replay(connection: Connection, user: str, webhook_id: str, delivery_id: str, queue: Queue) -> Delivery:
    """Queue a delivery's body once more, as a new delivery.

    Raises:
        NotFound: there is no such endpoint or delivery of the user's.
        Conflict: the endpoint is disabled.
    """
    hook = _enabled(connection, user, webhook_id)
    old = find_delivery(connection, webhook_id, delivery_id)
    again = _deliver_row(connection, hook, old.job_id, old.type, old.body)
    queue(connection, again, 0.0)
    return find_delivery(connection, webhook_id, again)


def find_delivery(connection: Connection, webhook_id: str, delivery_id: str) -> Delivery:
    """One delivery of an endpoint, with its attempts.

    Raises:
        NotFound: there is none.
    """
    asked = select(deliveries).where(deliveries.c.webhook_id == webhook_id, deliveries.c.id == delivery_id)
    found = _with_attempts(connection, connection.execute(asked).all())
    if not found:
        raise NotFound(f"There is no delivery {delivery_id!r}.")
    return found[0]


def deliveries_page(
    connection: Connection, user: str, webhook_id: str, limit: int, before_id: str | None = None
) -> list[Delivery]:
    """The log of an endpoint, newest first, with every attempt.

    Raises:
        NotFound: as `find`.
    """
    find(connection, user, webhook_id)
    asked = select(deliveries).where(deliveries.c.webhook_id == webhook_id)
    if before_id:
        asked = asked.where(deliveries.c.id < before_id)
    return _with_attempts(connection, connection.execute(asked.order_by(deliveries.c.id.desc()).limit(limit)).all())


def check_events(events: Sequence[str]) -> None:
    """Refuse event types that there are not.

    Raises:
        InvalidInput: at `events`; names the nearest.
    """
    for event in events:
        if event not in EVENTS:
            raise InvalidInput("events", f"there is no event {event!r}.{nearest(event, EVENTS)}")


@dataclass(frozen=True)
class _Answer:
    """What came of one attempt. `asked_s` is the wait the receiver asked for."""

    status_code: int | None
    error: str | None
    asked_s: float = 0.0


class Deliverer:
    """Makes the attempts. No transaction is open while a receiver is waited for.

    `clock` gives seconds since the epoch; without one it is the database's, so that a host whose clock is wrong still
    signs with the right time.
    """

    def __init__(
        self,
        database: Database,
        allowed: Collection[str] = (),
        clock: Callable[[], float] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._database = database
        self._allowed = allowed
        self._clock = clock
        self._timeout_s = timeout_s
        self._tls = httpx.create_ssl_context()  # reads all certificates, so once

    async def deliver(self, delivery_id: str) -> float | None:
        """Make one attempt, and log it.

        Returns:
            Seconds until the next attempt is due; None when it is over: delivered, failed for good, disabled, deleted.
            A call before its time sends nothing and says how long there is still to wait.
        """
        found = await self._database.read(self._load, delivery_id)
        if found is None:
            return None
        delivery, hook, at = found
        if hook.disabled_at is not None:
            await self._database.write(_give_up, delivery_id)
            return None
        if delivery.next_at is not None and delivery.next_at > at:
            return delivery.next_at - at
        started = time.monotonic()
        answer = await self._post(delivery, hook, at)
        seconds = time.monotonic() - started
        return await self._database.write(self._record, delivery_id, at, seconds, answer)

    def _now(self, connection: Connection) -> float:
        return self._clock() if self._clock else connection.execute(select(now())).scalar_one()

    def _load(self, connection: Connection, delivery_id: str) -> tuple[Delivery, Webhook, float] | None:
        row = connection.execute(
            select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.status == "pending")
        ).first()
        if row is None:
            return None
        hook = connection.execute(select(webhooks).where(webhooks.c.id == row.webhook_id)).one()
        return _delivery(row, ()), _webhook(hook), self._now(connection)

    async def _post(self, delivery: Delivery, hook: Webhook, at: float) -> _Answer:
        body = delivery.body.encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "Medley-Webhooks/1",
            "accept-encoding": "identity",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(at)),
            "webhook-signature": _sign(hook.secret, delivery, at),
        }
        try:
            check_url(hook.url, self._allowed)
            async with asyncio.timeout(self._timeout_s):
                transport = PublicTransport(self._allowed, self._tls)
                async with (
                    httpx.AsyncClient(transport=transport, trust_env=False, timeout=self._timeout_s) as client,
                    client.stream("POST", hook.url, content=body, headers=headers, follow_redirects=False) as response,
                ):
                    # The status says it all: the body, of any length, is never read.
                    return _answer(response, at)
        except (TimeoutError, httpx.TimeoutException):
            return _Answer(None, f"no answer within {self._timeout_s:g} s")
        except InvalidInput as error:
            return _Answer(None, f"the URL {error.detail}")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _Answer(None, f"{type(error).__name__}: {error}"[:MAX_REASON])

    def _record(
        self, connection: Connection, delivery_id: str, at: float, seconds: float, answer: _Answer
    ) -> float | None:
        row = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id).with_for_update()).first()
        if row is None:  # deleted meanwhile
            return None
        number = int(row.attempts) + 1
        entry = {"number": number, "at": at, "seconds": seconds}
        connection.execute(
            delivery_attempts.insert().values(
                delivery_id=delivery_id, status_code=answer.status_code, error=answer.error, **entry
            )
        )
        change: dict[str, Any] = {"attempts": number, "next_at": None}
        wait = None
        if answer.error is None:
            change |= {"status": "delivered", "delivered_at": self._now(connection)}
        elif row.status != "pending":
            pass  # another worker, which held it too, has ended it
        elif answer.status_code == 410:
            change["status"] = "failed"
            gone = {"disabled_at": now(), "disabled_reason": "The receiver answered 410 Gone."}
            connection.execute(update_row(webhooks).where(webhooks.c.id == row.webhook_id).values(**gone))
        elif number >= len(SCHEDULE_S):
            change["status"] = "failed"
        else:
            wait = max(float(SCHEDULE_S[number]), answer.asked_s)
            change["next_at"] = self._now(connection) + wait
        connection.execute(update_row(deliveries).where(deliveries.c.id == delivery_id).values(**change))
        return wait


def retry_after(value: str | None, at: float) -> float:
    """The seconds of a Retry-After header, a number or a date, from 0 to a day; 0 for one that is neither.

    `at` is the present, in seconds since the epoch.
    """
    if not value:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:12]), LONGEST_WAIT_S))
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    until = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return min(max(until - at, 0.0), LONGEST_WAIT_S)


def _answer(response: httpx.Response, at: float) -> _Answer:
    if response.is_success:
        return _Answer(response.status_code, None)
    error = f"answered {response.status_code}"
    if response.is_redirect:
        error += "; redirects are not followed"
    return _Answer(response.status_code, error, retry_after(response.headers.get("retry-after"), at))


def _sign(secret: str, delivery: Delivery, at: float) -> str:
    when = datetime.fromtimestamp(int(at), UTC)
    return standardwebhooks.Webhook(secret).sign(delivery.id, when, delivery.body)


def _check_secret(secret: str) -> None:
    try:
        length = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if not secret.startswith("whsec_") or not 24 <= length <= 64:
        raise InvalidInput("secret", "must be whsec_ followed by the base64 of 24 to 64 random bytes.")


def _own(connection: Connection, user: str, url: str) -> Webhook:
    """The endpoint a job's own URL goes to: the user's of that URL, an enabled one first; else one made now."""
    asked = select(webhooks).where(webhooks.c.user_id == user, webhooks.c.url == url)
    asked = asked.order_by(webhooks.c.disabled_at.is_not(None), webhooks.c.id)
    found = connection.execute(asked).first()
    if not found:
        lock(connection, ENDPOINTS_LOCK)
        found = connection.execute(asked).first()
    if not found:
        others = select(webhooks.c.secret).where(webhooks.c.user_id == user, webhooks.c.events == json.dumps(OWN))
        secret = connection.execute(others.limit(1)).scalar() or new_secret()
        return find(connection, user, _insert(connection, user, url, OWN, secret))
    return _webhook(found)


def _insert(connection: Connection, user: str, url: str, events: Sequence[str], secret: str) -> str:
    row = {"id": new_id("whk"), "user_id": user, "url": url, "secret": secret, "events": json.dumps(list(events))}
    connection.execute(webhooks.insert().values(**row, created_at=now()))
    return row["id"]


def _enabled(connection: Connection, user: str, webhook_id: str) -> Webhook:
    hook = find(connection, user, webhook_id)
    if hook.disabled_at is not None:
        raise Conflict(f"The webhook is disabled: {hook.disabled_reason} Enable it first.")
    return hook


def _body(connection: Connection, type: str, data: str) -> str:
    at = datetime.fromtimestamp(connection.execute(select(now())).scalar_one(), UTC)
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'{{"type":{json.dumps(type)},"timestamp":"{stamp}","data":{data}}}'


def _deliver_row(connection: Connection, hook: Webhook, job_id: str | None, type: str, body: str) -> str:
    row = {"id": new_id("msg"), "webhook_id": hook.id, "user_id": hook.user_id, "job_id": job_id, "type": type}
    connection.execute(deliveries.insert().values(**row, body=body, status="pending", attempts=0, created_at=now()))
    return str(row["id"])


def _give_up(connection: Connection, delivery_id: str) -> None:
    over = update_row(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.status == "pending")
    connection.execute(over.values(status="failed", next_at=None))


def _with_attempts(connection: Connection, rows: Sequence[Row[Any]]) -> list[Delivery]:
    asked = select(delivery_attempts).where(delivery_attempts.c.delivery_id.in_([row.id for row in rows]))
    tried = connection.execute(asked.order_by(delivery_attempts.c.number)).all()
    return [_delivery(row, [one for one in tried if one.delivery_id == row.id]) for row in rows]


def _webhook(row: Row[Any]) -> Webhook:
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


def _delivery(row: Row[Any], tried: Sequence[Row[Any]]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        job_id=row.job_id,
        type=row.type,
        body=row.body,
        status=row.status,
        next_at=row.next_at,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        attempts=tuple(Attempt(one.number, one.at, one.seconds, one.status_code, one.error) for one in tried),
    )
