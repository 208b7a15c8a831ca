"""Imports point one way, and the parts that start often stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = ("torch", "cv2", "transformers", "diffusers", "pocketsphinx", "av", "PIL", "vllm")


def imports(path: Path) -> Iterator[str]:
    """The full names a file imports, inside its functions too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield from (f"{module}.{name.name}" for name in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def breaches(folder: str, package: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Imports of `package` by files of `folder`, but for those allowed."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports(path)
        if within(name, package) and not any(within(name, one) for one in allowed)
    ]


def loaded_by(module: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules a new Python has after importing one."""
    code = f"import sys, {module}; print(*(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


# serve_app's floors, from the top down: a room imports from the floors below its own, never from beside or above it.
# A room is a folder; the files beside the folders are rooms by name.
FLOORS = (
    ("__main__",),
    ("cli", "app"),
    ("gateway", "clients"),
    ("jobs", "provisioning"),
    ("webhooks", "run", "accounts", "replicas", "workflows", "telemetry"),
    ("steps",),
    ("storage", "models"),
    ("config",),
    ("graph", "identity", "errors"),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def files() -> list[Path]:
    return sorted((ROOT / "serve_app").rglob("*.py"))


def room(name: str) -> str:
    """The room of a module's full name; the package's own face, `serve_app`, is none."""
    return name.split(".")[1] if "." in name else ""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_imported(path: Path) -> set[str]:
    """The modules of serve_app that a file imports, faces of packages among them."""
    known = {module_of(file) for file in files()}
    found = {name if name in known else name.rpartition(".")[0] for name in imports(path) if within(name, "serve_app")}
    return (found & known) - {module_of(path), "serve_app"}


def test_every_room_of_the_service_has_its_floor() -> None:
    assert {room(module_of(path)) for path in files()} - {""} <= set(FLOOR)


@pytest.mark.parametrize("name", sorted({room(module_of(path)) for path in files()} - {""}))
def test_a_room_imports_from_the_floors_below_it(name: str) -> None:
    upward = [
        f"{module_of(path)}: {imported}"
        for path in files()
        if room(module_of(path)) == name
        for imported in sorted(modules_imported(path))
        if room(imported) != name and FLOOR[room(imported)] <= FLOOR[name]
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module_of(path): modules_imported(path) for path in files()}
    while free := [name for name, imported in left.items() if not imported & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}  # a circle, and what stands on it


def test_faces_of_packages_load_neither_ray_nor_an_engine() -> None:
    """All in one process: importing each alone would take as many times the second that Python needs."""
    faces = [module_of(path) for path in files() if path.name == "__init__.py" and path.parent.name != "versions"]
    assert loaded_by(", ".join(faces), (*faces, "ray", *ENGINES)) == faces


@pytest.mark.parametrize("package", ["serve_app", "graphs", "ray"])
def test_models_know_nothing_of_the_service(package: str) -> None:
    assert breaches("deployments", package) == []


def test_graphs_know_the_service_only_by_its_decorator() -> None:
    assert breaches("graphs", "serve_app", allowed=("serve_app.graph",)) == []
    assert breaches("graphs", "ray") == []


def test_graphs_name_capabilities_and_never_backends() -> None:
    allowed = tuple(
        f"deployments.{name}" for name in ("call_options", "capabilities", "errors", "media", "prompt_category")
    )
    assert breaches("graphs", "deployments", allowed) == []


def test_the_service_names_no_backend() -> None:
    allowed = (
        "deployments.BACKENDS",
        *(
            f"deployments.{name}"
            for name in (
                "addresses",
                "backend",
                "call_options",
                "callbacks",
                "capabilities",
                "engine",
                "errors",
                "hub_errors",
                "loads",
                "media",
                "nulls",
                "pieces",
                "pixels",
                "progress",
                "prompt_category",
                "unions",
                "provider_tasks",
                "retry_after",
            )
        ),
        "deployments.starter.evaluate",  # `medley eval`
    )
    assert breaches("serve_app", "deployments", allowed) == []


@pytest.mark.parametrize("package", ["bench", "tests"])
@pytest.mark.parametrize("folder", ["serve_app", "deployments", "graphs"])
def test_the_product_does_not_lean_on_what_checks_it(folder: str, package: str) -> None:
    assert breaches(folder, package) == []


@pytest.mark.parametrize("module", ["serve_app.gateway.deployment", "serve_app.gateway.http_app", "serve_app.app"])
def test_the_gateway_and_the_builder_load_no_engine(module: str) -> None:
    assert loaded_by(module, (module, *ENGINES)) == [module]


def test_the_command_line_loads_neither_ray_nor_an_engine() -> None:
    """`medley up` sets Ray's environment, which Ray reads on import."""
    assert loaded_by("serve_app.cli.main", ("serve_app.cli.main", "ray", *ENGINES)) == ["serve_app.cli.main"]


def test_a_graph_is_read_without_ray() -> None:
    assert loaded_by("graphs", ("graphs", "ray", *ENGINES)) == ["graphs"]


LINES, FUNCTION_LINES = 400, 60


def product() -> list[Path]:
    """What is installed, but for scripts of training and migrations, which are read once from top to bottom."""
    folders = ("serve_app", "deployments", "graphs")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not {"starter", "versions"} & set(path.parts)]


def test_no_file_is_longer_than_a_reader_likes() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in product()}
    assert {path: lines for path, lines in lengths.items() if lines > LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in product()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES
    ]
    assert long == []
