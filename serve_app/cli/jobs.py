"""The commands `medley jobs`: list, show, watch, cancel and retry durable runs, over HTTP."""

import json
import shlex
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from deployments.errors import MedleyError

from ..clients.http import JOBS, Remote, RequestFailed, ServerEvent, UrlOption, open_remote, save_media
from ..clients.named_line import named
from ..jobs.job import ENDED, STATUSES
from .console import console, errors

app = typer.Typer(
    help="Durable runs: list, show, watch, cancel and retry them.\n\n"
    "Example: medley run speech_to_image audio=@wish.wav --detach, then medley jobs watch",
    no_args_is_help=True,
)

COLOURS = {"queued": "yellow", "running": "cyan", "succeeded": "green", "failed": "red", "cancelled": "magenta"}
MAX_WATCHED = 50  # without ids: each takes a connection
LOG_LINES = 5
IdsArgument = Annotated[list[str], typer.Argument(help="Ids of jobs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help=f"Only jobs with this status: {', '.join(STATUSES)}.")] = None,
    graph: Annotated[str | None, typer.Option(help="Only runs of this graph.")] = None,
    text: Annotated[str | None, typer.Option(help="Only jobs with this text in their input or output.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Number of jobs.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="The next page, as the previous page names it.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List your jobs, newest first."""
    options = {"status": status, "graph": graph, "text": text, "cursor": cursor}
    filters = {name: value for name, value in options.items() if value is not None}
    page = open_remote(url).ask("GET", JOBS, params={**filters, "limit": limit})
    if as_json:
        print(json.dumps(page))
        return
    if not page["jobs"]:
        console.print("No such jobs." if filters else "No jobs yet. Start one with `medley run GRAPH ... --detach`.")
        return
    table = Table(id_column(), "graph", "status", "created", "took", "progress", box=None)
    for job in page["jobs"]:
        table.add_row(job["id"], job["graph"], coloured(job["status"]), ago(job["created_at"]), took(job), part(job))
    console.print(table)
    if page["next_cursor"]:
        next_page = {**filters, "limit": limit, "cursor": page["next_cursor"]}
        arguments = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in next_page.items())
        more = f"More: medley jobs list {arguments}"
        console.print(more, style="dim", soft_wrap=True)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Id of a job.")],
    out: Annotated[Path | None, typer.Option(help="Save the result's media to this folder.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Show a job's times, steps, error and output."""
    remote = open_remote(url)
    job = remote.job(id)
    saved = None if out is None else save_media(remote.job(id, "result"), out, job["graph"])
    if as_json:
        print(json.dumps(job if saved is None else {**job, "saved": saved}))
        return
    console.print(Text.assemble((job["id"], "bold"), f"  {job['graph']}  ", coloured(job["status"])))
    for name, value in facts(job).items():
        console.print(f"  {name:10} {value}", soft_wrap=True)
    if job["steps"]:
        console.print(step_table(job["steps"]))
    if job["error"]:
        console.print(error_text(job["error"]), style="red", soft_wrap=True)
    for name, value in ((saved if saved is not None else job["output"]) or {}).items():
        console.print(named(name, value if isinstance(value, str) else readable(value)), soft_wrap=True)


@app.command()
def watch(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of jobs; by default every job that has not ended.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as lines of JSON.")] = False,
    url: UrlOption = None,
) -> None:
    """Follow jobs live until they end, through restarts of the service. Exit status 1 unless all succeed.

    Example: medley jobs watch job_01a1fc83f6e552d3f4a45541b38e
    """
    remote = open_remote(url)
    jobs = [remote.job(id) for id in dict.fromkeys(ids)] if ids else unfinished(remote)
    if not jobs:
        console.print("Nothing is queued or running.")
        return
    watched = {job["id"]: Watched(job) for job in jobs}
    try:
        if as_json:
            for id, event in follow_all(remote, watched):
                print(json.dumps({"job": id, "seq": event.seq, "kind": event.kind, "data": event.data}), flush=True)
        elif console.is_terminal:
            with Live(get_renderable=lambda: drawn(watched.values()), console=console, refresh_per_second=8):
                for _ in follow_all(remote, watched):
                    pass
        else:
            for id, event in follow_all(remote, watched):
                line = line_of(event)
                if line:
                    print(f"{id}  {line}" if len(watched) > 1 else line, flush=True)
    except KeyboardInterrupt:
        errors.print("The jobs keep running. Follow them again with `medley jobs watch`.")
        raise typer.Exit(130) from None
    if any(job.status != "succeeded" for job in watched.values()):
        raise typer.Exit(1)


@app.command()
def cancel(ids: IdsArgument, url: UrlOption = None) -> None:
    """Cancel jobs and release their reserved credits."""
    each(ids, url, "cancel")


@app.command()
def retry(ids: IdsArgument, url: UrlOption = None) -> None:
    """Run failed or cancelled jobs again, each from its last finished step."""
    each(ids, url, "retry")


def each(ids: list[str], url: str | None, action: str) -> None:
    """Do an action for several jobs; a refusal does not stop the others."""
    remote, refused = open_remote(url), False
    for id in ids:
        try:
            job = remote.job(id, action)
            stopping = job["cancel_requested"] and job["status"] not in ENDED
            state = "is being cancelled" if stopping else job["status"]
            console.print(f"{id}  {state}", soft_wrap=True)
        except RequestFailed as error:
            refused = True
            errors.print(f"{id}  {error}", style="red", soft_wrap=True)
    if refused:
        raise typer.Exit(1)


def unfinished(remote: Remote) -> list[dict[str, Any]]:
    """The running and queued jobs, oldest first."""
    jobs: list[dict[str, Any]] = []
    for status in ("running", "queued"):
        jobs += remote.ask("GET", JOBS, params={"status": status, "limit": 100})["jobs"]
    if len(jobs) > MAX_WATCHED:
        errors.print(f"{len(jobs)} or more jobs have not ended; {MAX_WATCHED} of them are shown.")
    by_id = {job["id"]: job for job in jobs[:MAX_WATCHED]}  # a job may have started between the two requests
    return [by_id[id] for id in sorted(by_id)]


class Watched:
    """The state of a job, followed by its events."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.id: str = job["id"]
        self.graph: str = job["graph"]
        self.status = "queued"
        self.error = ""
        self.steps: dict[str, dict[str, Any]] = {}
        self.log: list[str] = []
        self.fraction: float | None = None
        self._eta: float | None = None
        self._eta_at = time.monotonic()
        self.step: str = ""

    def take(self, event: ServerEvent) -> None:
        """Update the state with an event."""
        data = event.data
        if event.kind == "state":
            self.status = data["status"]
            self.error = error_text(data["error"]) if data.get("error") else ""
            if self.status == "queued":  # unfinished steps are repeated, finished steps stay
                self.steps = {name: step for name, step in self.steps.items() if step["status"] == "succeeded"}
            if self.status != "running":
                self._eta, self.step = None, ""
            if self.status == "succeeded":
                self.fraction = 1.0
        elif event.kind == "step":
            self.steps[data["name"]] = data
        elif event.kind == "log":
            self.log.append(data["message"])
        elif event.kind == "progress":
            self.fraction, self._eta, self.step = data["fraction"], data["eta_seconds"], data["step"] or ""
            self._eta_at = time.monotonic()

    @property
    def left(self) -> str:
        """The time left, which counts down between two events."""
        if self._eta is None:
            return ""
        left = self._eta - (time.monotonic() - self._eta_at)
        return f"{span(left)} left" if left > 0 else "any moment"


def follow_all(remote: Remote, watched: dict[str, Watched]) -> Iterable[tuple[str, ServerEvent]]:
    """The events of all watched jobs as they come, after each job has taken its event.

    Raises:
        MedleyError: a job cannot be followed any more.
    """
    queue: SimpleQueue[tuple[str, ServerEvent | MedleyError | None]] = SimpleQueue()

    def follow(id: str) -> None:
        try:
            for event in remote.follow(id):
                queue.put((id, event))
            queue.put((id, None))
        except MedleyError as error:
            queue.put((id, error))
        except Exception as error:
            queue.put((id, RequestFailed(f"{id}: {type(error).__name__}: {error}")))

    for id in watched:
        Thread(target=follow, args=(id,), daemon=True).start()
    left = set(watched)
    while left:
        id, event = queue.get()
        if isinstance(event, MedleyError):
            raise event
        if event is None:
            left.discard(id)
        else:
            watched[id].take(event)
            yield id, event


def drawn(watched: Iterable[Watched]) -> RenderableType:
    """A job with its steps and log, or several jobs with a row each."""
    jobs = list(watched)
    if len(jobs) > 1:
        names = ("graph", "status", "", "", "", "")
        table = Table(id_column(), *(Column(name, no_wrap=True) for name in names), box=None)
        for job in jobs:
            note = job.error or job.step or (job.log[-1] if job.log and job.status == "queued" else "")
            table.add_row(job.id, job.graph, coloured(job.status), *progress(job, 10), Text(note, overflow="ellipsis"))
        return table
    (job,) = jobs
    bar = Table.grid(padding=(0, 1))
    bar.add_row(*progress(job, 40))
    parts: list[RenderableType] = [
        Text.assemble((job.id, "bold"), f"  {job.graph}  ", coloured(job.status)),
        step_table(job.steps.values()),
        bar,
        *(Text(line, "dim") for line in job.log[-LOG_LINES:]),
    ]
    return Group(*parts, *([Text(job.error, "red")] if job.error else []))


def progress(job: Watched, width: int) -> tuple[RenderableType, str, Text]:
    """A bar, the fraction done and the time left, as far as they are known."""
    if job.fraction is None:
        return "", "", Text()
    return ProgressBar(1.0, job.fraction, width=width), f"{job.fraction:4.0%}", Text(job.left, "dim")


def step_table(steps: Iterable[dict[str, Any]]) -> Table:
    table = Table("step", "model", "", "took", "attempts", box=None)
    for step in steps:
        ended = step["status"] != "running"
        note = "from the cache" if step["cached"] else step.get("error") or ""
        attempts = str(step["attempts"]) if step["attempts"] > 1 else ""
        fraction = f" {step['fraction']:.0%}" if step.get("fraction") else ""
        mark = coloured(step["status"]) if ended else Text(f"running{fraction}", "cyan")
        table.add_row(step["name"], step["model"], mark, f"{step['seconds']:.2f} s" if ended else "", attempts, note)
    return table


def line_of(event: ServerEvent) -> str:
    """An event as a line of text; empty if it says nothing new."""
    data = event.data
    if event.kind == "state":
        attempt = f" (attempt {data['attempt']})" if data.get("attempt", 1) > 1 else ""
        return f"{data['status']}{attempt}{': ' + error_text(data['error']) if data.get('error') else ''}"
    if event.kind == "step":
        if data["status"] == "running" and data.get("fraction"):
            return ""
        ended = "" if data["status"] == "running" else f"  {data['seconds']:.2f} s"
        return f"{data['name']:24} {data['model']:20} {data['status']}{ended}  {data['error'] or ''}".rstrip()
    return data["message"] if event.kind == "log" else ""


def error_text(problem: dict[str, Any]) -> str:
    """The text of a problem document, which names the field if there is one."""
    return str(problem.get("detail") or problem.get("title") or "The job failed.")


def facts(job: dict[str, Any]) -> dict[str, str]:
    """The properties of a job that have a value."""
    queued, attempts = job["metrics"]["queued_seconds"], job["metrics"]["attempts"]
    lines = {
        "created": f"{job['created_at']}  ({ago(job['created_at'])})",
        "waited": "" if queued is None else span(queued),
        "took": took(job),
        "attempts": str(attempts) if attempts > 1 else "",
        "progress": part(job),
        "stopping": "cancel requested" if job["cancel_requested"] and job["status"] not in ENDED else "",
        "price": f"{job['price']} credits, charged {job['charged']}" if job["price"] else "",
        "kept until": job["expires_at"] or "",
        "input": readable({name: value for name, value in job["input"].items() if value is not None}),
    }
    return {name: value for name, value in lines.items() if value}


def readable(value: Any) -> str:
    """A value as JSON on one line, with every character as it is."""
    return json.dumps(value, ensure_ascii=False)


def id_column() -> Column:
    return Column("id", no_wrap=True, min_width=32)  # never cut, so that it can be copied


def coloured(status: str) -> Text:
    return Text(status, COLOURS.get(status, "red"))


def took(job: dict[str, Any]) -> str:
    """How long a job ran, or has been running."""
    if job["started_at"] is None:
        return ""
    seconds = job["metrics"]["run_seconds"]
    return span(since(job["started_at"]) if seconds is None else seconds)


def part(job: dict[str, Any]) -> str:
    """The number of finished steps of a job and the fraction done."""
    progress = job["progress"]
    if not progress or job["status"] == "succeeded":
        return ""
    fraction = "" if progress["fraction"] is None else f"  {progress['fraction']:.0%}"
    return f"{progress['done']}/{progress['steps']} steps{fraction}"


def since(moment: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def ago(moment: str) -> str:
    """The time since a moment, such as `3 min ago`."""
    seconds = since(moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def span(seconds: float) -> str:
    """A length of time: `0.53 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
