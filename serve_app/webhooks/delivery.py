"""Delivery of webhooks: signed, retried on a schedule, to public addresses only, every attempt logged."""

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
from .endpoints import DELIVERIES, Delivery, Webhook, delivery_of, give_up, webhook_of

# The wait before each attempt, in seconds: none, then 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h.
SCHEDULE_S = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
LONGEST_WAIT_S = 86400.0  # that a receiver may set with Retry-After
TIMEOUT_S = 15.0
MAX_REASON = 200  # characters of an attempt's error


@dataclass(frozen=True)
class _Result:
    """The result of one attempt. `retry_after_s` is the wait the receiver requested."""

    status_code: int | None
    error: str | None
    retry_after_s: float = 0.0


class Deliverer:
    """The sender of webhooks. No transaction is open while it waits for a receiver.

    Args:
        allowed: hosts and networks that may be called although they are not public.
        clock: gives seconds since the epoch; by default the database's clock, so that a host whose clock is wrong
            still signs with the right time.
        timeout_s: seconds to wait for a receiver's response.
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
            Seconds until the next attempt is due; None if there is none: the delivery succeeded, failed for good, was
            deleted, or its endpoint is disabled. A call before the attempt is due sends nothing and returns the
            remaining seconds.
        """
        loaded = await self._database.read(self._load, delivery_id)
        if loaded is None:
            return None
        delivery, hook, at = loaded
        if hook.disabled_at is not None:
            await self._database.write(give_up, delivery_id)
            return None
        if delivery.next_at is not None and delivery.next_at > at:
            return delivery.next_at - at
        started = time.monotonic()
        result = await self._post(delivery, hook, at)
        seconds = time.monotonic() - started
        return await self._database.write(self._record, delivery_id, at, seconds, result)

    def _now(self, connection: Connection) -> float:
        return self._clock() if self._clock else connection.execute(select(now())).scalar_one()

    def _load(self, connection: Connection, delivery_id: str) -> tuple[Delivery, Webhook, float] | None:
        row = connection.execute(
            DELIVERIES.where(deliveries.c.id == delivery_id, deliveries.c.status == "pending")
        ).first()
        if row is None:
            return None
        hook = connection.execute(select(webhooks).where(webhooks.c.id == row.webhook_id)).one()
        return delivery_of(row, ()), webhook_of(hook), self._now(connection)

    async def _post(self, delivery: Delivery, hook: Webhook, at: float) -> _Result:
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
                    # The status is enough: the body, of any length, is never read.
                    return _result_of(response, at)
        except (TimeoutError, httpx.TimeoutException):
            return _Result(None, f"no answer within {self._timeout_s:g} s")
        except InvalidInput as error:
            return _Result(None, f"the URL {error.detail}")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _Result(None, f"{type(error).__name__}: {error}"[:MAX_REASON])

    def _record(
        self, connection: Connection, delivery_id: str, at: float, seconds: float, result: _Result
    ) -> float | None:
        row = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id).with_for_update()).first()
        if row is None:  # deleted meanwhile
            return None
        number = int(row.attempts) + 1
        entry = {"number": number, "at": at, "seconds": seconds}
        connection.execute(
            delivery_attempts.insert().values(
                delivery_id=delivery_id, status_code=result.status_code, error=result.error, **entry
            )
        )
        change: dict[str, Any] = {"attempts": number, "next_at": None}
        wait = None
        if result.error is None:
            change |= {"status": "delivered", "delivered_at": self._now(connection)}
        elif row.status != "pending":
            pass  # another worker, which held the delivery too, has ended it
        elif result.status_code == 410:
            change["status"] = "failed"
            disabled = {"disabled_at": now(), "disabled_reason": "The receiver answered 410 Gone."}
            connection.execute(update_row(webhooks).where(webhooks.c.id == row.webhook_id).values(**disabled))
        elif number >= len(SCHEDULE_S):
            change["status"] = "failed"
        else:
            wait = max(float(SCHEDULE_S[number]), result.retry_after_s)
            change["next_at"] = self._now(connection) + wait
        connection.execute(update_row(deliveries).where(deliveries.c.id == delivery_id).values(**change))
        return wait


def _result_of(response: httpx.Response, at: float) -> _Result:
    if response.is_success:
        return _Result(response.status_code, None)
    error = f"answered {response.status_code}"
    if response.is_redirect:
        error += "; redirects are not followed"
    return _Result(
        response.status_code, error, min(retry_after(response.headers.get("retry-after"), at) or 0.0, LONGEST_WAIT_S)
    )


def _sign(secret: str, delivery: Delivery, at: float) -> str:
    when = datetime.fromtimestamp(int(at), UTC)
    return standardwebhooks.Webhook(secret).sign(delivery.id, when, delivery.body)
