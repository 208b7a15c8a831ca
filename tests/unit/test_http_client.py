"""The command line's side of HTTP: fields into forms, events into values, media into files."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.errors import InvalidInput, MedleyError
from serve_app.clients import http
from serve_app.clients.http import (
    NoAnswer,
    Remote,
    RequestFailed,
    ServerEvent,
    events,
    form,
    key_for,
    read_events,
    save_media,
)
from serve_app.config.settings import Settings

from .fakes import PICTURE, RECORDING


def test_fields_are_parts_and_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "wish.wav"
    file.write_bytes(RECORDING.data)
    parts = form(["style=a=b", "empty=", f"audio=@{file}"])
    assert parts[:2] == [("style", (None, "a=b")), ("empty", (None, ""))]
    name, (file_name, data, kind) = parts[2]
    assert (name, file_name, data) == ("audio", "wish.wav", RECORDING.data)
    assert kind in ("audio/x-wav", "audio/wav", "audio/vnd.wave")


def test_models_are_named_in_one_part() -> None:
    *_, (name, (_, value)) = form(["text=x", "models.voice=espeak", "models.writer=tiny"])
    assert (name, json.loads(value)) == ("models", {"voice": "espeak", "writer": "tiny"})


def test_a_form_is_never_empty() -> None:
    assert form([]) == [("models", (None, "{}"))]


@pytest.mark.parametrize("field", ["text", "=x", ""])
def test_a_field_without_name_or_value_is_refused(field: str) -> None:
    with pytest.raises(InvalidInput, match="name=value or name=@file"):
        form([field])


@pytest.mark.parametrize("path", ["nowhere.wav", "."])
def test_a_file_that_cannot_be_read_is_refused_by_field(path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read") as refused:
        form([f"audio=@{tmp_path / path}"])
    assert refused.value.field == "audio"


def test_events_are_read_as_they_come() -> None:
    lines = iter(["event: step", 'data: {"name": "a"}', "", ": a comment", "event: result", 'data: {"text": "b"}', ""])
    found = events(lines)
    assert next(found) == ("step", {"name": "a"})
    assert list(found) == [("result", {"text": "b"})]


def test_an_event_that_was_cut_off_is_left_out() -> None:
    lines = [
        "id: 7",
        "event: step",
        'data: {"name": "a"}',
        "",
        ": keep-alive",
        "",
        "id: 8",
        "event: step",
        'data: {"na',
    ]
    assert list(read_events(iter(lines))) == [ServerEvent(7, "step", {"name": "a"})]
    assert list(read_events(iter(lines[4:]))) == []


class Flaky:
    """A service whose answers are scripted; `last` are the numbers its events were asked after."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.last = list(answers), list[str]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            self.last.append(request.headers["last-event-id"])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def remote(self) -> Remote:
        return Remote("http://medley", "key", httpx.Client(transport=httpx.MockTransport(self)))


class Cut(httpx.SyncByteStream):
    """A body whose connection is lost after what is there."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("connection reset")


def sse(*numbers: int, status: str = "running") -> str:
    data = json.dumps({"status": status})
    return "".join(f"id: {number}\nevent: state\ndata: {data}\n\n" for number in numbers)


def problem(status: int) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "detail": f"It is {status}."})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("serve_app.clients.http.time.sleep", slept.append)
    return slept


def test_a_job_is_followed_over_lost_connections_and_each_event_comes_once(pauses: list[float]) -> None:
    flaky = Flaky(
        httpx.Response(200, stream=Cut(sse(1, 2) + "id: 3\nevent: st")),
        httpx.ConnectError("refused"),
        httpx.Response(503, text="<html>no server is available"),
        httpx.Response(404, text="no route"),  # of what stands before the service while that starts
        problem(503),
        httpx.Response(200, text=sse(3, 4)),
        httpx.Response(200, json={"status": "running"}),  # it has not ended: the gateway was
        httpx.Response(200, text='event: error\ndata: {"detail": "too slow"}\n\n'),
        httpx.Response(200, json={"status": "running"}),
        httpx.Response(200, text=sse(5, status="succeeded")),
        httpx.Response(200, json={"status": "succeeded"}),
    )
    assert [event.seq for event in flaky.remote().follow("job_1")] == [1, 2, 3, 4, 5]
    assert flaky.last == ["0", "2", "2", "2", "2", "2", "4", "4"]
    assert flaky.answers == []
    assert pauses[:5] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert pauses[5] == 0.2  # it was heard again


def test_a_retried_jobs_first_end_is_not_its_last(pauses: list[float]) -> None:
    flaky = Flaky(
        httpx.Response(200, stream=Cut(sse(1, status="failed"))),
        httpx.Response(200, text=sse(2, status="succeeded")),
        httpx.Response(200, json={"status": "succeeded"}),
    )
    assert [event.data["status"] for event in flaky.remote().follow("job_1")] == ["failed", "succeeded"]


@pytest.mark.parametrize("status", [401, 404, 422, 500])
def test_a_refusal_ends_the_following(status: int, pauses: list[float]) -> None:
    with pytest.raises(RequestFailed, match=f"It is {status}") as caught:
        list(Flaky(problem(status)).remote().follow("job_1"))
    assert not isinstance(caught.value, NoAnswer)
    assert pauses == []


def test_a_service_that_stays_away_is_given_up(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RECONNECT_TIMEOUT_S", 0.0)
    with pytest.raises(NoAnswer, match="did not answer"):
        list(Flaky(httpx.ConnectError("refused")).remote().follow("job_1"))


@pytest.mark.parametrize("id", ["../identity", "a/b", "a?b", "a b", "ä"])
def test_an_id_is_one_part_of_a_path(id: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path.decode().count("/") == 4
        return httpx.Response(200, json={"path": request.url.path})

    asked = Remote("http://medley", "key", httpx.Client(transport=httpx.MockTransport(answer)))
    assert asked.job(id)["path"] == f"/api/v1/jobs/{id}"


def test_media_become_files_and_the_rest_stays(tmp_path: Path) -> None:
    result = {
        "prompt": "data: not a URL",
        "images": [PICTURE.url, PICTURE.url],
        "nested": {"audio": RECORDING.url, "n": 1},
        "none": None,
    }
    saved = save_media(result, tmp_path / "out", "paint")
    images = [tmp_path / "out" / f"paint-images-{number}.png" for number in (1, 2)]
    audio = tmp_path / "out" / "paint-nested-audio.wav"
    assert saved == {
        "prompt": "data: not a URL",
        "images": [str(image) for image in images],
        "nested": {"audio": str(audio), "n": 1},
        "none": None,
    }
    assert [image.read_bytes() for image in images] == [PICTURE.data] * 2
    assert audio.read_bytes() == RECORDING.data


def test_without_media_no_folder_is_made(tmp_path: Path) -> None:
    assert save_media({"text": "hello"}, tmp_path / "out", "chat") == {"text": "hello"}
    assert not (tmp_path / "out").exists()


def test_an_older_result_is_never_replaced(tmp_path: Path) -> None:
    names = [Path(save_media({"image": PICTURE.url}, tmp_path, "paint")["image"]).name for _ in range(3)]
    assert names == ["paint-image.png", "paint-image-2.png", "paint-image-3.png"]


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere.png"
    out.mkdir()
    (out / "paint-image.png").symlink_to(elsewhere)
    saved = save_media({"image": PICTURE.url}, out, "paint")
    assert not elsewhere.exists()
    assert saved["image"] == str(out / "paint-image-2.png")


@pytest.mark.parametrize("name", ["/../../x", "../x", "a/../../x", "/etc/x", "..", "a\\..\\x", "a\0b", "x" * 500])
def test_a_service_cannot_choose_a_place_outside_the_folder(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "paint-").mkdir(parents=True)
    (out / "paint-a").mkdir()
    saved = save_media({name: PICTURE.url}, out, "paint")
    assert Path(saved[name]).resolve().parent == out.resolve()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Path(saved[name])]


@pytest.mark.parametrize(
    ("media_type", "suffix"), [("", ".octet-stream"), ("image/..", "..."), ("audio/x-wav", ".wav")]
)
def test_a_media_type_chooses_no_more_than_the_ending(media_type: str, suffix: str, tmp_path: Path) -> None:
    url = f"data:{media_type};base64,{base64.b64encode(b'data').decode()}"
    assert save_media({"x": url}, tmp_path, "paint") == {"x": str(tmp_path / f"paint-x{suffix}")}


@pytest.mark.parametrize("text", ["data:text/plain;base64,not base64!", "data:text/plain;base64,ÄÄÄÄ"])
def test_a_text_that_only_looks_like_media_stays_a_text(text: str, tmp_path: Path) -> None:
    result: dict[str, Any] = {"text": text}
    assert save_media(result, tmp_path / "out", "chat") == result
    assert not (tmp_path / "out").exists()


def test_the_key_is_that_of_the_environment_else_that_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("kept\n")
    assert key_for(Settings(tmp_path, "given")) == "given"
    assert key_for(Settings(tmp_path, None)) == "kept"
    with pytest.raises(MedleyError, match="MEDLEY_API_KEY"):
        key_for(Settings(tmp_path / "nowhere", None))
