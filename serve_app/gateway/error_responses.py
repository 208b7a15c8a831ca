"""Errors as HTTP responses: problem documents (RFC 9457), and OpenAI's form under `/v1`."""

from typing import Any

from starlette.responses import JSONResponse

from deployments.errors import InvalidInput, MedleyError, PromptTooLong, Transient

from ..errors import MAX_DETAIL, InvalidRequest, JobFailed, UnknownName, clipped, problem


def error_response(error: MedleyError, path: str, request_id: str) -> JSONResponse:
    """The response for an error, in the form that the path's clients understand."""
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, Transient) else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if path.startswith("/v1/"):
        status, body = openai_error(error)
        return JSONResponse(body, status, headers)
    return JSONResponse(problem(error, path, request_id), error.status, headers, media_type="application/problem+json")


def openai_error(error: MedleyError) -> tuple[int, dict[str, Any]]:
    """Status and body as OpenAI's clients expect them: bad input is 400, and `param` and the message name the field."""
    param = _field_of(error)
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    if error.status == 401:
        kind = "authentication_error"
    status = 400 if error.status == 422 else error.status
    return status, {
        "error": {"message": clipped(str(error), MAX_DETAIL), "type": kind, "param": param, "code": _code_of(error)}
    }


def _code_of(error: MedleyError) -> str:
    """The code: OpenAI's where its clients look for one, else ours."""
    if isinstance(error, PromptTooLong):
        return "context_length_exceeded"
    if isinstance(error, UnknownName) and error.kind.endswith("model"):
        return "model_not_found"
    return error.type


def _field_of(error: MedleyError) -> str | None:
    """The first field that an error is about; of a failed job, the field that its problem names."""
    if isinstance(error, InvalidRequest):
        return error.errors[0].field
    if isinstance(error, InvalidInput):
        return error.field
    fields: list[dict[str, Any]] = error.problem.get("errors", []) if isinstance(error, JobFailed) else []
    return fields[0]["field"] if fields else None
