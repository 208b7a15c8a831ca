"""What the command line prints is what was written, and what cannot be is one sentence."""

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from rich.console import Console

import serve_app.cli as cli
from deployments.capabilities import Delta, Reply
from deployments.errors import MedleyError
from serve_app.cli.console import console
from serve_app.clients.http import Remote, form, run_graph
from serve_app.clients.named_line import named
from serve_app.config.settings import Settings

from .fakes import RECORDING
from .services import KEY, Author, Served, ended, started
from .test_cli_jobs import calling, good

ODD = "[red] :red_circle: [/] [link=x] \\[b] {0} %s ☃ 赤"
LATIN_1 = os.fsdecode("caf\xe9.wav".encode("latin-1"))
Say = Callable[..., str]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """What the command says about an error, with exit status 1."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("MEDLEY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDLEY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MEDLEY_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["medley", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        said = capfd.readouterr().err.strip()
        assert said and "\n" not in said and "Traceback" not in said
        return said

    return call


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("audio=@~nobody-here/x", "audio: ~nobody-here/x cannot be read: there is no such user"),
        ("audio=@" + "x" * 300, "cannot be read: File name too long"),
        ("audio=@nowhere/[red]:red_circle:.wav", "nowhere/[red]:red_circle:.wav cannot be read"),
        (f"audio=@nowhere/{LATIN_1}", "audio: nowhere/caf\\udce9.wav cannot be read"),
        (f"text={LATIN_1}", "text: is not UTF-8"),
        (f"{LATIN_1}=x", "is not UTF-8"),
        (f"models.writer={LATIN_1}", "models.writer: is not UTF-8"),
        (LATIN_1, "must be written as name=value"),
    ],
)
def test_a_field_that_cannot_be_is_one_sentence(field: str, said: str, say: Say) -> None:
    assert said in say("run", "transcription", field)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", LATIN_1, "a=b"),
        ("jobs", "show", LATIN_1),
        ("jobs", "cancel", LATIN_1),
        ("jobs", "list", "--text", LATIN_1),
        ("jobs", "list", "--url", f"http://{LATIN_1}"),
        ("credits", "grant", LATIN_1, "5"),
        ("plan", f"{LATIN_1}.yaml"),
        ("manifest", "~nobody-here/x.yaml"),
        ("batch", "steps", "--input", LATIN_1, "--output", "out"),
        ("up", "--profile", "x" * 300),
    ],
)
def test_no_argument_ends_in_a_traceback(arguments: tuple[str, ...], say: Say) -> None:
    assert say(*arguments)


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "\udce9"])
def test_a_key_that_cannot_be_one_is_one_sentence(key: str, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEY_API_KEY", key)
    assert "The API key has characters that no key has" in say("run", "steps", "text=x")


def test_a_home_of_nobody_and_a_profile_that_is_no_text_are_one_sentence(
    say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "binary.yaml" in say("plan", "binary.yaml")
    monkeypatch.setenv("MEDLEY_HOME", "~nobody-here/x")
    assert "MEDLEY_HOME is ~nobody-here/x" in say("run", "steps", "text=x")


def test_another_services_answer_is_one_sentence() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="data: <html>\n\n")

    asked = Remote("http://medley", "key", httpx.Client(transport=httpx.MockTransport(answer)))
    with pytest.raises(MedleyError, match="did not answer in JSON"):
        asked.ask("GET", "/x")
    with pytest.raises(MedleyError, match="sent events that are not JSON"):
        list(asked.stream("GET", "/x"))


def test_a_file_is_sent_whatever_encoding_its_name_has(tmp_path: Path) -> None:
    path = tmp_path / LATIN_1
    path.write_bytes(RECORDING.data)
    ((name, (label, data, _)),) = form([f"audio=@{path}"])
    assert (name, label, data) == ("audio", "caf?.wav", RECORDING.data)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    from serve_app.clients.http import save_media

    (tmp_path / "file").write_text("")
    with pytest.raises(MedleyError, match="cannot be saved"):
        save_media({"audio": RECORDING.url}, tmp_path / "file", "speech")


def printed(*values: object) -> str:
    with console.capture() as caught:
        for value in values:
            console.print(value, soft_wrap=True)
    return caught.get()


def test_a_text_is_printed_as_it_is() -> None:
    from rich.table import Table

    table = Table(box=None)
    table.add_row(ODD)
    assert printed(ODD, named("text", ODD)) == f"{ODD}\ntext {ODD}\n"
    assert printed(table).strip() == ODD


async def test_a_result_is_printed_as_it_is_on_any_console(served: Served, author: Author, tmp_path: Path) -> None:
    async def chat(*given: object, **options: object) -> Reply:
        return Reply(text=ODD, finish_reason="stop", prompt_tokens=1, completion_tokens=1)

    author.chat = chat  # type: ignore[method-assign]
    plain = Console(file=io.StringIO(), width=40)  # markup and emoji on: a caller's console
    async with served.listening() as url:
        fields = ["text=" + ODD, "steps=1"]
        await asyncio.to_thread(run_graph, url, KEY, "steps", fields, tmp_path, plain)
    assert f"said [{ODD!r}]\n" in plain.file.getvalue()  # type: ignore[attr-defined]


async def test_only_names_begin_a_line_of_a_result(served: Served, author: Author, tmp_path: Path) -> None:
    async def stream(*given: object, **options: object) -> AsyncIterator[Delta]:
        yield Delta(text="Roses are red.\nViolets are blue.", finish_reason="stop")

    author.stream = stream  # type: ignore[method-assign]
    plain = Console(file=io.StringIO(), width=40)
    async with served.listening() as url:
        fields = ['messages=[{"role": "user", "content": "a poem"}]']
        await asyncio.to_thread(run_graph, url, KEY, "chat", fields, tmp_path, plain)
    lines = plain.file.getvalue().splitlines()  # type: ignore[attr-defined]
    names = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert set(names) == set(Reply.model_fields) and "  Violets are blue." in lines


async def test_a_jobs_texts_are_shown_as_they_are(served: Served, author: Author) -> None:
    client = served.client()
    author.broken = {f"{ODD} 1"}
    made = await started(client, text=ODD)
    await ended(client, made, "failed")
    done = await started(client, text=ODD, steps=1)
    await ended(client, done)
    async with served.listening() as url:
        medley = calling(url)
        assert ODD.replace("\\", "\\\\") in good(await medley("jobs", "show", made))
        assert f'"{ODD.upper()} 0"'.replace("\\", "\\\\") in good(await medley("jobs", "show", done))


def test_no_module_of_the_command_line_has_a_console_with_markup() -> None:
    folder = Path(cli.__file__).parent
    sources = {path.name: path.read_text() for path in folder.glob("*.py") if path.name != "console.py"}
    assert [name for name, text in sources.items() if " Console(" in text] == []
    assert not any(mark in text for text in sources.values() for mark in ("[red]", "[bold]", "[/"))


def test_an_api_key_file_that_is_no_text_is_no_key(tmp_path: Path) -> None:
    from serve_app.clients.http import key_for

    (tmp_path / "api_key").write_bytes(b"\xff\xfe")
    with pytest.raises(MedleyError, match="No API key"):
        key_for(Settings(tmp_path, None))


def test_only_the_names_of_fields_begin_a_line() -> None:
    poem = named("text", "Roses are red.\ncontext 3\n\nViolets are blue.")
    assert [line for line in poem.plain.split("\n") if line and not line.startswith(" ")] == ["text Roses are red."]
