"""Batches without a cluster: lines in, rows and media out, and what one bad row may do to the others."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas
import pyarrow.parquet
import pytest
from pydantic import BaseModel, Field

from deployments.errors import InvalidInput
from deployments.media import Image
from graphs import GRAPHS
from serve_app.clients.batch import Rows, _results
from serve_app.clients.batch_input import read_lines, request_of
from serve_app.clients.batch_output import ERRORS, MARK, MEDIA, ROWS, open_folder, schema_of
from serve_app.config.schema import AppConfig
from serve_app.graph import graph
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import bind_models

from .fakes import PICTURE, RECORDING, Ears, Painter, Writer

BY_NAME = {found.name: found for found in GRAPHS}


class Described(BaseModel):
    type: Literal["picture"] = "picture"
    picture: Image


class Quoted(BaseModel):
    type: Literal["quote"] = "quote"
    picture: str  # a text, although another kind of part has a file there


class Page(BaseModel):
    cover: Image | None = None
    named: dict[str, Image] = {}
    pair: tuple[str, Image] | None = None
    parts: list[Annotated[Described | Quoted, Field(discriminator="type")]] = []
    noted: Image | None = Field(None, alias="x-noted")
    next: "Page | None" = None


class Counted(BaseModel):
    """A result with every kind of column."""

    row: str = "its own"
    seconds: float = 0
    tokens: int | None = None
    words: list[str] = []
    picture: Image | None = None
    masks: list[Image] = []
    free: dict[str, Any] = {}
    mood: Literal["good", "bad"] = "good"
    either: int | str = 0
    page: Page | None = None


@graph(title="Bind")
async def bind(request: Page) -> Page:
    return request


@graph(title="Count")
async def count(request: Counted) -> Counted:
    return request


def batch_of(*graphs: Any) -> Rows:
    """The stage of a batch, over fakes instead of a running service."""
    from serve_app.clients.notebook import Medley

    models = {"writer": Writer("Yes."), "ears": Ears(), "painter": Painter()}
    backends = {"writer": "transformers", "ears": "hugging_face_speech_to_text", "painter": "diffusers"}
    rows = [{"name": name, "backend": backend} for name, backend in backends.items()]
    config = AppConfig.model_validate({"models": rows})
    stage = Rows.__new__(Rows)
    stage._medley = Medley(config, bind_models(config, {name: LocalHandle(model) for name, model in models.items()}))
    for found in graphs:
        stage._medley.graphs._graphs[found.name] = found
    return stage


async def ran(stage: Rows, name: str, *lines: bytes | dict[str, Any], folder: Path) -> list[tuple[Any, Any]]:
    """Result and error of each line."""
    written = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    answers = await stage._all(iter(list(enumerate(written, 1))), name, folder, folder / "out")
    return [tuple(json.loads(text) if text else None for text in answer) for answer in answers]  # type: ignore[misc]


def lines_of(path: Path, data: bytes) -> list[tuple[int, bytes]]:
    path.write_bytes(data)
    return [(row["row"], row["line"]) for row in read_lines(path)]


# Lines ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_only_a_line_feed_ends_a_line(separator: str, tmp_path: Path) -> None:
    text = f'{{"text":"bye{separator}now"}}\n{separator}\n'
    assert lines_of(tmp_path / "rows.jsonl", text.encode()) == [
        (1, f'{{"text":"bye{separator}now"}}'.encode()),
        (2, separator.encode()),  # no blank line: JSON knows four blanks only
    ]


def test_lines_of_windows_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"wish":"a"}\r\n\r\n \t\n{"wish":"b"}'
    lines = lines_of(tmp_path / "rows.jsonl", data)
    assert [number for number, _ in lines] == [1, 4]
    wishes = [request_of(line, BY_NAME["prompt_enhancement"], tmp_path)["wish"] for _, line in lines]
    assert wishes == ["a", "b"]


@pytest.mark.parametrize("data", [None, b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_refused(data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "rows.jsonl").write_bytes(data)
    with pytest.raises(InvalidInput, match="has no rows" if data is not None else "cannot be read") as raised:
        read_lines(tmp_path / "rows.jsonl")
    assert raised.value.field == "input"


# Bad rows ------------------------------------------------------------------------------------------------------------


async def test_a_bad_row_is_one_bad_row(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # no one ever writes to it
    (tmp_path / "good.wav").write_bytes(RECORDING.data)
    paths = ["a\0.wav", "\ud800.wav", "x" * 300, "a/" * 3000 + "b", "", ".", "nowhere.wav", "pipe.wav", "/dev/zero"]
    bad = [b'{"audio":"\xff.wav"}', b"[1]", b"{", b"[" * 100_000, b'{"audio":' + b"1" * 5000 + b"}", b"null"]
    lines = [*({"audio": path} for path in paths), *bad, {"audio": "good.wav"}]
    *failed, good = await ran(batch_of(), "transcription", *lines, folder=tmp_path)
    assert [error["type"] for _, error in failed] == ["invalid-input"] * len(failed)
    for _, error in failed[: len(paths)]:
        assert error["detail"].startswith("audio: ") and "cannot be read" in error["detail"]
    assert good[0]["text"] == "a red circle"


async def test_an_error_that_nobody_foresaw_is_one_bad_row(tmp_path: Path) -> None:
    @graph(title="Odd")
    async def odd(request: Counted) -> Counted:
        if request.tokens == 2:
            raise ZeroDivisionError("odd")
        return request.model_copy(update={"free": {"a": object()}}) if request.tokens == 3 else request

    answers = await ran(batch_of(odd), "odd", *({"tokens": number} for number in (1, 2, 3, 4)), folder=tmp_path)
    assert [error is None for _, error in answers] == [True, False, False, True]


async def test_a_result_that_no_column_holds_is_one_bad_row(tmp_path: Path) -> None:
    answers = await ran(batch_of(count), "count", {"tokens": 2**70}, {"tokens": 2**60}, folder=tmp_path)
    assert "does not fit" in answers[0][1]["detail"]
    assert answers[1][0]["tokens"] == 2**60


# Files ---------------------------------------------------------------------------------------------------------------


def test_paths_are_read_wherever_the_request_has_media(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE.data)
    fields = {
        "cover": "a.png",
        "named": {"one": "a.png"},
        "pair": ["a.png", "a.png"],
        "parts": [{"type": "picture", "picture": "a.png"}, {"type": "quote", "picture": "a.png"}],
        "x-noted": str(tmp_path / "a.png"),
        "next": {"cover": PICTURE.url},
    }
    page = bind.request.model_validate(request_of(json.dumps(fields).encode(), bind, tmp_path / "."))
    assert isinstance(page, Page)
    pictures = [page.cover, page.named["one"], page.pair and page.pair[1], page.noted, page.next and page.next.cover]
    assert pictures == [PICTURE] * 5
    assert page.pair and page.pair[0] == "a.png"
    assert page.parts == [Described(picture=PICTURE), Quoted(picture="a.png")]


@pytest.mark.parametrize("url", ["data:image/png,abc", "DATA:image/png;base64,%%", "data:" + "x" * 5000])
async def test_a_malformed_data_url_is_refused_as_one(url: str, tmp_path: Path) -> None:
    ((_, error),) = await ran(batch_of(), "smart_mask", {"image": url}, folder=tmp_path)
    assert error["type"] == "invalid-request" and "base64" in error["detail"]


async def test_an_unread_path_names_its_place(tmp_path: Path) -> None:
    ((_, error),) = await ran(
        batch_of(), "image_generation", {"prompt": "x", "references": ["no.png"]}, folder=tmp_path
    )
    assert error["detail"] == "references.0: 'no.png' cannot be read: No such file or directory"


def contents(paths: list[str]) -> list[bytes]:
    return [Path(path).read_bytes() for path in paths]


# Columns -------------------------------------------------------------------------------------------------------------


async def test_files_of_any_rows_are_read_together(tmp_path: Path) -> None:
    """By pandas and by PyArrow, with the types that the graph's result declares."""
    rows: list[dict[str, Any]] = [
        {},
        {"row": "seven", "tokens": 3, "words": ["a"], "picture": PICTURE.url, "masks": [PICTURE.url, PICTURE.url]},
        {"free": {"a": [1, "ä\ud800"]}, "either": "x", "page": {"named": {"b/../c": PICTURE.url}}},
        {"seconds": 1, "mood": "bad", "page": {"next": {"cover": PICTURE.url}}},
    ]
    stage, schema = batch_of(count), schema_of(Counted)
    (tmp_path / ROWS).mkdir()
    for number, row in enumerate(rows):
        answers = await stage._all(iter([(number, json.dumps(row).encode())]), "count", tmp_path, tmp_path)
        block = pyarrow.table({"result": [answers[0][0], ""]})  # one row, and one that failed
        pyarrow.parquet.write_table(_results(block, schema), tmp_path / ROWS / f"{number}.parquet")
    table = pyarrow.parquet.read_table(tmp_path / ROWS)
    assert table.schema.equals(schema)
    read = sorted(table.to_pylist(), key=lambda row: row["row"])
    assert [row["row"] for row in read] == [0, 1, 2, 3]
    assert [row["result.row"] for row in read] == ["its own", "seven", "its own", "its own"]
    assert [row["words"] for row in read] == [[], ["a"], [], []]
    assert json.loads(read[2]["free"]) == {"a": [1, "ä\ufffd"]}
    assert (read[1]["either"], read[2]["either"]) == ("0", "x")
    media = [read[1]["picture"], *read[1]["masks"], json.loads(read[2]["page"]["named"])["b/../c"]]
    assert contents(media) == [PICTURE.data] * 4
    assert {Path(path).parent for path in media} == {tmp_path / MEDIA}
    frame = pandas.read_parquet(tmp_path / ROWS)
    assert len(frame) == 4 and frame["seconds"].dtype == "float64"


@pytest.mark.parametrize("found", GRAPHS, ids=lambda found: found.name)
def test_every_graphs_result_has_columns(found: Any, tmp_path: Path) -> None:
    schema = schema_of(found.result)
    assert schema.names == ["row", *found.result.model_fields]
    pyarrow.parquet.write_table(schema.empty_table(), tmp_path / "rows.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").schema.equals(schema)


# The folder ----------------------------------------------------------------------------------------------------------


def test_a_second_batch_in_one_folder_is_refused_or_replaces_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    open_folder(out, False, graph="steps")
    for name in (ROWS, MEDIA):
        (out / name).mkdir()
        (out / name / "old").write_text("old")
    (out / ERRORS).write_text("old")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="--overwrite"):
        open_folder(out, False, graph="steps")
    assert (out / ROWS / "old").exists()
    open_folder(out, True, graph="steps")
    assert sorted(path.name for path in out.iterdir()) == sorted([MARK, "notes.txt"])


def test_what_no_batch_made_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / MEDIA).mkdir()
    for overwrite in (False, True):
        with pytest.raises(InvalidInput, match="no batch made"):
            open_folder(tmp_path, overwrite, graph="steps")
    assert (tmp_path / MEDIA).exists()


@pytest.mark.parametrize("name", ["file", "file/inside", "\udce9", "x" * 300])
def test_a_folder_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput) as raised:
        open_folder(tmp_path / name, False, graph="steps")
    assert raised.value.field == "output"
