"""Running a graph over HTTP from the command line: fields into a form, steps shown live, media into files."""

import base64
import itertools
import json
import mimetypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
from rich.console import Console

from deployments.errors import InvalidInput, MedleyError
from deployments.media import DATA_URL, Media

from .accounts.keys import key_path
from .config import Settings


class RequestFailed(MedleyError):
    """The service refused or failed the request"""


def service_url(settings: Settings, url: str | None) -> str:
    """The URL given, else that of the Medley started here.

    Raises:
        MedleyError: none runs here.
    """
    from .up import running

    state = running(settings)
    if url:
        return url.rstrip("/")
    if state:
        return state.url
    raise MedleyError("No Medley runs here. Start one with `medley up`, or name one with --url.")


def key_for(settings: Settings) -> str:
    """MEDLEY_API_KEY, else the key kept in MEDLEY_HOME.

    Raises:
        MedleyError: there is neither.
    """
    try:
        return settings.api_key or key_path(settings).read_text().strip()
    except OSError:
        raise MedleyError(f"No API key: set MEDLEY_API_KEY, or start Medley once ({key_path(settings)}).") from None


def run_graph(url: str, key: str, graph: str, fields: list[str], out: Path, console: Console) -> dict[str, Any]:
    """Run a graph, show its steps, save its media under `out`, print and return the rest."""
    parts = form(fields)
    headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
    result: dict[str, Any] = {}
    timeout = httpx.Timeout(10, read=3700, write=600)
    try:
        with (
            httpx.Client(timeout=timeout) as client,
            client.stream("POST", f"{url}/api/v1/graphs/{graph}", files=parts, headers=headers) as answer,
            console.status("Waiting ..."),
        ):
            if answer.status_code != 200:
                answer.read()
                raise RequestFailed(_detail(answer))
            for kind, data in events(answer.iter_lines()):
                if kind == "error":
                    raise RequestFailed(data["detail"])
                if kind == "result":
                    result = data
                elif data["status"] == "running":
                    console.print(f"  {data['name']:24} {data['model']}", style="dim", highlight=False)
                else:
                    colour = "green" if data["status"] == "succeeded" else "red"
                    line = f"  {data['name']:24} {data['model']:20} {data['seconds']:7.2f} s"
                    console.print(f"[{colour}]{line}[/]  {data['error'] or ''}", highlight=False)
    except httpx.HTTPError as error:
        raise RequestFailed(f"{url} did not answer: {error}") from None
    for name, value in save_media(result, out, graph).items():
        console.print(f"[bold]{name}[/bold] {value}", highlight=False, soft_wrap=True)
    return result


def form(fields: list[str]) -> list[tuple[str, Any]]:
    """`name=value` and `name=@file` as the parts of a multipart form; `models.painter=x` names a model.

    Raises:
        InvalidInput: a field has no `=`, or a file cannot be read.
    """
    parts: list[tuple[str, Any]] = []
    models: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise InvalidInput(field, "write it as name=value or name=@file")
        if value.startswith("@"):
            path = Path(value[1:]).expanduser()
            try:
                kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
                parts.append((name, (path.name, path.read_bytes(), kind)))
            except OSError as error:
                raise InvalidInput(name, f"{path} cannot be read: {error.strerror}") from None
        elif name.startswith("models."):
            models[name.removeprefix("models.")] = value
        else:
            parts.append((name, (None, value)))
    if models or not parts:
        parts.append(("models", (None, json.dumps(models))))
    return parts


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Server-sent events as (kind, data)."""
    kind = "message"
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def save_media(result: dict[str, Any], out: Path, graph: str) -> dict[str, Any]:
    """The result with each data URL replaced by the path of a new file under `out`."""

    def saved(value: Any, name: str) -> Any:
        if isinstance(value, list):
            return [saved(item, f"{name}-{index + 1}") for index, item in enumerate(cast(list[Any], value))]
        if isinstance(value, dict):
            return {key: saved(item, f"{name}-{key}") for key, item in cast(dict[str, Any], value).items()}
        found = DATA_URL.match(value) if isinstance(value, str) else None
        if not found:
            return value
        try:
            data = base64.b64decode(value[found.end() :], validate=True)
        except ValueError:
            return value  # a text that begins like media
        return str(_write_new(out, f"{graph}-{name}", Media(data, found["type"] or "application/octet-stream")))

    return {key: saved(value, key) for key, value in result.items()}


def _write_new(folder: Path, stem: str, media: Media) -> Path:
    """Write to a name nothing has yet, inside the folder whatever the service calls its fields."""
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


def _detail(answer: httpx.Response) -> str:
    try:
        document = answer.json()
        return str(document.get("detail") or document)
    except ValueError:
        return f"{answer.status_code} {answer.text[:300]}"
