"""Batches: a graph runs over every row of a file, with Ray Data, on the models of a running Medley.

Each line of the JSONL file is a request of the graph; media are data URLs or paths (relative to the file), also inside
lists and nested objects. Results become parquet in `rows/` of the output folder, media become files in `media/`. Failed
rows go to `errors.jsonl` with the reason and do not stop the batch.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from deployments.errors import InvalidInput, MedleyError

from .batch_input import read_lines, request_of
from .batch_output import ERRORS, MEDIA, ROWS, Schema, Table, open_folder, row_of, save_media, schema_of, table_of

log = logging.getLogger("ray.data")
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
        self, rows: Iterator[tuple[int, bytes]], graph: str, folder: Path, output: Path
    ) -> list[tuple[str, str]]:
        return await asyncio.gather(*(self._one(row, line, graph, folder, output) for row, line in rows))

    async def _one(self, row: int, line: bytes, name: str, folder: Path, output: Path) -> tuple[str, str]:
        """Result and error of one row as JSON; one of them is empty. No row ends the batch, whatever its error."""
        try:
            graph = self._medley.graphs[name]
            result: BaseModel = await getattr(self._medley.graphs, name)(**request_of(line, graph, folder))
            schema = schema_of(graph.result)
            plain = row_of(row, save_media(result, output / MEDIA, f"{row:08d}"), schema)
            _check_columns(plain, schema)
            return json.dumps(plain), ""
        except MedleyError as error:
            return "", json.dumps({"type": error.type, "detail": str(error)})
        except Exception as error:
            log.warning("row %d failed", row, exc_info=error)
            return "", json.dumps({"type": MedleyError.type, "detail": f"{type(error).__name__}: {error}"})


def run_batch(graph: str, source: Path, output: Path, concurrency: int = 8, overwrite: bool = False) -> Counts:
    """Run `graph` over the lines of `source`, `concurrency` rows at once.

    Args:
        overwrite: whether a batch that `output` already holds is deleted first.

    Raises:
        MedleyError: the file cannot be read, the graph does not exist, the folder is taken, or no Medley runs.
    """
    import ray.data

    from .notebook import Medley

    rows = read_lines(source)
    medley = Medley.connect()
    schema = schema_of(medley.graphs[graph].result)  # an unknown graph fails here once, not in each row
    open_folder(output, overwrite, graph=graph, input=source.name)
    stage: Any = _results  # Ray's type for functions knows no further arguments
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
    failed = _write_errors(done, output / ERRORS)
    if failed < len(rows):
        results = done.map_batches(stage, fn_args=(schema,), batch_format="pyarrow", num_cpus=NUM_CPUS)
        results.write_parquet(str((output / ROWS).absolute()), ray_remote_args={"num_cpus": NUM_CPUS})
    return Counts(len(rows) - failed, failed)


def _write_errors(done: Any, path: Path) -> int:
    """Write the failed rows with their reasons; returns their number."""
    failed = 0
    with path.open("w") as file:
        for row in done.iter_rows():
            if row["error"]:
                failed += 1
                line = row["line"].decode(errors="replace")
                file.write(json.dumps({"row": row["row"], "line": line, "error": json.loads(row["error"])}) + "\n")
    return failed


def _results(batch: Table, schema: Schema) -> Table:
    """The results of a Ray Data batch. Each has the columns of the graph's result: files are then read together."""
    return table_of([json.loads(text) for text in batch.column("result").to_pylist() if text], schema)


def _check_columns(row: dict[str, Any], schema: Schema) -> None:
    """Check that a result can be stored, where a failure is one row's.

    Raises:
        InvalidInput: at `result`.
    """
    try:
        table_of([row], schema)
    except (pa.ArrowException, OverflowError) as error:
        raise InvalidInput("result", f"does not fit its parquet columns: {error}") from None
