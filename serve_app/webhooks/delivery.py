"""Delivering webhooks: signed, on a schedule, to public addresses only, every attempt logged."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import standardwebhooks
from sqlalchemy import Connection, select
from sqlalchemy import update as update_row

from deployments.addresses import PublicTransport, check_url
from deployments.errors import InvalidInput
from deployments.retry_after import retry_after

from ..storage.database import Database
from ..storage.tables import deliveries, delivery_attempts, now, webhooks
from .endpoints import Delivery, Webhook, delivery_of, give_up, webhook_of

# Before each attempt, in seconds: at once, then 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h after the one before.
SCHEDULE_S = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
LONGEST_WAIT_S = 86400.0  # that a receiver may ask for
TIMEOUT_S = 15.0
MAX_REASON = 200  # characters of an attempt's error


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
            await self._database.write(give_up, delivery_id)
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
        return delivery_of(row, ()), webhook_of(hook), self._now(connection)

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


def _answer(response: httpx.Response, at: float) -> _Answer:
    if response.is_success:
        return _Answer(response.status_code, None)
    error = f"answered {response.status_code}"
    if response.is_redirect:
        error += "; redirects are not followed"
    return _Answer(
        response.status_code, error, min(retry_after(response.headers.get("retry-after"), at) or 0.0, LONGEST_WAIT_S)
    )


def _sign(secret: str, delivery: Delivery, at: float) -> str:
    when = datetime.fromtimestamp(int(at), UTC)
    return standardwebhooks.Webhook(secret).sign(delivery.id, when, delivery.body)
