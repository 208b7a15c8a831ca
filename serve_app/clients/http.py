"""The HTTP client of the command line: sends fields as a form, shows steps live, follows jobs, saves media."""

import base64
import itertools
import json
import mimetypes
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast
from urllib.parse import quote

import httpx
import typer
from rich.console import Console
from rich.text import Text

from deployments.errors import InvalidInput, MedleyError
from deployments.media import DATA_URL, Media

from ..accounts.keys import key_path
from ..config.settings import Settings
from ..jobs.job import ENDED
from .named_line import named

JOBS = "/api/v1/jobs"
SILENCE_TIMEOUT_S = 40.0  # a comment comes at least every 15 s; longer silence is a lost connection
PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0  # between attempts to reconnect
RECONNECT_TIMEOUT_S = 180.0  # a restart of the whole service takes less

SHOWN_CHARACTERS = 100  # of a text that is being written

UrlOption = Annotated[
    str | None, typer.Option(help="URL of a Medley; by default the one started on this machine.", envvar="MEDLEY_URL")
]


class RequestFailed(MedleyError):
    """The service refused or failed the request"""


class NoAnswer(RequestFailed):
    """The service cannot answer now"""


class ServerEvent(NamedTuple):
    """A server-sent event; `seq` is its id, 0 if it has none."""

    seq: int
    kind: str
    data: Any


class Remote:
    """A Medley at a URL.

    Args:
        client: the httpx client to use; by default a new one.

    Raises:
        MedleyError: the key cannot be one.
    """

    def __init__(self, url: str, key: str, client: httpx.Client | None = None) -> None:
        self.url = url
        if not key.isascii() or not key.isprintable():
            raise MedleyError("The API key has characters that no key has; it may be another file's content.")
        headers = {"authorization": f"Bearer {key}"}
        self._client = client or httpx.Client(timeout=httpx.Timeout(10, read=3700, write=600))
        self._client.headers.update(headers)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The JSON document of a response.

        Raises:
            RequestFailed: the service refused the request; NoAnswer: it did not answer.
        """
        with self._reached():
            answer = self._client.request(method, self.url + path, **options)
        _check(answer)
        try:
            return answer.json()
        except ValueError:
            raise RequestFailed(f"{self.url} did not answer in JSON; is it a Medley?") from None

    def job(self, job_id: str, action: str = "") -> Any:
        """A job; or the response to an action: `cancel` and `retry` change the job, `result` reads its result."""
        method = "POST" if action in ("cancel", "retry") else "GET"
        return self.ask(method, f"{job_path(job_id)}{'/' if action else ''}{action}")

    def stream(self, method: str, path: str, silent_s: float = 3700, **options: Any) -> Iterator[ServerEvent]:
        """The events of a response, as they come.

        Raises:
            RequestFailed: as `ask`.
        """
        timeout = httpx.Timeout(10, read=silent_s, write=600)
        with self._reached(), self._client.stream(method, self.url + path, timeout=timeout, **options) as answer:
            if answer.status_code != 200:
                answer.read()
                _check(answer)
            try:
                yield from read_events(answer.iter_lines())
            except json.JSONDecodeError:
                raise RequestFailed(f"{self.url} sent events that are not JSON; is it a Medley?") from None

    def follow(self, job_id: str, after: int = 0) -> Iterator[ServerEvent]:
        """A job's events after number `after` until it ends, each once, reconnecting as often as needed.

        Raises:
            RequestFailed: the job does not exist, or the service has not answered for minutes.
        """
        last_event_at, pause = time.monotonic(), PAUSE_S
        while True:
            try:
                headers = {"last-event-id": str(after), "accept": "text/event-stream"}
                for event in self.stream("GET", f"{job_path(job_id)}/events", SILENCE_TIMEOUT_S, headers=headers):
                    if event.kind == "error":  # the next connection gets the rest
                        break
                    after, last_event_at, pause = event.seq, time.monotonic(), PAUSE_S
                    yield event
                if self.job(job_id)["status"] in ENDED:
                    return
            except NoAnswer:
                if time.monotonic() - last_event_at > RECONNECT_TIMEOUT_S:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    @contextmanager
    def _reached(self) -> Generator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(f"{self.url} did not answer: {error or type(error).__name__}") from None


def job_path(job_id: str) -> str:
    return f"{JOBS}/{quote(job_id, safe='')}"


def open_remote(url: str | None) -> Remote:
    """The Medley at a URL, or the one started on this machine.

    Raises:
        MedleyError: no Medley runs here, or there is no key.
    """
    settings = Settings.from_environment()
    return Remote(service_url(settings, url), key_for(settings))


def service_url(settings: Settings, url: str | None) -> str:
    """The URL of the service: `url`, else that of the Medley started on this machine.

    Raises:
        MedleyError: no Medley runs here.
    """
    from ..provisioning.local_cluster import running

    if url:
        return url.rstrip("/")
    state = running(settings)
    if state:
        return state.url
    raise MedleyError("No Medley runs on this machine. Start it with `medley up`, or name another with --url.")


def key_for(settings: Settings) -> str:
    """The API key: MEDLEY_API_KEY, else the key in MEDLEY_HOME.

    Raises:
        MedleyError: there is no key.
    """
    try:
        return settings.api_key or key_path(settings).read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise MedleyError(f"No API key: set MEDLEY_API_KEY, or start Medley once ({key_path(settings)}).") from None


def run_graph(url: str, key: str, graph: str, fields: list[str], out: Path, console: Console) -> dict[str, Any]:
    """Run a graph, show its steps, save its media under `out`, print and return the rest.

    If the run takes longer than the service waits, it continues as a job, which is followed in the same way.
    """
    remote, parts, printed = Remote(url, key), form(fields), PrintedSteps(console)
    result: dict[str, Any] = {}
    text = ""
    with console.status("Waiting ...") as status:
        headers = {"accept": "text/event-stream"}
        for _, kind, data in remote.stream("POST", graph_path(graph), files=parts, headers=headers):
            if kind == "error":
                raise RequestFailed(data["detail"])
            if kind == "result":
                result = data
            elif kind == "step":
                printed.show(data)
            elif kind == "pieces":  # the end of a growing text is shown
                text += "".join(str(piece.get("text", "")) for piece in data)
                status.update(Text(text[-SHOWN_CHARACTERS:] or "Waiting ..."))
            elif kind == "job":
                result = _finish_job(remote, data["id"], printed, console)
    for name, value in save_media(result, out, graph).items():
        _show(console, named(name, value))
    return result


def start_job(url: str, key: str, graph: str, fields: list[str], console: Console) -> dict[str, Any]:
    """Start a graph as a job, and print how to follow it."""
    job = Remote(url, key).ask("POST", graph_path(graph), files=form(fields), headers={"prefer": "respond-async"})
    _show(console, job["id"])
    _show(console, f"Follow it with: medley jobs watch {job['id']}", "dim")
    return job


def graph_path(graph: str) -> str:
    return f"/api/v1/graphs/{quote(graph, safe='')}"


def _finish_job(remote: Remote, job_id: str, printed: "PrintedSteps", console: Console) -> dict[str, Any]:
    """Follow a run that became a job, and fetch its result."""
    _show(console, f"  the run continues as {job_id}", "dim")
    try:
        for _, kind, data in remote.follow(job_id):
            if kind == "step":
                printed.show(data)
            elif kind == "log":
                _show(console, f"  {data['message']}", "dim")
    except KeyboardInterrupt:
        _show(console, f"The job keeps running. Follow it again with: medley jobs watch {job_id}")
        raise
    return remote.job(job_id, "result")


class PrintedSteps:
    """The steps of a run as lines: each start and each end once, even if its event comes again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: set[tuple[str, str]] = set()

    def show(self, step: dict[str, Any]) -> None:
        mark = step["name"], step["status"]
        if mark in self._shown:
            return
        self._shown.add(mark)
        if step["status"] == "running":
            _show(self._console, f"  {step['name']:24} {step['model']}", "dim")
            return
        colour = "green" if step["status"] == "succeeded" else "red"
        line = f"  {step['name']:24} {step['model']:20} {step['seconds']:7.2f} s"
        _show(self._console, Text.assemble((line, colour), f"  {step['error'] or ''}"))


def _show(console: Console, line: str | Text, style: str = "") -> None:
    """Print a line as it is, on any console: what a user or a service wrote has no markup."""
    console.print(line if isinstance(line, Text) else Text(line), style=style, highlight=False, soft_wrap=True)


def form(fields: list[str]) -> list[tuple[str, Any]]:
    """`name=value` and `name=@file` as the parts of a multipart form; `models.painter=x` names a model.

    Raises:
        InvalidInput: a field has no `=` or is not UTF-8, or a file cannot be read.
    """
    parts: list[tuple[str, Any]] = []
    models: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise InvalidInput(field, "must be written as name=value or name=@file")
        if value.startswith("@"):
            parts.append((_text(name), _file(name, value[1:])))
        elif name.startswith("models."):
            models[name.removeprefix("models.")] = _text(value, name)
        else:
            parts.append((_text(name), (None, _text(value, name))))
    if models or not parts:
        parts.append(("models", (None, json.dumps(models))))
    return parts


def _text(text: str, name: str = "") -> str:
    """The text, which comes from a command line and may be in another encoding.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(name or ascii(text), "is not UTF-8: write it in UTF-8") from None
    return text


def _file(name: str, written: str) -> tuple[str, bytes, str]:
    """A file as part of a form: its name, its bytes and its media type.

    Raises:
        InvalidInput: the file cannot be read.
    """
    try:
        path = Path(written).expanduser()
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(name, f"{written} cannot be read: {error.strerror}") from None
    except RuntimeError:  # of `expanduser`
        raise InvalidInput(name, f"{written} cannot be read: there is no such user") from None
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return path.name.encode(errors="replace").decode(), data, kind  # a name in another encoding is only a label


def read_events(lines: Iterator[str]) -> Iterator[ServerEvent]:
    """The server-sent events in lines, without an event that was cut off."""
    seq, kind, data = 0, "message", None
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id" and value.isdigit():
            seq = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not line and data is not None:
            yield ServerEvent(seq, kind, json.loads(data))
            seq, kind, data = 0, "message", None


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """The server-sent events in lines, as (kind, data)."""
    return ((event.kind, event.data) for event in read_events(lines))


def save_media(result: dict[str, Any], out: Path, graph: str) -> dict[str, Any]:
    """The result with each data URL replaced by the path of a new file under `out`."""

    def saved(value: Any, name: str) -> Any:
        if isinstance(value, list):
            return [saved(item, f"{name}-{index + 1}") for index, item in enumerate(cast(list[Any], value))]
        if isinstance(value, dict):
            return {key: saved(item, f"{name}-{key}") for key, item in cast(dict[str, Any], value).items()}
        match = DATA_URL.match(value) if isinstance(value, str) else None
        if not match:
            return value
        try:
            data = base64.b64decode(value[match.end() :], validate=True)
        except ValueError:
            return value  # a text that begins like a data URL
        return str(_write_new(out, f"{graph}-{name}", Media(data, match["type"] or "application/octet-stream")))

    return {key: saved(value, key) for key, value in result.items()}


def _write_new(folder: Path, stem: str, media: Media) -> Path:
    """Write media to a new file, inside the folder whatever names the service gives its fields.

    Raises:
        MedleyError: the folder cannot be written to.
    """
    try:
        return _written(folder, stem, media)
    except OSError as error:
        raise MedleyError(
            f"The media cannot be saved in {folder}: {error.strerror}. Name another with --out."
        ) from None


def _written(folder: Path, stem: str, media: Media) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", stem)[:120]
    for number in itertools.count(1):
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}{media.suffix}"
        try:
            with path.open("xb") as file:
                file.write(media.data)
            return path
        except FileExistsError:
            continue
    raise AssertionError("there is always another number")


def _check(answer: httpx.Response) -> None:
    """Check that a response is a success.

    Raises:
        RequestFailed: the service refused the request; NoAnswer: it asks to try again, or a proxy answered instead.
    """
    if answer.is_success:
        return
    try:
        document = answer.json()
        detail, from_medley = str(document.get("detail") or document), "status" in document
    except (ValueError, AttributeError):
        detail, from_medley = f"{answer.status_code} {answer.text[:300]}", False
    raise (RequestFailed if from_medley and answer.status_code != 503 else NoAnswer)(detail)
