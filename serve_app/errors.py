"""The service's part of the error tree (the models' part is in `deployments/errors.py`), and problem documents.

MedleyError
├── CallerError                the caller can correct it
│   ├── InvalidInput, ...      422  raised by models
│   ├── InvalidRequest         422  several fields at once
│   ├── Unauthorized           401
│   ├── InvalidSignature       401  a callback that its provider did not sign, or signed too long ago
│   ├── InsufficientCredit     402  the run costs more than the account has
│   ├── UnknownName            404  a graph, model or route that does not exist; names the nearest
│   ├── NotFound               404  a job, artifact or webhook that does not exist, or is another user's
│   ├── Conflict               409  not possible in the current state, or already being done
│   ├── BodyTooLarge           413
│   ├── BodyTooSlow            408
│   ├── QuotaExceeded          413  the user keeps as many bytes as one may
│   ├── TooManyUploads         429  a user sends more bodies at once than one may
│   ├── LimitReached           429  the user has as many of something as one may; names the limit
│   ├── NotOffered             501
│   └── Refused                4xx  refused by the HTTP framework: a method, a form
├── Transient                  the same request may be sent again later
│   ├── ModelUnavailable, ...  503  raised by models
│   │   └── ReceiverUnreachable  503  a replica cannot connect to the caller of a stream
│   ├── StorageUnavailable     503  the database or the artifact store does not answer
│   └── StatusUnavailable      503  Serve's controller does not answer
├── ServiceError               a defect, or a limit of the service
│   ├── ModelFailed            500  a model failed in a way that its backend did not foresee
│   ├── WorkerLost             500  a job lost more workers than it may
│   ├── UnpaidRun              500  a priced graph was about to run without reserved credits
│   └── RunTimedOut            504
├── SetupError                 an error in a profile or its weights; no request is involved
│   ├── InvalidConfig          ---  names the key's path
│   └── BadWeights             ---  missing or damaged
└── JobFailed                  any  the result of a failed job was requested; has the status of the job's problem
"""

import difflib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deployments.errors import (
    CallerError,
    InvalidInput,
    MedleyError,
    ModelUnavailable,
    Transient,
    UnsupportedMedia,
)
from deployments.unions import without_tags

log = logging.getLogger("ray.serve")
MAX_ERRORS = 20  # of one request that are answered
MAX_NAME, MAX_DETAIL = 80, 1000  # characters of a caller's name, and of an error, in an answer
PROBLEM_TYPES = "https://medley.invalid/problems/"  # identifiers, not addresses: RFC 9457 asks only that they be URIs


class ServiceError(MedleyError):
    """The service failed on this request"""

    type = "service-error"


class SetupError(MedleyError):
    """The service cannot be set up like this"""

    type = "setup-error"


@dataclass(frozen=True)
class FieldError:
    """One error in one field; `field` is a dotted path."""

    field: str
    detail: str
    code: str = "invalid"


class InvalidRequest(CallerError):
    """Invalid request"""

    status = 422
    type = "invalid-request"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.args = (errors,)
        self.errors = tuple(errors)


class Unauthorized(CallerError):
    """An API key is required"""

    status = 401
    type = "unauthorized"


class InvalidSignature(CallerError):
    """Invalid callback signature"""

    status = 401
    type = "invalid-signature"


class UnknownName(CallerError):
    """Unknown name"""

    status = 404
    type = "not-found"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        super().__init__(f"There is no {kind} {clipped(name, MAX_NAME)!r}.{nearest(name, names)}")
        self.args = (kind, name, names)
        self.kind = kind


class NotFound(CallerError):
    """Resource not found"""

    status = 404
    type = "unknown-id"


class Conflict(CallerError):
    """Not possible in the current state"""

    status = 409
    type = "conflict"


class InsufficientCredit(CallerError):
    """Insufficient credit"""

    status = 402
    type = "insufficient-credit"


class StorageUnavailable(Transient):
    """The database or the artifact store does not answer"""

    type = "storage-unavailable"
    retry_after = 2


class StatusUnavailable(Transient):
    """The state of the service is not known"""

    type = "status-unavailable"
    retry_after = 2


class BodyTooLarge(CallerError):
    """The request is larger than this service accepts"""

    status = 413
    type = "body-too-large"


class BodyTooSlow(CallerError):
    """The request's body did not arrive in time"""

    status = 408
    type = "body-too-slow"


class TooManyUploads(CallerError):
    """Too many request bodies are on their way at once"""

    status = 429
    type = "too-many-uploads"


class LimitReached(CallerError):
    """A limit of this service is reached"""

    status = 429
    type = "limit-reached"

    def __init__(self, limit: str, detail: str) -> None:
        super().__init__(f"{detail}, the most that a user may have ({limit}).")
        self.args = (limit, detail)


class QuotaExceeded(CallerError):
    """The user's storage is full"""

    status = 413
    type = "quota-exceeded"


class Refused(CallerError):
    """The request cannot be served in this form"""

    type = "refused"

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.args = (status, detail)
        self.status = status  # type: ignore[misc]  # the framework's, not this class's


class ModelFailed(ServiceError):
    """The model failed"""

    type = "model-failed"


class WorkerLost(ServiceError):
    """The job's workers crashed too many times"""

    type = "worker-lost"


class UnpaidRun(ServiceError):
    """No credits are reserved for the run"""

    type = "unpaid-run"


class JobFailed(MedleyError):
    """The job has failed"""

    type = "job-failed"

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(str(document.get("detail", "")))
        self.args = (document,)
        self.problem = document
        self.status = int(document.get("status", 500))


class NotOffered(CallerError):
    """Not offered by this service"""

    status = 501
    type = "not-offered"


class ReceiverUnreachable(ModelUnavailable):
    """The model cannot reach the caller"""


class RunTimedOut(ServiceError):
    """The run took too long"""

    status = 504
    type = "run-timed-out"


class BadWeights(SetupError):
    """The weights are missing or damaged"""

    type = "bad-weights"


class InvalidConfig(SetupError):
    """The profile cannot be used"""

    type = "invalid-config"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to end a message with: ` Did you mean 'x'?` if a similar name exists, else the names that exist."""
    names = sorted(known)
    close = difflib.get_close_matches(name[:MAX_NAME], names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" There are: {', '.join(names)}." if names else ""


def field_errors(error: ValidationError, known: Sequence[str] = ()) -> list[FieldError]:
    """pydantic's errors as field errors, the first `MAX_ERRORS` of them; `known` are the valid fields, nested ones with
    a dot, for a hint at a misspelt name."""
    errors: list[FieldError] = []
    items = error.errors(include_url=False, include_input=False, include_context=False)
    for item in items[:MAX_ERRORS]:
        names = [clipped(name, MAX_NAME) for name in without_tags(item["loc"])]
        field = clipped(".".join(names), MAX_DETAIL) or "body"
        detail = clipped(item["msg"], MAX_DETAIL)
        if item["type"] == "extra_forbidden":
            parent, name = names[:-1], names[-1]
            beside = [one.split(".")[-1] for one in known if one.split(".")[:-1] == parent]
            detail = "is not a field here." + nearest(name, beside)
        errors.append(FieldError(field, detail, item["type"]))
    if len(items) > MAX_ERRORS:
        errors.append(FieldError("body", f"has {len(items) - MAX_ERRORS:,} more errors", "more_errors"))
    return errors


def clipped(text: str, most: int) -> str:
    """The text, cut to `most` characters: what a caller sent must not make an answer long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def invalid_request(error: ValidationError, known: Sequence[str] = ()) -> MedleyError:
    """The error that stands for pydantic's: 415 if the only error is a file's format, else 422."""
    errors = field_errors(error, known)
    if len(errors) == 1 and errors[0].code == "media_unsupported":
        return UnsupportedMedia(errors[0].field, errors[0].detail)
    return InvalidRequest(errors)


def problem(error: MedleyError, instance: str, request_id: str) -> dict[str, Any]:
    """The error as an RFC 9457 problem document; for a failed job, the problem it ended with."""
    if isinstance(error, JobFailed):
        return {**error.problem, "instance": instance, "request_id": request_id}
    document: dict[str, Any] = {
        "type": PROBLEM_TYPES + error.type,
        "title": error.title,
        "status": error.status,
        "detail": clipped(str(error), MAX_DETAIL),
        "instance": instance,
        "request_id": request_id,
    }
    if isinstance(error, InvalidRequest):
        document["errors"] = [{"field": e.field, "detail": e.detail, "code": e.code} for e in error.errors]
    elif isinstance(error, InvalidInput):
        detail = clipped(error.detail, MAX_DETAIL)
        document["errors"] = [{"field": clipped(error.field, MAX_NAME), "detail": detail, "code": error.type}]
    return document


def reason_of(message: str) -> str:
    """The last line of Serve's message about a deployment, which in a traceback is the error."""
    return next((line for line in reversed(message.splitlines()) if line.strip()), "")


def foreseen(error: Exception, request_id: str) -> MedleyError:
    """The error if it is Medley's own, else an error that reveals only the request's id; the original is logged."""
    if isinstance(error, MedleyError):
        return error
    log.error("request %s failed", request_id, exc_info=error)
    return MedleyError(f"The service failed on this request. Its id, for the logs, is {request_id}.")
