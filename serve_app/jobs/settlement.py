"""Settlement, in the transaction that ends a job or calls a webhook: credits are settled, deliveries are queued."""

import json

from sqlalchemy import Connection

from ..accounts import ledger
from ..storage.tables import new_id
from ..webhooks import endpoints
from ..webhooks.endpoints import Delivery, Queued
from .job import DELIVERY_RANK, WEBHOOK, Job, NewJob
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
        for delivery in deliveries:
            queue_delivery(connection, delivery)


def send_test(connection: Connection, user: str, webhook_id: str) -> Delivery:
    """Queue a `webhook.test` event for one endpoint; raises as `endpoints.make_test`."""
    return _queued(connection, endpoints.make_test(connection, user, webhook_id))


def replay(connection: Connection, user: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Queue a delivery's body once more; raises as `endpoints.make_replay`."""
    return _queued(connection, endpoints.make_replay(connection, user, webhook_id, delivery_id))


def queue_delivery(connection: Connection, delivery: Queued) -> None:
    """Queue a delivery as a system job of its webhook, so that a slow receiver holds up only its own deliveries."""
    document = json.dumps(delivery.id)
    job = NewJob(new_id("job"), delivery.webhook_id, "deliver", document, WEBHOOK, priority=-DELIVERY_RANK)
    enqueue(connection, job)


def _queued(connection: Connection, delivery: Delivery) -> Delivery:
    queue_delivery(connection, Queued(delivery.id, delivery.webhook_id))
    return delivery
