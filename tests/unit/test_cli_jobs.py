"""`medley jobs` and `medley run` over a real server: what they print, save and exit with."""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from serve_app.cli import jobs
from serve_app.cli.jobs import Watched, ago, drawn, follow_all, line_of, span, unfinished
from serve_app.cli.main import app
from serve_app.clients.http import RequestFailed, ServerEvent

from .fakes import PICTURE
from .services import KEY, Author, Make, Served, ended, started, until

CALLS = ["writer.chat", "writer.chat-2", "writer.chat-3"]
Medley = Callable[..., Awaitable[Result]]
PLAIN = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}


@pytest.fixture
async def client(served: Served) -> httpx.AsyncClient:
    return served.client()


@pytest.fixture
async def medley(served: Served) -> AsyncIterator[Medley]:
    async with served.listening() as url:
        yield calling(url)


def calling(url: str) -> Medley:
    """The command line, in a thread so that the server can answer it."""

    async def call(*arguments: str) -> Result:
        environment = {**PLAIN, "MEDLEY_URL": url, "MEDLEY_API_KEY": KEY}
        return await asyncio.to_thread(CliRunner().invoke, app, [*arguments], env=environment)

    return call


def good(result: Result, status: int = 0) -> str:
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def failed(result: Result) -> str:
    """What `main` would say."""
    assert isinstance(result.exception, RequestFailed), result.exception
    return str(result.exception)


# List and show -------------------------------------------------------------------------------------------------------


async def test_a_list_has_what_was_asked_for_and_says_how_to_see_more(
    medley: Medley, client: httpx.AsyncClient, author: Author
) -> None:
    assert "No jobs yet" in good(await medley("jobs", "list"))
    author.broken = {"two words 0"}
    made = [await started(client, text="two words") for _ in range(3)]
    for id in made:
        await ended(client, id, "failed")
    await ended(client, await started(client, text="circle"))
    text = good(await medley("jobs", "list"))
    assert all(id in text for id in made)
    assert "steps" in text and "failed" in text and "succeeded" in text and "s ago" in text
    assert "--cursor" not in text
    text = good(await medley("jobs", "list", "--text", "two words", "--limit", "2", "--status", "failed"))
    assert made[0] not in text and made[1] in text and made[2] in text
    more = re.search(r"More: medley (.*)", text)
    assert more
    text = good(await medley(*shlex.split(more[1])))
    assert made[0] in text and made[1] not in text and "More" not in text
    document = json.loads(good(await medley("jobs", "list", "--json", "--graph", "steps", "--limit", "1")))
    assert len(document["jobs"]) == 1 and document["next_cursor"]
    assert "No such jobs" in good(await medley("jobs", "list", "--text", "nowhere"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--status", "done"], "status"),
        (["list", "--graph", "stepps"], "Did you mean 'steps'?"),
        (["list", "--cursor", "x"], "cursor"),
        (["show", "nothing"], "There is no job 'nothing'."),
        (["show", "../identity"], "There is no"),
        (["watch", "nothing"], "There is no job 'nothing'."),
    ],
)
async def test_what_cannot_be_is_a_sentence(arguments: list[str], said: str, medley: Medley) -> None:
    result = await medley("jobs", *arguments)
    assert said in failed(result)
    assert result.exit_code == 1


async def test_show_has_steps_output_and_saves_media(medley: Medley, client: httpx.AsyncClient, tmp_path: Path) -> None:
    id = await started(client, "/api/v1/graphs/picture", text="[red] circle")
    job = await ended(client, id)
    text = good(await medley("jobs", "show", id))
    for part in (id, "picture", "succeeded", "writer.chat", "painter.generate", "author", "[RED] CIRCLE"):
        assert part in text
    assert job["output"]["image"] in text
    text = good(await medley("jobs", "show", id, "--out", str(tmp_path / "out")))
    (file,) = (tmp_path / "out").iterdir()
    assert file.name in text and file.read_bytes() == PICTURE.data
    assert json.loads(good(await medley("jobs", "show", id, "--json")))["steps"][0]["name"] == "writer.chat"


async def test_show_tells_why_a_job_failed(medley: Medley, client: httpx.AsyncClient, author: Author) -> None:
    author.broken = {"circle 1"}
    id = await started(client)
    await ended(client, id, "failed")
    text = good(await medley("jobs", "show", id))
    assert "text: is rude" in text and "writer.chat " in text
    assert "is rude" in failed(await medley("jobs", "show", id, "--out", "nowhere"))


async def test_a_service_that_is_not_there_is_a_sentence() -> None:
    assert "did not answer" in failed(await calling("http://127.0.0.1:9")("jobs", "list"))


# Watch ---------------------------------------------------------------------------------------------------------------


async def test_watch_tells_each_step_once_and_ends_with_the_job(
    medley: Medley, client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds = 0.05
    id = await started(client)
    lines = good(await medley("jobs", "watch", id)).splitlines()
    assert lines[0] == "queued" and lines[-1] == "succeeded"
    steps = [line.split() for line in lines if "author" in line]
    assert [(step[0], step[2]) for step in steps] == [
        (name, status) for name in CALLS for status in ("running", "succeeded")
    ]
    events = [json.loads(line) for line in good(await medley("jobs", "watch", id, "--json")).splitlines()]
    assert {event["job"] for event in events} == {id}
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"] == {"status": "succeeded"}


async def test_watch_of_several_ends_with_the_last_and_is_1_if_one_failed(
    medley: Medley, client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds, author.broken = 0.1, {"square 1"}
    made = [await started(client, text=text) for text in ("circle", "square")]
    text = good(await medley("jobs", "watch", *made), 1)
    assert f"{made[0]}  succeeded" in text and f"{made[1]}  failed: text: is rude" in text


async def test_watch_without_ids_has_all_that_have_not_ended(make: Make, author: Author) -> None:
    served = make(per_user=1)
    client = served.client()
    await ended(client, old := await started(client))
    author.seconds = 0.1
    made = [await started(client) for _ in range(3)]
    async with served.listening() as url:
        text = good(await calling(url)("jobs", "watch"))
        assert all(f"{id}  succeeded" in text for id in made) and old not in text
        assert "Nothing is queued" in good(await calling(url)("jobs", "watch"))


async def test_no_more_are_watched_than_there_are_connections_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy:
        def ask(self, method: str, path: str, params: dict[str, Any]) -> Any:
            return {"jobs": [{"id": f"{params['status']}-{n}"} for n in range(100)]}

    monkeypatch.setattr(jobs, "MAX_WATCHED", 120)
    found = [job["id"] for job in unfinished(Busy())]  # type: ignore[arg-type]
    assert len(found) == 120
    assert sum(id.startswith("running") for id in found) == 100


def seen(job: Watched, *others: Watched, width: int = 160) -> str:
    console = Console(record=True, width=width, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(drawn([job, *others]))
    return console.export_text()


def watched(*events: tuple[str, Any], id: str = "job_1") -> Watched:
    job = Watched({"id": id, "graph": "steps"})
    for number, (kind, data) in enumerate(events, 1):
        job.take(ServerEvent(number, kind, data))
    return job


def step(name: str, status: str = "succeeded", **more: Any) -> tuple[str, Any]:
    fields = {"model": "author", "attempts": 1, "seconds": 1.5, "cached": False, "error": None}
    return "step", {"name": name, "status": status, **fields, **more}


RUNNING = [
    ("state", {"status": "queued"}),
    ("state", {"status": "running", "attempt": 1}),
    step("writer.chat"),
    step("painter.generate", "running"),
    ("progress", {"step": "painter.generate", "done": 1, "steps": 2, "fraction": 0.4, "eta_seconds": 90}),
]


def test_a_running_job_shows_its_steps_how_far_it_is_and_the_time_left() -> None:
    text = seen(watched(*RUNNING))
    assert re.search(r"writer.chat +author +succeeded +1.50 s", text)
    assert re.search(r"painter.generate +author +running", text)
    assert "40%" in text and "1 min 30 s left" in text


def test_a_job_handed_over_keeps_what_is_done_and_says_why() -> None:
    log = ("log", {"level": "warning", "message": "handed over to another worker"})
    job = watched(*RUNNING, log, ("state", {"status": "queued"}))
    text = seen(job)
    assert "writer.chat" in text and "painter.generate" not in text
    assert "handed over to another worker" in text and "left" not in text
    assert "handed over" in seen(job, watched(*RUNNING, id="job_2"))


def test_a_failed_job_says_why_and_a_retried_one_no_longer() -> None:
    error = {"detail": "text: is [rude]", "errors": [{"field": "text"}]}
    job = watched(*RUNNING, ("state", {"status": "failed", "error": error}))
    assert "text: is [rude]" in seen(job)
    job.take(ServerEvent(9, "state", {"status": "queued"}))
    assert "rude" not in seen(job)


def test_several_jobs_are_a_row_each_with_whole_ids() -> None:
    jobs = [watched(*RUNNING, id="job_" + digit * 28) for digit in "123"]
    text = seen(*jobs, width=80)
    assert all(job.id in text for job in jobs)
    assert len(text.strip().splitlines()) == 4
    assert seen(*jobs, width=80) == text  # drawing changes nothing


def test_progress_is_no_line_of_a_file() -> None:
    assert [bool(line_of(ServerEvent(1, kind, data))) for kind, data in RUNNING] == [True, True, True, True, False]
    assert line_of(ServerEvent(1, "state", {"status": "running", "attempt": 2})) == "running (attempt 2)"


def test_a_job_that_cannot_be_followed_ends_the_watch() -> None:
    class Broken:
        def follow(self, id: str) -> Any:
            yield ServerEvent(1, "state", {"status": "running"})
            raise ValueError("odd")

    with pytest.raises(RequestFailed, match="odd"):
        list(follow_all(Broken(), {"job_1": watched()}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0.00 s"), (0.534, "0.53 s"), (12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_lengths_of_time_are_said_as_people_do(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_long_ago_is_in_days() -> None:
    assert ago("2020-01-01T00:00:00+00:00").endswith(" d ago")
    assert ago("2999-01-01T00:00:00+00:00") == "0 s ago"


# Cancel and retry ----------------------------------------------------------------------------------------------------


async def test_several_are_cancelled_and_retried_and_one_that_is_not_there_is_told(
    medley: Medley, client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds = 60
    made = [await started(client) for _ in range(2)]
    for id in made:
        await until(client, id, lambda job: job["status"] == "running")
    result = await medley("jobs", "cancel", made[0], "nothing", made[1])
    assert all(f"{id}  is being cancelled" in good(result, 1) for id in made)
    assert "nothing  There is no job 'nothing'." in result.stderr
    for id in made:
        await ended(client, id, "cancelled")
    assert f"{made[0]}  cancelled" in good(await medley("jobs", "cancel", made[0]))
    author.seconds = 0
    text = good(await medley("jobs", "retry", *made))
    assert all(f"{id}  queued" in text for id in made)
    for id in made:
        await ended(client, id)
    result = await medley("jobs", "retry", made[0])
    assert result.exit_code == 1 and "nothing to retry" in result.stderr


# Run -----------------------------------------------------------------------------------------------------------------


async def test_run_detached_gives_the_id_and_how_to_follow_it(medley: Medley, client: httpx.AsyncClient) -> None:
    text = good(await medley("run", "steps", "text=circle", "--detach"))
    id, follow = text.splitlines()
    assert follow == f"Follow it with: medley jobs watch {id}"
    await ended(client, id)
    assert "Did you mean 'text'?" in failed(await medley("run", "steps", "txt=circle", "--detach"))


async def test_a_run_that_outlasts_the_wait_is_followed_to_its_result(
    make: Make, author: Author, tmp_path: Path
) -> None:
    served = make(gateway={"wait_s": 0.15})
    author.seconds = 0.1
    async with served.listening() as url:
        medley = calling(url)
        text = good(await medley("run", "steps", "text=circle"))
        assert [text.count(f"{name} ") for name in CALLS] == [2, 2, 2]  # each start and each end, once
        assert "the run continues as job_" in text and "CIRCLE 2" in text
        text = good(await medley("run", "picture", "text=circle", "--out", str(tmp_path)))
        assert (tmp_path / "picture-image.png").read_bytes() == PICTURE.data
        author.broken = {"circle 2"}
        assert "is rude" in failed(await medley("run", "steps", "text=circle"))
    assert author.calls.count("circle 1") == 2


async def test_help_has_an_example(medley: Medley) -> None:
    text = good(await medley("jobs", "--help"))
    assert "medley run speech_to_image audio=@wish.wav --detach" in text
    assert all(command in text for command in ("list", "show", "watch", "cancel", "retry"))
