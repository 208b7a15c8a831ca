"""A job as its user sees it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..steps import Step
from .job import Job, StepRecord


def job_view(job: Job, steps: Sequence[StepRecord] = ()) -> dict[str, Any]:
    """The job object of the API; times are ISO 8601 in UTC, media are artifact ids."""
    return {
        **job_summary(job),
        "input": json.loads(job.input),
        "output": _loaded(job.output),
        "steps": [
            {
                "name": step.name,
                "model": step.model,
                "status": "succeeded",
                "attempts": step.attempts,
                "started_at": iso(step.started_at),
                "seconds": round(step.seconds, 4),
                "cached": step.cached,
                "output": json.loads(step.output),
            }
            for step in steps
        ],
    }


def job_summary(job: Job) -> dict[str, Any]:
    """A job as it is listed: without its input, output and steps, which may have megabytes each."""
    url = f"/api/v1/jobs/{job.id}"
    return {
        "id": job.id,
        "graph": job.graph,
        "status": job.status,
        "priority": -job.rank,
        "error": _loaded(job.error),
        "progress": _loaded(job.progress),
        "metrics": {
            "attempts": job.attempts,
            "queued_seconds": _between(job.created_at, job.started_at),
            "run_seconds": _between(job.started_at, job.finished_at),
        },
        "price": job.price,
        "charged": job.charged,
        "cancel_requested": job.cancel_requested,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "expires_at": iso(job.expires_at),
        "urls": {
            "get": url,
            "cancel": f"{url}/cancel",
            "retry": f"{url}/retry",
            "events": f"{url}/events",
            "result": f"{url}/result",
        },
    }


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(end - start, 4)


def step_view(step: Step) -> dict[str, Any]:
    """A step as its followers see it."""
    return {
        "name": step.name,
        "model": step.model,
        "status": step.status,
        "attempts": step.attempts,
        "seconds": round(step.seconds, 4),
        "fraction": None if step.fraction is None else round(step.fraction, 3),
        "cached": step.cached,
        "error": step.error,
    }
