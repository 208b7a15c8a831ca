"""Batches: a graph runs over every row of a file, with Ray Data, on the models of a running Medley.

Each line of the JSONL file is a request of the graph; media are data URLs or paths (relative to the file). Results
become parquet in `rows/` of the output folder, media become files in `media/`. Failed rows go to `errors.jsonl` with
the reason and do not stop the batch.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import BaseModel

from deployments.errors import InvalidInput, MedleyError
from deployments.media import DATA_URL, Media, has_media

from ..graph import Graph

NUM_CPUS = 0.1  # the models do the work, and a laptop has few cores left beside them


@dataclass(frozen=True)
class Counts:
    """The numbers of rows that succeeded and failed."""

    succeeded: int
    failed: int


class Rows:
    """The stage of the batch: an actor that sends all rows of a Ray Data batch to the service's models at once."""

    def __init__(self) -> None:
        from .notebook import Medley

        # One event loop for all batches: a handle belongs to the loop that first used it.
        self._loop = asyncio.new_event_loop()
        self._medley = Medley.connect()

    def __call__(self, batch: dict[str, Any], graph: str, folder: str, output: str) -> dict[str, Any]:
        rows = zip(batch["row"].tolist(), batch["line"].tolist(), strict=True)
        answers = self._loop.run_until_complete(self._all(rows, graph, Path(folder), Path(output)))
        return {
            "row": batch["row"],
            "line": batch["line"],
            "result": np.array([result for result, _ in answers], dtype=object),
            "error": np.array([error for _, error in answers], dtype=object),
        }

    async def _all(
        self, rows: Iterator[tuple[int, str]], graph: str, folder: Path, output: Path
    ) -> list[tuple[str, str]]:
        return await asyncio.gather(*(self._one(row, line, graph, folder, output) for row, line in rows))

    async def _one(self, row: int, line: str, name: str, folder: Path, output: Path) -> tuple[str, str]:
        """Result and error of one row as JSON; one of them is empty."""
        try:
            graph = self._medley.graphs[name]
            result: BaseModel = await getattr(self._medley.graphs, name)(**request_of(line, graph, folder))
            return json.dumps(save_media(result, output / "media", f"{row:08d}")), ""
        except MedleyError as error:
            return "", json.dumps({"type": error.type, "detail": str(error)})


def run_batch(graph: str, source: Path, output: Path, concurrency: int = 8) -> Counts:
    """Run `graph` over the lines of `source`, `concurrency` rows at once.

    Raises:
        MedleyError: the file cannot be read, the graph does not exist, or no Medley runs.
    """
    import ray.data

    from .notebook import Medley

    try:
        lines = source.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("input", f"{source} cannot be read: {error}") from None
    medley = Medley.connect()
    medley.graphs[graph]  # an unknown graph fails here once, not in each row
    output.mkdir(parents=True, exist_ok=True)
    rows = [{"row": number, "line": line} for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InvalidInput("input", f"{source} has no rows")
    done = (
        ray.data.from_items(rows)
        .map_batches(
            Rows,  # pyright: ignore[reportArgumentType]  # Ray's type for numpy batches is a private union
            fn_kwargs={"graph": graph, "folder": str(source.parent.absolute()), "output": str(output.absolute())},
            batch_size=concurrency,
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=NUM_CPUS,
        )
        .materialize()
    )
    failed = 0
    with (output / "errors.jsonl").open("w") as file:
        for row in done.iter_rows():
            if row["error"]:
                failed += 1
                entry = {"row": row["row"], "line": row["line"], "error": json.loads(row["error"])}
                file.write(json.dumps(entry) + "\n")
    if failed < len(rows):
        results = done.flat_map(_result, num_cpus=NUM_CPUS)
        results.write_parquet(str((output / "rows").absolute()), ray_remote_args={"num_cpus": NUM_CPUS})
    return Counts(len(rows) - failed, failed)


def _result(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"row": row["row"], **json.loads(row["result"])}] if row["result"] else []


def request_of(line: str, graph: Graph[..., Any], folder: Path) -> dict[str, Any]:
    """The fields of a request in a line, with the content of media files in place of their paths.

    Raises:
        InvalidInput: the line is not a JSON object, or a file cannot be read.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("line", f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidInput("line", "is not a JSON object")
    fields = cast(dict[str, Any], fields)
    for name, field in graph.request.model_fields.items():
        value = fields.get(name)
        if isinstance(value, str) and has_media(field.annotation) and not DATA_URL.match(value):
            try:
                fields[name] = (folder / value).read_bytes()
            except OSError as error:
                raise InvalidInput(name, f"{value} cannot be read: {error.strerror}") from None
    return fields


def save_media(value: Any, folder: Path, stem: str) -> Any:
    """A result as plain values, with each media written to `folder` and replaced by its path."""
    if isinstance(value, Media):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}{value.suffix}"
        path.write_bytes(value.data)
        return str(path)
    if isinstance(value, BaseModel):
        return {name: save_media(getattr(value, name), folder, f"{stem}-{name}") for name in type(value).model_fields}
    if isinstance(value, list | tuple):
        return [save_media(item, folder, f"{stem}-{number}") for number, item in enumerate(cast(list[Any], value), 1)]
    return value
