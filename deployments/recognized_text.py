"""The text that a picture holds."""

from collections.abc import Sequence

from pydantic import BaseModel, Field


class TextLine(BaseModel):
    """A line of text, and where it stands."""

    text: str
    confidence: float = Field(ge=0, le=1, description="How sure the model is of its characters on average")
    corners: list[tuple[float, float]] = Field(
        min_length=4,
        max_length=4,
        description="x, y in pixels of the picture, clockwise from the corner at the top left",
    )


class RecognizedText(BaseModel):
    """Everything that is written in a picture."""

    text: str = Field(description="The lines in rows from the top; what stands in one row is separated by a space")
    lines: list[TextLine] = Field(description="In the same order")

    @classmethod
    def of(cls, lines: Sequence[TextLine]) -> "RecognizedText":
        """The lines from the top, those of a row from the left. Columns are not told apart."""
        rows: list[list[TextLine]] = []
        for line in sorted(lines, key=_middle):
            if rows and _middle(line) < _bottom(rows[-1][0]) and _top(line) < _middle(rows[-1][0]):
                rows[-1].append(line)
            else:
                rows.append([line])
        rows = [sorted(row, key=lambda line: line.corners[0][0]) for row in rows]
        return cls(
            text="\n".join(" ".join(line.text for line in row) for row in rows),
            lines=[line for row in rows for line in row],
        )


def _top(line: TextLine) -> float:
    return (line.corners[0][1] + line.corners[1][1]) / 2


def _bottom(line: TextLine) -> float:
    return (line.corners[2][1] + line.corners[3][1]) / 2


def _middle(line: TextLine) -> float:
    return (_top(line) + _bottom(line)) / 2
