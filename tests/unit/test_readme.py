"""The README's tree names what is there, all of it, and its snippets are real."""

import ast
import re
from pathlib import Path

import yaml

from serve_app.cli.main import app
from serve_app.config.loading import load_backend
from serve_app.config.schema import AppConfig

README = Path("README.md").read_text()


def tree() -> list[Path]:
    """The paths of the README's tree, from its indentation."""
    block = README.split("## The house")[1].split("```")[1]
    found: list[Path] = []
    folders: list[tuple[int, Path]] = []
    for line in block.splitlines():
        if not line.strip():
            continue
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        while folders and folders[-1][0] >= indent:
            folders.pop()
        path = (folders[-1][1] if folders else Path()) / name
        found.append(path)
        if name.endswith("/"):
            folders.append((indent, path))
    return found


def test_every_path_of_the_tree_exists() -> None:
    assert [str(path) for path in tree() if not path.exists()] == []


def test_every_module_of_the_service_and_of_the_models_is_in_the_tree() -> None:
    named = set(tree())
    modules = [*Path("serve_app").rglob("*.py"), *Path("deployments").rglob("*.py")]
    missing = [
        str(path)
        for path in modules
        if path not in named and not path.name.startswith("__") and "starter" not in path.parts
    ]
    assert missing == []


def test_every_command_is_in_the_readme() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {name for name in commands if f"medley {name}" not in README} == set()


def test_python_snippets_parse() -> None:
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippets) >= 2
    for snippet in snippets:
        ast.parse(snippet)


def test_each_profile_excerpt_is_one() -> None:
    excerpts = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)]
    assert len(excerpts) >= 2
    for excerpt in excerpts:
        config = AppConfig.model_validate({"models": excerpt["models"]})
        backends = {model.name: load_backend(model.backend) for model in config.models}
        for deployment in excerpt["deployments"]:
            backends[deployment["name"]].Options.model_validate(deployment["user_config"])


def test_the_contact_sheet_is_of_the_prompts_it_says() -> None:
    from deployments.starter.painter.sheet import PROMPTS

    said = " ".join(README.split())
    assert "; ".join(PROMPTS) in said


def test_every_backend_is_in_the_table_with_the_test_that_drives_it() -> None:
    from deployments import BACKENDS
    from deployments.capabilities import CAPABILITIES, capabilities_of

    table = README.split("| capability | methods |")[1].split("\n\n")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    rows = {name.strip("`"): (re.findall(r"`(\w+)`", backends), contract) for name, _, backends, contract in cells}
    assert list(rows) == [capability.__name__ for capability in CAPABILITIES]
    for capability in CAPABILITIES:
        backends, contract = rows[capability.__name__]
        assert set(backends) == {name for name, backend in BACKENDS.items() if capability in capabilities_of(backend)}
        path, *others = (Path(link) for link in re.findall(r"\]\(([^)]+)\)", contract))
        assert all(other.is_file() for other in others), others
        assert f"offering({capability.__name__})" in path.read_text()
