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


@pytest.mark.parametrize("package", ["serve_app", "graphs", "ray"])
def test_models_know_nothing_of_the_service(package: str) -> None:
    assert breaches("deployments", package) == []


def test_graphs_know_the_service_only_by_its_decorator() -> None:
    assert breaches("graphs", "serve_app", allowed=("serve_app.graph",)) == []
    assert breaches("graphs", "ray") == []


def test_graphs_name_capabilities_and_never_backends() -> None:
    allowed = ("deployments.capabilities", "deployments.errors", "deployments.media")
    assert breaches("graphs", "deployments", allowed) == []


def test_the_service_names_no_backend() -> None:
    allowed = (
        "deployments.BACKENDS",
        *(
            f"deployments.{name}"
            for name in (
                "addresses",
                "backend",
                "callbacks",
                "capabilities",
                "engine",
                "errors",
                "hub_errors",
                "loads",
                "media",
                "pixels",
                "progress",
            )
        ),
        "deployments.starter.evaluate",  # `medley eval`
    )
    assert breaches("serve_app", "deployments", allowed) == []


@pytest.mark.parametrize("package", ["bench", "tests"])
@pytest.mark.parametrize("folder", ["serve_app", "deployments", "graphs"])
def test_the_product_does_not_lean_on_what_checks_it(folder: str, package: str) -> None:
    assert breaches(folder, package) == []


@pytest.mark.parametrize("module", ["serve_app.gateway", "serve_app.app"])
def test_the_gateway_and_the_builder_load_no_engine(module: str) -> None:
    assert loaded_by(module, (module, *ENGINES)) == [module]


def test_the_command_line_loads_neither_ray_nor_an_engine() -> None:
    """`medley up` sets Ray's environment, which Ray reads on import."""
    assert loaded_by("serve_app.cli", ("serve_app.cli", "ray", *ENGINES)) == ["serve_app.cli"]


def test_a_graph_is_read_without_ray() -> None:
    assert loaded_by("graphs", ("graphs", "ray", *ENGINES)) == ["graphs"]
