"""The documentation names what exists, all of it; its links lead somewhere, and its snippets are real."""

import ast
import importlib
import io
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import typer
import yaml

from deployments import BACKENDS
from deployments.backend import Backend
from deployments.capabilities import CAPABILITIES, Depth, Language, capabilities_of
from deployments.errors import CallerError, InvalidInput, MedleyError, ModelUnavailable, Transient
from deployments.media import Image
from graphs import GRAPHS
from serve_app.cli.main import app
from serve_app.config.loading import load_backend
from serve_app.config.schema import (
    AppConfig,
    GatewayConfig,
    JobsConfig,
    ModelConfig,
    NodeConfig,
    PackagedFile,
    PackagedWeights,
    PackagePart,
)
from serve_app.errors import ServiceError, SetupError
from serve_app.gateway.openapi import example
from serve_app.graph import Graph
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.run import Executor

from .fakes import PICTURE, Writer
from .runs import ANN
from .services import Served
from .test_layering import FLOORS

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), *(ROOT / "deployments").rglob("*.md"))
}
README, DOCS = PAGES["README.md"], "\n".join(text for name, text in PAGES.items() if not name.startswith("deployments"))
MODELS = "\n".join(text for name, text in PAGES.items() if name.startswith("docs/models/"))

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
LEVELS = (CallerError, Transient, ServiceError, SetupError)
GENERATED = ("build", "dist", "output", "__pycache__")  # beside hidden folders and *.egg-info


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", PAGES[page])


def blocks(language: str, pages: dict[str, str] = PAGES) -> Iterator[tuple[str, str]]:
    """Each fenced block of a language, with the page it is on."""
    for page, text in pages.items():
        for _, found, block in FENCE.findall(text):
            if found == language:
                yield page, textwrap.dedent(block)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"[*`\\]|!?\[|\]\([^)]*\)", "", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        while anchor in found:
            anchor += "-1"
        found.add(anchor)
    return found


def cells(page: str, head: str) -> list[list[str]]:
    """The rows of a page's table whose first line begins with `head`."""
    _, found, rest = page.partition(f"\n{head}")
    assert found, head
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken: list[str] = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        name = str(target.resolve().relative_to(ROOT))
        if not target.exists() or (anchor and anchor not in anchors(name)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_every_page_is_reached_from_the_readme(page: str) -> None:
    assert page in [link.partition("#")[0] for link in LINK.findall(README)]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def tree() -> set[str]:
    """The folders that the README's tree names, from its indentation; a line may name several."""
    (block,) = [block for _, block in blocks("", {"README.md": README}) if "serve_app/" in block]
    found: set[str] = set()
    top = ""
    for line in block.splitlines():
        for name in re.findall(r"\S+/(?=\s|$)", re.split(r"  +(?=[a-z]+ )", line.strip())[0]):
            indented = line.startswith(" ")
            found.add(f"{top}{name}".rstrip("/") if indented else name.rstrip("/"))
            if not indented:
                top = name
    return found


def folders(inside: str = ".") -> set[str]:
    """The folders of the repository in this one, generated and hidden ones left out."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / inside).iterdir()
        if path.is_dir()
        and not path.name.startswith((".", "_"))
        and path.suffix != ".egg-info"
        and path.name not in GENERATED
        and any(file.is_file() and "__pycache__" not in file.parts for file in path.rglob("*"))
    }


def test_the_tree_is_of_the_folders_that_exist() -> None:
    named = tree()
    assert {name for name in named if not (ROOT / name).is_dir()} == set()
    expected = folders() | folders("serve_app") | folders("deployments") | folders("tests")
    assert expected - named == set()


def test_every_room_of_the_service_is_in_the_architecture() -> None:
    rooms = {Path(name).name for name in folders("serve_app")}
    rooms |= {path.name for path in (ROOT / "serve_app").glob("*.py") if not path.name.startswith("__")}
    described = re.findall(r"^\| `([\w/]+(?:/|\.py))` \|", PAGES["docs/architecture.md"], re.MULTILINE)
    assert rooms - {name.rstrip("/") for name in described} == set()
    assert [name for name in described if not (ROOT / "serve_app" / name).exists()] == []


def test_the_floors_are_those_that_imports_are_held_to() -> None:
    _, _, section = PAGES["docs/architecture.md"].partition("\n## The rooms of serve_app\n")
    drawn = re.findall(r"^\d+\. (.*)$", section.partition("\n## ")[0], re.MULTILINE)
    assert [set(re.findall(r"`(\w+)(?:\.py)?`", line)) for line in drawn] == [set(floor) for floor in FLOORS]


def test_the_readmes_figures_are_those_of_the_benchmark() -> None:
    measured = [tuple(row[1:]) for page in ("docs/benchmarks.md",) for row in _figures(PAGES[page])]
    shown = [tuple(row[1:]) for row in cells(README, "| | figure | target | met |")]
    assert len(shown) == 6
    assert [row for row in shown if row not in measured] == []
    assert any("**no**" in row for row in shown) == any("**no**" in row for row in measured)


def _figures(text: str) -> Iterator[list[str]]:
    for part in re.findall(r"<!-- bench:\w+ -->\n.*?<!-- bench:end -->", text, re.DOTALL):
        yield from cells(part, "| figure | value | target | met |")


def test_python_snippets_parse_and_import_what_exists() -> None:
    snippets = [block for _, block in blocks("python")]
    assert len(snippets) >= 6
    for snippet in snippets:
        parsed = compile(snippet, "snippet", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(parsed):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("serve_app", "deployments"):
                module = importlib.import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def examples() -> dict[str, Any]:
    """All that the examples of contributing.md declare."""
    declared: dict[str, Any] = {}
    for _, block in blocks("python", {"": PAGES["docs/contributing.md"]}):
        exec(block, declared)
    return declared


async def test_the_example_of_a_backend_keeps_the_contract_of_depth() -> None:
    backend_class = examples()["DarkChannel"]
    assert capabilities_of(backend_class) == (Depth,)
    assert backend_class.__mro__.index(Backend) < backend_class.__mro__.index(Depth)
    assert len(backend_class.__doc__) > 200  # as tests/backends/test_registry.py wants
    backend = backend_class()
    with pytest.raises(ModelUnavailable, match="not loaded"):
        await backend.estimate(PICTURE)
    await backend.reconfigure(backend_class.Options())
    backend.check_health()
    for size, extrema in (((90, 40), (0, 65_535)), ((1, 1), (0, 0))):
        depth = await backend.estimate(hazy(size))
        opened = PIL.Image.open(io.BytesIO(depth.data))
        assert (depth.media_type, opened.mode, opened.size) == ("image/png", "I;16", size)
        assert opened.getextrema() == extrema
    with pytest.raises(InvalidInput) as raised:
        await backend.estimate(Image(b"nothing", "image/png"))
    assert raised.value.field == "image"


def hazy(size: tuple[int, int]) -> Image:
    """A picture that is clear at its foot and white at its top."""
    file = io.BytesIO()
    PIL.Image.linear_gradient("L").rotate(180).resize(size).save(file, "PNG")
    return Image(file.getvalue(), "image/png")


@pytest.mark.parametrize("name", ["summary", "live_summary"])
async def test_the_examples_of_graphs_run(name: str) -> None:
    graph = examples()[name]
    assert isinstance(graph, Graph)
    assert (graph.piece is not None) == (name == "live_summary")
    assert example(graph.request)["text"]
    models = Models([Model("writer", "fake", (Language,), LocalHandle(Writer("A short text.")))])
    call = graph.call.model_validate({"text": "A long text."})
    run = Executor(models).execute(graph, call, ANN, streams=True)
    assert await run.result() == graph.result(summary="A short text.")


def test_each_profile_excerpt_is_one() -> None:
    excerpts = [(page, yaml.safe_load(block)) for page, block in blocks("yaml") if page.startswith(("README", "docs"))]
    assert len(excerpts) >= 6
    for page, excerpt in excerpts:
        arguments = {key: value for key, value in excerpt.items() if key != "deployments"}
        config = AppConfig.model_validate({"models": [{"name": "any", "backend": "opencv"}], **arguments})
        backends = {model.name: load_backend(model.backend) for model in config.models}
        for model in config.models:
            if model.host is not None:
                backends[model.name].Options.model_validate(model.user_config)
        for deployment in excerpt.get("deployments", ()):
            assert deployment["name"] in backends, page
            backends[deployment["name"]].Options.model_validate(deployment["user_config"])


def test_every_key_of_a_profile_is_documented() -> None:
    pages = PAGES["docs/operations.md"] + PAGES["docs/jobs.md"]
    packaged = (PackagedWeights, PackagedFile, PackagePart)
    kinds = (AppConfig, ModelConfig, NodeConfig, GatewayConfig, JobsConfig, *packaged)
    keys = {key for kind in kinds for key in kind.model_fields}
    assert {key for key in keys if f"`{key}`" not in pages and f"**{key}**" not in pages} == set()


def commands(group: typer.Typer = app, prefix: str = "medley") -> Iterator[str]:
    """Every command as it is written, such as `medley jobs list`."""
    for command in group.registered_commands:
        assert command.callback
        yield f"{prefix} {command.name or command.callback.__name__.replace('_', '-')}"
    for inner in group.registered_groups:
        assert inner.typer_instance
        yield from commands(inner.typer_instance, f"{prefix} {inner.name}")


def test_every_command_is_documented_and_every_documented_command_exists() -> None:
    existing = set(commands())
    assert {name for name in existing if name not in DOCS} == set()
    first = {name.split()[1] for name in existing}
    code = "\n".join([block for _, block in blocks("sh")] + re.findall(r"`([^`\n]+)`", DOCS))
    written = set(re.findall(r"^medley ([a-z]+)", code, re.MULTILINE))
    assert written - first == set()


def test_every_target_of_make_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    pages = PAGES["docs/contributing.md"] + PAGES["docs/operations.md"]
    assert {name for name in targets if f"`make {name}`" not in pages} == set()
    assert set(re.findall(r"`make ([a-z-]+)", DOCS)) - set(targets) == set()


def test_every_graph_is_documented() -> None:
    described = {
        name for row in cells(PAGES["docs/api.md"], "| graph | makes |") for name in re.findall(r"`(\w+)`", row[0])
    }
    assert described == {graph.name for graph in GRAPHS}


async def test_every_route_is_documented(served: Served) -> None:
    async with served.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    named = {re.sub(r"^/api/v1/graphs/\w+$", "/api/v1/graphs/{graph}", path) for path in paths}
    assert {path for path in named if f"{path}`" not in PAGES["docs/api.md"]} == set()


def test_every_profile_is_documented() -> None:
    profiles = {"serve_config.yaml", *(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml"))}
    for page in ("README.md", "docs/operations.md"):
        rows = cells(PAGES[page], "| profile | for |")
        assert {re.findall(r"`([^`]+)`", row[0])[0] for row in rows} == profiles


def test_every_environment_variable_is_documented() -> None:
    sources = [path.read_text() for folder in ("serve_app", "deployments") for path in (ROOT / folder).rglob("*.py")]
    used = {name for text in sources for name in re.findall(r'"(MEDLEY_[A-Z_]+[A-Z])"', text)}
    assert used
    assert {name for name in used if f"`{name}`" not in PAGES["docs/operations.md"]} == set()


def problems(error: type[MedleyError] = MedleyError) -> Iterator[str]:
    """The type of each error in the tree, its levels left out."""
    if error not in LEVELS and error.__module__ in ("serve_app.errors", "deployments.errors"):
        yield error.type
    for kind in error.__subclasses__():
        yield from problems(kind)


def test_every_problem_type_is_documented() -> None:
    rows = cells(PAGES["docs/api.md"], "| type | status |")
    described = {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    assert set(problems()) ^ described == set()


def test_every_backend_is_in_a_table_with_the_test_that_drives_it() -> None:
    rows: dict[str, tuple[list[str], str]] = {}
    for page, text in PAGES.items():
        if page.startswith("docs/models/") and "\n| capability | methods |" in text:
            for name, _, backends, contract in cells(text, "| capability | methods |"):
                rows[name.strip("`")] = (re.findall(r"`(\w+)`", backends), contract)
    assert set(rows) == {capability.__name__ for capability in CAPABILITIES}
    for capability in CAPABILITIES:
        backends, contract = rows[capability.__name__]
        assert set(backends) == {name for name, backend in BACKENDS.items() if capability in capabilities_of(backend)}
        path, *_ = (ROOT / "docs" / "models" / link for link in re.findall(r"\]\(([^)]+)\)", contract))
        assert f"offering({capability.__name__})" in path.read_text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_option_of_a_backend_is_documented(backend: str) -> None:
    options = BACKENDS[backend].Options.model_fields
    assert {name for name in options if f"`{name}`" not in MODELS} == set()


def test_the_contact_sheet_is_of_the_prompts_it_says() -> None:
    from deployments.starter.painter.sheet import PROMPTS

    said = " ".join(PAGES["docs/models/images.md"].split())
    assert "; ".join(PROMPTS) in said
    assert "deployments/starter/painter/sheet.png" in README
