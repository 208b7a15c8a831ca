"""What is wrong with a file that should be media, for whoever opens it: the gateway or a model."""

from typing import Literal

Fault = Literal["unsupported", "damaged", "too_large"]


class BadMedia(ValueError):
    """A file is not the media it should be; `detail` continues the name of a field: `is too large: ...`."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(fault, detail)
        self.fault: Fault = fault
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


def without_advice(detail: str) -> str:
    """What is wrong, without what to send instead: for a file that no caller sent."""
    return detail.partition(": send ")[0]


def unsupported(detail: str) -> BadMedia:
    """The error of a file that is of another kind or format."""
    return BadMedia("unsupported", detail)


def damaged(kind: str, reason: object) -> BadMedia:
    """The error of a file that breaks off or contradicts itself; `kind` is a word such as `audio`."""
    return BadMedia("damaged", f"is damaged {kind}: {reason}")


def too_large(reason: str) -> BadMedia:
    """The error of a file that would cost more than is accepted."""
    return BadMedia("too_large", f"is too large: {reason}")
