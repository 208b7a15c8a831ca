"""Settlement, in the transaction that ends a job or calls a webhook: credits are settled, deliveries are queued."""

import json

from sqlalchemy import Connection

from ..accounts import ledger
from ..storage.tables import new_id
from ..webhooks import endpoints
from ..webhooks.endpoints import Delivery
from .job import SYSTEM, WEBHOOK, Job, NewJob
from .rows import enqueue, step_records
from .view import job_view


def after_end(connection: Connection, job: Job, charged: int, listens: bool) -> None:
    """Settle the credits of an ended job, and queue the webhook deliveries that announce its end.

    Args:
        listens: whether any webhook of the user may subscribe to the event.
    """
    if job.price:
        ledger.settle(connection, job.user_id, job.id, job.submission, job.price, charged)
    if job.webhook_url or listens:
        data = json.dumps(job_view(job, step_records(connection, job.id)))
        deliveries = endpoints.announce(
            connection,
            user=job.user_id,
            type=f"job.{job.status}",
            data=data,
            job_id=job.id,
            url=job.webhook_url,
        )
        for delivery_id in deliveries:
            queue_delivery(connection, delivery_id)


def send_test(connection: Connection, user: str, webhook_id: str) -> Delivery:
    """Queue a `webhook.test` event for one endpoint; raises as `endpoints.make_test`."""
    return _queued(connection, endpoints.make_test(connection, user, webhook_id))


def replay(connection: Connection, user: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Queue a delivery's body once more; raises as `endpoints.make_replay`."""
    return _queued(connection, endpoints.make_replay(connection, user, webhook_id, delivery_id))


def queue_delivery(connection: Connection, delivery_id: str) -> None:
    """Queue a delivery as a system job."""
    enqueue(connection, NewJob(new_id("job"), SYSTEM, "deliver", json.dumps(delivery_id), WEBHOOK))


def _queued(connection: Connection, delivery: Delivery) -> Delivery:
    queue_delivery(connection, delivery.id)
    return delivery
