"""One error tree: each class says its status, type and title, survives the wire, and becomes a problem document."""

import importlib
import pickle
import pkgutil
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError
from ray import cloudpickle

import serve_app
from deployments.errors import (
    BeyondModel,
    CallerError,
    InvalidInput,
    MedleyError,
    ModelUnavailable,
    OutOfMemory,
    PromptTooLong,
    Transient,
    UnsupportedMedia,
)
from deployments.media import Image
from graphs import chat
from serve_app.clients.http import NoAnswer, RequestFailed
from serve_app.errors import (
    BadWeights,
    BodyTooLarge,
    BodyTooSlow,
    Conflict,
    FieldError,
    InsufficientCredit,
    InvalidConfig,
    InvalidRequest,
    InvalidSignature,
    JobFailed,
    LimitReached,
    ModelFailed,
    NotFound,
    NotOffered,
    QuotaExceeded,
    ReceiverUnreachable,
    Refused,
    RunTimedOut,
    ServiceError,
    SetupError,
    StatusUnavailable,
    StorageUnavailable,
    TooManyUploads,
    Unauthorized,
    UnknownName,
    UnpaidRun,
    WorkerLost,
    field_errors,
    invalid_request,
    nearest,
    problem,
)
from serve_app.gateway.error_responses import error_response, openai_error

for module in pkgutil.walk_packages(serve_app.__path__, "serve_app."):
    if not module.name.endswith(("__main__", "migrations.env")):  # Alembic runs the second
        importlib.import_module(module.name)

FAILED_JOB = JobFailed({"type": "https://x/problems/job-failed", "status": 422, "detail": "text: is rude"})
FAILED_JOB.problem["title"] = FAILED_JOB.title
EXAMPLES: list[MedleyError] = [
    MedleyError("It broke."),
    InvalidInput("width", "is too large"),
    PromptTooLong("prompt", "has 80 tokens"),
    UnsupportedMedia("image", "is not a picture"),
    ModelUnavailable("No weights."),
    OutOfMemory("Full."),
    InvalidRequest([FieldError("width", "is too large", "less_than"), FieldError("text", "is missing")]),
    Unauthorized("Send a key."),
    InvalidSignature("It is wrong."),
    UnknownName("graph", "speach", ["speech", "chat"]),
    BodyTooLarge("Too large."),
    LimitReached("jobs.max_jobs", "10 of your jobs are kept"),
    QuotaExceeded("Full."),
    BodyTooSlow("Too slow."),
    TooManyUploads("Too many."),
    Refused(405, "Method Not Allowed"),
    ModelFailed("m1 failed."),
    NotOffered("Not yet."),
    RunTimedOut("Too slow."),
    ReceiverUnreachable("no way"),
    InvalidConfig("args.x: unknown key."),
    BadWeights("model.safetensors is cut off"),
    RequestFailed("The service refused."),
    NoAnswer("It did not answer."),
    NotFound("There is no job 'x'."),
    Conflict("It has ended."),
    InsufficientCredit("This costs 5 credits; 3 are left."),
    StorageUnavailable("The database does not answer."),
    StatusUnavailable("Serve does not answer."),
    WorkerLost("5 workers were lost."),
    FAILED_JOB,
    CallerError("It is wrong."),
    Transient("Not now."),
    ServiceError("It broke."),
    SetupError("It is not set up."),
    UnpaidRun("Nothing is reserved."),
    BeyondModel("language", "is French"),
]
STATUS = {
    MedleyError: 500,
    InvalidInput: 422,
    PromptTooLong: 422,
    BeyondModel: 422,
    UnsupportedMedia: 415,
    ModelUnavailable: 503,
    OutOfMemory: 503,
    InvalidRequest: 422,
    Unauthorized: 401,
    InvalidSignature: 401,
    UnknownName: 404,
    BodyTooLarge: 413,
    LimitReached: 429,
    QuotaExceeded: 413,
    BodyTooSlow: 408,
    TooManyUploads: 429,
    Refused: 405,
    ModelFailed: 500,
    NotOffered: 501,
    RunTimedOut: 504,
    ReceiverUnreachable: 503,
    InvalidConfig: 500,
    BadWeights: 500,
    RequestFailed: 500,
    NoAnswer: 500,
    NotFound: 404,
    Conflict: 409,
    InsufficientCredit: 402,
    StorageUnavailable: 503,
    StatusUnavailable: 503,
    WorkerLost: 500,
    JobFailed: 422,
    CallerError: 400,
    Transient: 503,
    ServiceError: 500,
    SetupError: 500,
    UnpaidRun: 500,
}
LEVELS = (CallerError, Transient, ServiceError, SetupError)
EACH = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int
    image: Image | None = None


def tree(root: type[MedleyError]) -> set[type[MedleyError]]:
    found = {root}
    for child in root.__subclasses__():
        # Ray makes classes of its own from ours when it wraps an error.
        if child.__module__.partition(".")[0] in ("serve_app", "deployments"):
            found |= tree(child)
    return found


def test_every_class_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == set(STATUS) == tree(MedleyError)


@EACH
def test_every_class_says_status_type_and_title(error: MedleyError) -> None:
    assert error.status == STATUS[type(error)]
    assert error.type == error.type.lower().replace(" ", "-") != ""
    assert type(error).__dict__.get("__doc__"), "the docstring is the title"
    assert 10 < len(error.title) < 80
    assert not error.title.endswith(".")


def test_every_class_is_of_one_level() -> None:
    """But for the root, a failed job (whose level its problem says) and the command line's own."""
    without = {MedleyError, JobFailed, RequestFailed, NoAnswer}
    levels = {kind: sum(issubclass(kind, level) for level in LEVELS) for kind in STATUS}
    assert {kind for kind, count in levels.items() if count != 1} == without
    assert all(STATUS[kind] < 500 or kind is NotOffered for kind in tree(CallerError))
    assert all(STATUS[kind] == 503 for kind in tree(Transient))
    assert all(error.retry_after > 0 for error in EXAMPLES if isinstance(error, Transient))


def test_errors_that_differ_to_a_client_differ_in_type() -> None:
    own = [kind for kind in STATUS if "type" in vars(kind)]
    assert len({kind.type for kind in own}) == len(own)


@EACH
@pytest.mark.parametrize("wire", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_every_error_survives_the_wire(error: MedleyError, wire: Any) -> None:
    back = wire.loads(wire.dumps(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert (str(back), back.status, back.title) == (str(error), error.status, error.title)
    assert problem(back, "/x", "1") == problem(error, "/x", "1")


@EACH
def test_every_error_is_a_problem_document(error: MedleyError) -> None:
    document = problem(error, "/api/v1/graphs/speech", "id-1")
    assert document["type"].endswith("/problems/" + error.type)
    assert (document["status"], document["title"], document["detail"]) == (error.status, error.title, str(error))
    assert (document["instance"], document["request_id"]) == ("/api/v1/graphs/speech", "id-1")


def test_a_problem_lists_each_field_that_is_wrong() -> None:
    several = problem(EXAMPLES[6], "/x", "1")
    assert several["detail"] == "width: is too large; text: is missing"
    assert several["errors"] == [
        {"field": "width", "detail": "is too large", "code": "less_than"},
        {"field": "text", "detail": "is missing", "code": "invalid"},
    ]
    one = problem(InvalidInput("width", "is too large"), "/x", "1")
    assert one["errors"] == [{"field": "width", "detail": "is too large", "code": "invalid-input"}]
    assert "errors" not in problem(MedleyError("It broke."), "/x", "1")


@pytest.mark.parametrize(
    ("error", "status", "kind", "param"),
    [
        (InvalidInput("width", "is too large"), 400, "invalid_request_error", "width"),
        (EXAMPLES[6], 400, "invalid_request_error", "width"),
        (UnsupportedMedia("file", "is not audio"), 415, "invalid_request_error", "file"),
        (Unauthorized("Send a key."), 401, "authentication_error", None),
        (ModelUnavailable("No weights."), 503, "server_error", None),
    ],
)
def test_openais_clients_get_errors_in_their_form(
    error: MedleyError, status: int, kind: str, param: str | None
) -> None:
    assert openai_error(error) == (
        status,
        {"error": {"message": str(error), "type": kind, "param": param, "code": error.type}},
    )
    assert error_response(error, "/v1/models", "1").status_code == status


def test_answers_say_when_to_come_again_and_how_to_log_in() -> None:
    assert error_response(OutOfMemory("Full."), "/x", "1").headers["retry-after"] == "5"
    assert "retry-after" not in error_response(ModelFailed("x"), "/x", "1").headers
    assert error_response(Unauthorized("x"), "/x", "1").headers["www-authenticate"] == "Bearer"
    assert error_response(Unauthorized("x"), "/x", "1").headers["content-type"] == "application/problem+json"


def validation(fields: dict[str, Any]) -> ValidationError:
    with pytest.raises(ValidationError) as refused:
        Form.model_validate(fields)
    return refused.value


def test_validation_errors_name_the_path_and_the_nearest_field() -> None:
    found = field_errors(validation({"widht": 1, "width": "x"}), ["width", "image"])
    assert [(error.field, error.code) for error in found] == [("width", "int_parsing"), ("widht", "extra_forbidden")]
    assert found[1].detail == "is not a field here. Did you mean 'width'?"


def test_a_hint_names_the_fields_that_stand_beside() -> None:
    call = chat.call
    with pytest.raises(ValidationError) as refused:
        call.model_validate({"messages": [{"role": "user", "contnet": "x"}], "models": {"language": "x"}, "sed": 1})
    found = {error.field: error.detail for error in field_errors(refused.value, chat.fields)}
    assert found["models.language"] == "is not a field here. There are: writer."
    assert found["messages.0.contnet"] == "is not a field here."
    assert found["sed"] == "is not a field here. Did you mean 'seed'?"


def test_a_single_file_of_the_wrong_format_is_415_and_anything_else_422() -> None:
    alone = invalid_request(validation({"width": 1, "image": b"no picture"}))
    assert (type(alone), alone.status) == (UnsupportedMedia, 415)
    beside = invalid_request(validation({"image": b"no picture"}))
    assert (type(beside), beside.status) == (InvalidRequest, 422)
    damaged = invalid_request(validation({"width": 1, "image": b""}))
    assert (type(damaged), damaged.status) == (InvalidRequest, 422)


def test_the_nearest_name_is_offered_else_all_of_them() -> None:
    assert nearest("speach", ["chat", "speech"]) == " Did you mean 'speech'?"
    assert nearest("zzz", ["speech", "chat"]) == " There are: chat, speech."
    assert nearest("zzz", []) == ""
