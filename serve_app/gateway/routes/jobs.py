"""The routes `/api/v1/jobs`: a user's durable runs, and their events as server-sent events or over a WebSocket."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response

from deployments.errors import InvalidInput, MedleyError

from ...errors import foreseen, nearest
from ...jobs import queue, rows
from ...jobs.job import STATUSES, Event, Job
from ...jobs.results import result_of
from ...jobs.view import job_summary, job_view
from ..openapi_parts import (
    ANY_OBJECT,
    PAGE_PARAMETERS,
    SSE,
    TEXT,
    TIME,
    WHOLE,
    answer,
    answer_in,
    header,
    one_of,
    operation,
    query,
    ref,
)
from ..server_sent_events import EventStream, event
from ..service import Service
from .paging import page, read_page

CLOSE_NORMAL, CLOSE_INTERNAL = 1000, 1011

# The operations of OpenAPI
FILTERS = [
    query("graph", TEXT, "Only runs of this graph"),
    query("status", one_of(*STATUSES), "Only jobs with this status"),
    query("since", TIME, "Only jobs created at this time or later"),
    query("until", TIME, "Only jobs created before this time"),
    query("text", {**TEXT, "maxLength": 200}, "Only jobs with this text in a value of their input or output"),
]
LISTED = operation({200: answer("A page of jobs", ref("Jobs"))}, [*FILTERS, *PAGE_PARAMETERS])
ONE = operation({200: answer("The job", ref("Job"))})
CANCEL = operation({200: answer("It has ended", ref("Job")), 202: answer("It is being cancelled", ref("Job"))})
RETRY = operation({202: answer("It is queued again", ref("Job"))})
RESULT = operation({200: answer("The graph's result", ANY_OBJECT)})
LAST_EVENT = [
    header("Last-Event-ID", "Number of the last event received", WHOLE),
    query("last_event_id", WHOLE, "The same, for clients that cannot set headers"),
]
EVENTS = operation(
    {
        200: answer_in("`state`, `step`, `progress`, `pieces` and `log` until the job ends", {SSE: TEXT}),
        204: answer("The job has ended, and no event comes after the last one received"),
    },
    LAST_EVENT,
)


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
    jobs, database = service.jobs, service.jobs.database

    @routes.get("", summary="Your jobs, newest first", openapi_extra=LISTED)
    async def list_jobs(request: Request) -> Response:
        """Filters: `graph`, `status`, `since` and `until` (ISO 8601), `text`. Paging: `limit` (1 to 100), `cursor`."""
        limit, before = read_page(request)
        filters = read_filters(request.query_params, list(service.graphs))
        rows = await database.read(queue.page, request.scope["identity"].user, filters, limit + 1, before)
        return page("jobs", rows, limit, job_summary)

    @routes.get("/{id}", summary="One job with its finished steps", openapi_extra=ONE)
    async def get_job(request: Request, id: str) -> Response:
        job = await _find(service, request, id)
        return JSONResponse(job_view(job, await database.read(rows.step_records, id)))

    @routes.post("/{id}/cancel", summary="Cancel a job and release its reserved credits", openapi_extra=CANCEL)
    async def cancel_job(request: Request, id: str) -> Response:
        """A queued job ends at once, a running job within about a second. An ended job stays as it is."""
        job = await database.write(queue.cancel, request.scope["identity"].user, id, service.config.jobs.keep_s)
        return JSONResponse(job_view(job), 200 if job.ended else 202)

    @routes.post(
        "/{id}/retry", summary="Run a failed or cancelled job again, from its last finished step", openapi_extra=RETRY
    )
    async def retry_job(request: Request, id: str) -> Response:
        job = await jobs.retry(request.scope["identity"].user, id)
        return JSONResponse(job_view(job), 202)

    @routes.get("/{id}/result", summary="The result of a job, as a synchronous run returns it", openapi_extra=RESULT)
    async def get_job_result(request: Request, id: str) -> Response:
        job = await _find(service, request, id)
        value = await result_of(jobs, service.graph(job.graph), job)
        return Response(await asyncio.to_thread(value.model_dump_json), media_type="application/json")

    _add_events(routes, service)
    return routes


async def _find(service: Service, request: Any, id: str) -> Job:
    """The caller's job with this id."""
    return await service.jobs.database.read(queue.find, request.scope["identity"].user, id)


def _add_events(routes: APIRouter, service: Service) -> None:
    jobs = service.jobs

    @routes.get("/{id}/events", summary="The events of a job, as server-sent events", openapi_extra=EVENTS)
    async def stream_job_events(request: Request, id: str) -> Response:
        """The job's events in order, from the first or after `Last-Event-ID`, until the job ends: `state`, `step`,
        `progress`, `pieces` and `log`. 204 if the job has ended and the client has every event: so a browser's
        EventSource, which connects again after each end of the stream, stops."""
        job = await _find(service, request, id)
        after = read_last(request.headers.get("last-event-id") or request.query_params.get("last_event_id"))
        if after and job.ended and after >= await service.jobs.database.read(rows.last_event, job.id):
            return Response(status_code=204)
        return EventStream(server_sent(jobs.tail.batches(job.id, after)))

    @routes.websocket("/{id}/events")
    async def socket(socket: WebSocket, id: str) -> None:
        """The same events as JSON messages: {"seq", "kind", "data"}."""
        await socket.accept(subprotocol=socket.scope.get("subprotocol"))
        try:
            job = await _find(service, socket, id)
            after = read_last(socket.query_params.get("last_event_id"))
            closed = asyncio.create_task(until_closed(socket))
            sending = asyncio.create_task(send_all(socket, jobs.tail.follow(job.id, after)))
            try:
                await asyncio.wait((closed, sending), return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
                    await socket.close(CLOSE_NORMAL)
            finally:
                for task in (closed, sending):
                    task.cancel()
        except WebSocketDisconnect:
            return
        except Exception as error:
            reason = foreseen(error, socket.scope["request_id"])
            await socket.close(4000 + reason.status if reason.status < 600 else CLOSE_INTERNAL, str(reason)[:120])


def read_filters(query: QueryParams, graphs: list[str]) -> queue.Filters:
    """The filters in a query.

    Raises:
        InvalidInput: a filter is invalid.
    """
    status, graph = query.get("status"), query.get("graph")
    if status is not None and status not in STATUSES:
        raise InvalidInput("status", f"is not a job's status.{nearest(status, STATUSES)}")
    if graph is not None and graph not in graphs:
        raise InvalidInput("graph", f"is not a graph here.{nearest(graph, graphs)}")
    text = query.get("text") or None
    if text and len(text) > 200:
        raise InvalidInput("text", "must have at most 200 characters")
    if text and "\0" in text:
        raise InvalidInput("text", "must not have the character U+0000")
    return queue.Filters(
        graph=graph,
        status=status,
        since=read_time(query.get("since"), "since"),
        until=read_time(query.get("until"), "until"),
        text=text,
    )


def read_time(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(name, "must be a time such as 2026-01-31T12:00:00Z") from None


def read_last(text: str | None) -> int:
    """The number of the last event that a client received.

    Raises:
        InvalidInput: the text is not the number of an event.
    """
    if text is None or text == "":
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidInput("Last-Event-ID", "must be the number of an event")
    return int(text)


async def server_sent(followed: AsyncGenerator[list[Event]]) -> AsyncGenerator[str]:
    """A job's events as text; events that are available together come in one piece."""
    try:
        async with aclosing(followed):
            async for batch in followed:
                yield "".join(event(entry.data, entry.kind, entry.seq) for entry in batch)
    except MedleyError as error:
        yield event(json.dumps({"detail": str(error)}), "error")


async def send_all(socket: WebSocket, followed: AsyncIterator[Event]) -> None:
    async for entry in followed:
        data = json.loads(entry.data)
        await socket.send_text(json.dumps({"seq": entry.seq, "kind": entry.kind, "data": data}))


async def until_closed(socket: WebSocket) -> None:
    """Wait until the client closes the socket; its messages are ignored."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
