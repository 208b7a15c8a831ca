"""The rest of the one error tree (models' own branches are in `deployments/errors.py`), and problems made of it.

MedleyError
├── InvalidInput, ModelUnavailable, ...     what a model raises
├── InvalidRequest        422  several fields at once
├── Unauthorized          401
├── BadSignature          401  a provider's callback that is not signed by it, or not now
├── InsufficientCredit    402  the run costs more than the account has
├── UnknownName           404  a graph, model or route that is not there; says the nearest
├── NotFound              404  a job, artifact or webhook that is not there, or is another user's
├── Conflict              409  not in the state for that, or the same is being done already
├── BodyTooLarge          413
├── Refused               4xx  what the HTTP framework refuses: a method, a form
├── ModelFailed           500  a model broke in a way it did not foresee
├── WorkerLost            500  a job outlived the workers it may lose
├── JobFailed             any  a job failed, and its result is asked for: as its problem says
├── NotOffered            501
├── StorageUnavailable    503  the database or the artifact store does not answer
├── InboxUnreachable      503  a replica finds no way to who asked (a ModelUnavailable)
├── RunTimedOut           504
├── BadWeights            ---  what a profile's model is loaded from is missing or damaged
└── InvalidConfig         ---  a profile cannot be used; names the key's path
"""

import difflib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deployments.errors import InvalidInput, MedleyError, ModelUnavailable, UnsupportedMedia

log = logging.getLogger("ray.serve")
PROBLEM_TYPES = "https://medley.invalid/problems/"  # identifiers, not addresses: RFC 9457 asks only that they be URIs


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field; `field` is a dotted path."""

    field: str
    detail: str
    code: str = "invalid"


class InvalidRequest(MedleyError):
    """The request has values that cannot be used"""

    status = 422
    type = "invalid-request"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.args = (errors,)
        self.errors = tuple(errors)


class Unauthorized(MedleyError):
    """An API key is required"""

    status = 401
    type = "unauthorized"


class BadSignature(MedleyError):
    """The callback is not signed as its sender signs"""

    status = 401
    type = "bad-signature"


class UnknownName(MedleyError):
    """There is nothing of this name"""

    status = 404
    type = "not-found"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        super().__init__(f"There is no {kind} {name!r}.{nearest(name, names)}")
        self.args = (kind, name, names)


class NotFound(MedleyError):
    """There is no such thing, or it is not yours"""

    status = 404
    type = "unknown-id"


class Conflict(MedleyError):
    """That cannot be done in the present state"""

    status = 409
    type = "conflict"


class InsufficientCredit(MedleyError):
    """The run costs more credits than the account has"""

    status = 402
    type = "insufficient-credit"


class StorageUnavailable(MedleyError):
    """The database or the artifact store does not answer"""

    status = 503
    type = "storage-unavailable"
    retry_after = 2


class BodyTooLarge(MedleyError):
    """The request is larger than this service accepts"""

    status = 413
    type = "body-too-large"


class Refused(MedleyError):
    """The request cannot be served in this form"""

    type = "refused"

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.args = (status, detail)
        self.status = status  # type: ignore[misc]  # the framework's, not this class's


class ModelFailed(MedleyError):
    """A model failed in a way it did not foresee"""

    status = 500
    type = "model-failed"


class WorkerLost(MedleyError):
    """The job ended the workers that ran it, or they died of something else too often"""

    status = 500
    type = "worker-lost"


class JobFailed(MedleyError):
    """The job has failed, and its result is asked for"""

    type = "job-failed"

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__(str(found.get("detail", "")))
        self.args = (found,)
        self.problem = found
        self.status = int(found.get("status", 500))


class NotOffered(MedleyError):
    """This service does not offer that yet"""

    status = 501
    type = "not-offered"


class InboxUnreachable(ModelUnavailable):
    """The model finds no way to the caller"""


class RunTimedOut(MedleyError):
    """The run took longer than it may"""

    status = 504
    type = "run-timed-out"


class BadWeights(MedleyError):
    """The weights are missing or damaged"""

    type = "bad-weights"


class InvalidConfig(MedleyError):
    """The profile cannot be used"""

    type = "invalid-config"


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` where something similar exists, else what does exist, as the end of a sentence."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" There are: {', '.join(names)}." if names else ""


def field_errors(error: ValidationError, known: Sequence[str] = ()) -> list[FieldError]:
    """pydantic's findings in our words; `known` are the valid names, for a hint at a misspelt one."""
    found: list[FieldError] = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in item["loc"]) or "body"
        detail = item["msg"]
        if item["type"] == "extra_forbidden":
            detail = "is not a field here." + nearest(field.split(".")[-1], known)
        found.append(FieldError(field, detail, item["type"]))
    return found


def invalid_request(error: ValidationError, known: Sequence[str] = ()) -> MedleyError:
    """The one error that stands for pydantic's: 415 where a single file has the wrong format, else 422."""
    found = field_errors(error, known)
    if len(found) == 1 and found[0].code == "media_unsupported":
        return UnsupportedMedia(found[0].field, found[0].detail)
    return InvalidRequest(found)


def problem(error: MedleyError, instance: str, request_id: str) -> dict[str, Any]:
    """The error as an RFC 9457 problem document; of a failed job, the one it ended with."""
    if isinstance(error, JobFailed):
        return {**error.problem, "instance": instance, "request_id": request_id}
    document: dict[str, Any] = {
        "type": PROBLEM_TYPES + error.type,
        "title": error.title,
        "status": error.status,
        "detail": str(error),
        "instance": instance,
        "request_id": request_id,
    }
    if isinstance(error, InvalidRequest):
        document["errors"] = [{"field": e.field, "detail": e.detail, "code": e.code} for e in error.errors]
    elif isinstance(error, InvalidInput):
        document["errors"] = [{"field": error.field, "detail": error.detail, "code": error.type}]
    return document


def reason_of(message: str) -> str:
    """The last line of Serve's message about a deployment: of a traceback, the error itself."""
    return next((line for line in reversed(message.splitlines()) if line.strip()), "")


def foreseen(error: Exception, request_id: str) -> MedleyError:
    """The error, or in place of one nobody foresaw, which is logged, one that tells no more than the request's id."""
    if isinstance(error, MedleyError):
        return error
    log.error("request %s failed", request_id, exc_info=error)
    return MedleyError(f"The service failed on this request. Its id is {request_id}.")
