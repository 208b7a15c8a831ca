"""What a model may raise. The first branches of Medley's one error tree; `serve_app/errors.py` draws the rest.

    MedleyError
    ├── CallerError           4xx  the caller can mend it
    │   └── InvalidInput      422  one field is wrong; names it
    │       ├── BeyondModel       422  this model cannot do it, another one may
    │       ├── PromptTooLong     422  more tokens than the model reads
    │       └── UnsupportedMedia  415  not a format this field takes
    └── Transient             503  nothing is wrong with the request, which may be sent again later
        └── ModelUnavailable  503  this model cannot answer now, another one may
            └── OutOfMemory   503  ... because its device is full

The levels, CallerError and Transient here and two more in `serve_app/errors.py`, say what to do about an error: code
that retries or counts catches a level. A class's docstring is the title people read; status and type stand beside it.
Arguments go to `Exception` unchanged, so every error survives the trip between replicas.
"""

from typing import ClassVar


class MedleyError(Exception):
    """Something went wrong inside Medley"""

    status: int = 500
    type: ClassVar[str] = "internal-error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail

    @property
    def title(self) -> str:
        return (type(self).__doc__ or "").strip().splitlines()[0]


class CallerError(MedleyError):
    """The request cannot be served as it is"""

    status = 400
    type = "caller-error"


class Transient(MedleyError):
    """The service cannot serve the request at the moment"""

    status = 503
    type = "unavailable"
    retry_after: ClassVar[int] = 5  # seconds; sent as Retry-After


class InvalidInput(CallerError):
    """The request has a value that cannot be used"""

    status = 422
    type = "invalid-input"

    def __init__(self, field: str, detail: str) -> None:
        Exception.__init__(self, field, detail)
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}"


class BeyondModel(InvalidInput):
    """The model cannot do what the request wants"""


class PromptTooLong(InvalidInput):
    """The prompt is longer than the model reads"""


class UnsupportedMedia(InvalidInput):
    """The media type or file format is not supported here"""

    status = 415
    type = "unsupported-media-type"


class ModelUnavailable(Transient):
    """The model cannot answer at the moment"""

    type = "model-unavailable"


class OutOfMemory(ModelUnavailable):
    """The model's device has no memory left for this request"""

    type = "out-of-memory"
