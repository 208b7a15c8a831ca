"""A model that lives in another one's replicas: what a profile may say of it, and who answers for it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deployments.capabilities import Language
from serve_app.app import build, deployment
from serve_app.cli.main import app as cli
from serve_app.config.placement import plan
from serve_app.config.profile import load_profile
from serve_app.config.schema import AppConfig, ModelConfig
from serve_app.errors import InvalidConfig
from serve_app.jobs.runtime import revision
from serve_app.models.methods import methods_of
from serve_app.models.registry import bind_models
from serve_app.provisioning.weights import named

from .fakes import ScriptedHandle

WEIGHTS = {"weights": "org/coder", "revision": "a" * 40}
WRITER = {"name": "writer", "backend": "transformers", "gpu_memory_gib": 6, "max_loaded": 2}
CODER = {"name": "coder", "backend": "transformers", "host": "writer", "user_config": WEIGHTS}
POET = {"name": "poet", "backend": "transformers", "host": "writer", "user_config": {"weights": "starter/writer"}}
TOOLS = {"name": "tools", "backend": "opencv"}
AT = "applications[0].args.models"


def written(folder: Path, *models: dict[str, Any], deployments: list[dict[str, Any]] | None = None) -> Path:
    arguments = {"models": list(models), "nodes": [{"name": "box", "gpus": 1, "gpu_gib": 8}]}
    entries = [{"name": "writer", "user_config": {"weights": "org/writer"}}] if deployments is None else deployments
    application = {"import_path": "serve_app.app:build", "args": arguments, "deployments": entries}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump({"applications": [{"name": "medley", **application}]}))
    return path


def without(model: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key not in keys}


def test_a_sharer_has_options_and_no_deployment(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, WRITER, CODER, POET, TOOLS))
    assert profile.deployments == ["gateway", "worker", "writer", "tools"]
    assert profile.options == {
        "writer": {"weights": "org/writer"},
        "coder": WEIGHTS,
        "poet": {"weights": "starter/writer"},
    }
    assert [(found.model, found.name) for found in named(profile)] == [("writer", "org/writer"), ("coder", "org/coder")]


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([WRITER, CODER | {"host": "writr"}, POET], f"{AT}[1].host: there is no model 'writr'. Did you mean 'wri"),
        ([WRITER, CODER | {"host": "coder"}, POET], f"{AT}[1].host: 'coder' cannot be its own host"),
        ([WRITER, CODER, POET | {"host": "coder"}], f"{AT}[2].host: 'coder' has no deployment of its own; name 'writ"),
        (
            [WRITER, CODER | {"host": "tools"}, POET, TOOLS],
            f"{AT}[1].backend: 'coder' must have the backend of its host",
        ),
        ([WRITER, CODER | {"gpu_memory_gib": 2}], f"{AT}[1].gpu_memory_gib: set it for 'writer'"),
        ([WRITER, CODER | {"node": "box"}], f"{AT}[1].node: set it for 'writer'"),
        ([WRITER, CODER | {"cpus": 1}], f"{AT}[1].cpus: set it for 'writer'"),
        ([WRITER, CODER | {"max_loaded": 2}], f"{AT}[1].max_loaded: set it for 'writer'"),
        ([WRITER], f"{AT}[0].max_loaded: no model shares the deployment of 'writer'"),
        ([WRITER | {"max_loaded": 0}, CODER], f"{AT}[0].max_loaded: "),
        (
            [WRITER | {"user_config": WEIGHTS}, CODER],
            f"{AT}[0].user_config: move it to the entry of 'writer' under `dep",
        ),
        (
            [WRITER, CODER | {"user_config": {"wieghts": "x"}}],
            f"{AT}[1].user_config.wieghts: unknown key. Did you mean",
        ),
        ([WRITER, CODER | {"user_config": {"weights": [1]}}], f"{AT}[1].user_config.weights: "),
        ([WRITER, without(CODER, "user_config")], f"{AT}[1].user_config.weights: Field required"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_its_path(
    models: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load_profile(written(tmp_path, *models))
    assert str(refused.value).startswith(said)


def test_a_deployment_for_a_sharer_is_refused_and_told_where_its_options_belong(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load_profile(written(tmp_path, WRITER, CODER, deployments=[{"name": "coder"}]))
    assert str(refused.value) == (
        "applications[0].deployments[0].name: 'coder' shares the deployment of 'writer' and has none of its own; "
        f"its options belong in {AT}[1].user_config"
    )


def test_a_profile_that_was_not_loaded_first_is_checked_where_it_is_built() -> None:
    """Ray's own `serve deploy` asks the builder only."""
    with pytest.raises(InvalidConfig, match=r"^args.models\[1\].host: there is no model 'x'"):
        build(AppConfig.model_validate({"models": [WRITER, CODER | {"host": "x"}]}))
    with pytest.raises(InvalidConfig, match=r"^coder.user_config.wieghts: Extra inputs"):
        made = ModelConfig.model_validate(CODER | {"user_config": {"weights": "x", "wieghts": "y"}})
        deployment(ModelConfig.model_validate(without(WRITER, "gpu_memory_gib")), [], [made])


def test_the_deployment_has_every_method_of_the_backend() -> None:
    """Serve finds a replica's methods in its class."""
    writer = ModelConfig.model_validate(without(WRITER, "gpu_memory_gib"))
    made: Any = deployment(writer, [], [ModelConfig.model_validate(CODER)]).func_or_class
    for method in (*methods_of(Language), "reconfigure", "revision", "followed", "check_health"):
        assert callable(getattr(made, method))
    assert made.__name__ == "TransformersLanguage"


async def test_every_call_of_a_model_that_lives_with_others_says_which_it_is() -> None:
    config = AppConfig.model_validate({"models": [WRITER, CODER, TOOLS]})
    handles = {"writer": ScriptedHandle("revision"), "tools": ScriptedHandle()}
    models = bind_models(config, handles)
    chat, stream = (methods_of(Language)[name] for name in ("chat", "stream"))
    writer, coder, tools = models.all
    assert [model.deployment for model in models.all] == ["writer", "writer", "tools"]
    assert await revision(coder) == "revision"
    coder.caller("chat", chat)
    coder.caller("stream", stream)
    assert coder.followed("chat")
    assert [made["multiplexed_model_id"] for made in handles["writer"].made] == ["coder"] * 4
    writer.caller("chat", chat)  # the host too, so that Serve finds the replica that has it in memory
    assert handles["writer"].made[-1]["multiplexed_model_id"] == "writer"
    tools.caller("chat", chat)
    assert "multiplexed_model_id" not in handles["tools"].made[0]


def test_the_plan_counts_the_deployment_once_and_names_who_shares(tmp_path: Path) -> None:
    path = written(tmp_path, WRITER, CODER, POET, TOOLS)
    found = plan(load_profile(path).app, {})
    assert [placed.model for gpu in found.gpus for placed in gpu.models] == ["writer"]
    assert (found.problems, found.without) == ([], ["tools"])
    said = CliRunner().invoke(cli, ["plan", str(path)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert said.exit_code == 0
    assert "In the replicas of writer, 2 in memory at once: coder, poet" in said.output
    assert "2.0 GiB free" in said.output
