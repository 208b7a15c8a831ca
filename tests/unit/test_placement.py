"""Models are packed onto GPUs, shares follow from declared memory, and what does not fit is explained."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from serve_app.app import deployment
from serve_app.cli.main import app as cli
from serve_app.cli.plan import drawn
from serve_app.config.placement import GPU, Placed, fraction, gpu_fraction, plan
from serve_app.config.profile import load_profile
from serve_app.config.schema import AppConfig, ModelConfig, NodeConfig
from serve_app.errors import InvalidConfig

SMALL = NodeConfig(name="small", gpus=1, gpu_gib=16)
LARGE = NodeConfig(name="large", gpus=2, gpu_gib=80, accelerator="A100")


def model(name: str, gib: float | None = None, backend: str = "opencv", **more: object) -> ModelConfig:
    return ModelConfig(name=name, backend=backend, gpu_memory_gib=gib, **more)  # type: ignore[arg-type]


def app(*models: ModelConfig, nodes: tuple[NodeConfig, ...] = (SMALL, LARGE)) -> AppConfig:
    return AppConfig(models=list(models), nodes=list(nodes))


def where(found) -> dict[str, list[str]]:
    return {f"{gpu.node}/{gpu.number}": [p.model for p in gpu.models] for gpu in found.gpus if gpu.models}


@pytest.mark.parametrize(
    ("gib", "gpu", "expected"), [(8, 16, 0.5), (6, 16, 0.375), (16, 16, 1.0), (0.001, 80, 0.0001), (8, 24, 0.3333)]
)
def test_a_share_is_in_rays_steps_and_a_card_holds_its_thirds(gib: float, gpu: float, expected: float) -> None:
    assert fraction(gib, gpu) == expected


def test_models_go_to_the_smallest_card_that_takes_them_and_share_it() -> None:
    found = plan(app(model("a", 6), model("b", 40), model("c", 10), model("tools"), model("d", 30)), {})
    assert where(found) == {"small/0": ["c", "a"], "large/0": ["b", "d"]}
    assert found.without == ["tools"]
    assert not found.problems


def test_what_does_not_fit_is_explained_and_something_is_proposed() -> None:
    found = plan(app(model("a", 12), model("b", 12), model("c", 100), nodes=(SMALL,)), {})
    assert where(found) == {"small/0": ["a"]}
    large, full = found.problems
    assert (large.model, full.model) == ("c", "b")
    assert "the largest has 16" in large.why and "100 GiB or more" in large.helps[0]
    assert "4.0 left" in full.why
    assert "`count: 2`" in full.helps[0] and "min_replicas: 0` for b and for a" in full.helps[1]
    # what is proposed does help
    assert not plan(app(model("a", 12), model("b", 12), nodes=(SMALL,)), {"a": 0, "b": 0}).problems
    more = SMALL.model_copy(update={"count": 2})
    assert not plan(app(model("a", 12), model("b", 12), nodes=(more,)), {}).problems


def test_models_that_sleep_take_turns_where_they_do_not_fit_at_once() -> None:
    models = (model("a", 8), model("b", 8), model("c", 6), model("d", 10))
    found = plan(app(*models, nodes=(SMALL,)), {"b": 0, "c": 0, "d": 0})
    (gpu,) = found.gpus
    assert [p.model for p in gpu.models] == ["a", "b"]
    assert [p.model for p in gpu.turns] == ["c"]
    assert [problem.model for problem in found.problems] == [
        "d"
    ]  # beside `a`, who never sleeps, there is no room for it
    assert "in turns with others: c 6 GiB" in drawn(gpu)


def test_every_replica_gets_its_place() -> None:
    assert where(plan(app(model("a", 40)), {"a": 4})) == {"large/0": ["a", "a"], "large/1": ["a", "a"]}
    assert [p.model for p in plan(app(model("a", 40)), {"a": 5}).problems] == ["a"]


def divided(name: str, gib: float, gpus: int) -> ModelConfig:
    return model(name, gib, "vllm", gpus=gpus)


def test_weights_divided_among_cards_have_them_whole_and_on_one_machine() -> None:
    pairs = LARGE.model_copy(update={"count": 2})
    found = plan(app(model("a", 30, node="large"), divided("b", 60, 2), nodes=(SMALL, pairs)), {})
    assert where(found) == {"large 1/0": ["b"], "large 1/1": ["b"], "large 2/0": ["a"]}
    assert all(gpu.free == 0 for gpu in found.gpus if gpu.node == "large 1")
    # who needs GPUs whole comes first: with two replicas no machine is left for the others
    found = plan(app(model("a", 70), model("c", 70), divided("b", 60, 2), nodes=(pairs,)), {"b": 2})
    assert [problem.model for problem in found.problems] == ["a", "c"]
    singles = NodeConfig(name="single", count=2, gpus=1, gpu_gib=80)
    (problem,) = plan(app(divided("b", 60, 2), nodes=(singles,)), {}).problems
    assert problem.why == "needs 2 GPUs of one machine; the largest has 1"
    assert problem.helps == ("add a node with 2 GPUs of 60 GiB or more to `nodes`",)


def test_cards_taken_whole_wait_for_all_who_sleep_on_them() -> None:
    models = (model("a", 30), divided("b", 60, 2))
    (problem,) = plan(app(*models, nodes=(LARGE,)), {"b": 0}).problems
    assert problem.why == "needs 2 GPUs of one machine, whole; no large has that many left"
    assert problem.helps[1] == "set `min_replicas: 0` for a, so that they take turns"
    found = plan(app(*models, nodes=(LARGE,)), {"a": 0, "b": 0})
    assert not found.problems
    assert [[p.model for p in gpu.models] for gpu in found.gpus] == [["b"], ["b"]]
    assert [[p.model for p in gpu.turns] for gpu in found.gpus] == [["a"], []]


def test_weights_too_large_for_a_card_may_be_divided_and_that_helps() -> None:
    (problem,) = plan(app(divided("b", 150, 1)), {}).problems
    assert problem.helps[-1] == "set `gpus: 2`, `gpu_memory_gib: 75` and `tensor_parallel_size: 2`, on large"
    assert not plan(app(divided("b", 75, 2)), {}).problems
    (problem,) = plan(app(model("b", 150)), {}).problems  # whose backend divides nothing
    assert not any("gpus:" in help for help in problem.helps)
    (problem,) = plan(app(divided("b", 200, 1)), {}).problems  # more GPUs than any machine has
    assert not any("gpus:" in help for help in problem.helps)


def test_a_replica_with_several_cards_asks_ray_for_all_of_each() -> None:
    options = deployment(divided("b", 60, 2), [SMALL, LARGE]).ray_actor_options
    assert options
    assert options["num_gpus"] == 2 and options["runtime_env"] == {"env_vars": {"GPU_MEMORY_GIB": "60.0"}}


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ({"gpus": 2}, {}, "is 2, and `tensor_parallel_size: 1`"),
        ({}, {"tensor_parallel_size": 2}, "is 1, and `tensor_parallel_size: 2` in the options of 'tools' divides"),
        ({"gpus": 2, "gpu_memory_gib": None}, {}, "set `gpu_memory_gib` too"),
    ],
)
def test_cards_are_as_many_as_the_weights_are_divided_among(
    tmp_path: Path, settings: dict[str, object], options: dict[str, object], said: str
) -> None:
    tools = {"name": "tools", "backend": "vllm", "gpu_memory_gib": 12, **settings}
    arguments = {"models": [tools], "nodes": [{"name": "box", "gpus": 2, "gpu_gib": 24}]}
    entry = {"name": "tools", "user_config": {"weights": "starter/writer", **options}}
    with pytest.raises(InvalidConfig, match=re.escape(f"applications[0].args.models[0].gpus: {said}")):
        load_profile(profile(tmp_path, args=arguments, deployments=[entry]))


def test_a_model_in_the_replicas_of_another_is_divided_among_their_cards(tmp_path: Path) -> None:
    host = {"name": "tools", "backend": "vllm", "gpu_memory_gib": 12, "gpus": 2}
    other = {"name": "other", "backend": "vllm", "host": "tools", "user_config": {"weights": "starter/writer"}}
    arguments = {"models": [host, other], "nodes": [{"name": "box", "gpus": 2, "gpu_gib": 24}]}
    options = {"weights": "starter/writer", "tensor_parallel_size": 2}
    entry = {"name": "tools", "user_config": options}
    said = "applications[0].args.models[1].user_config.tensor_parallel_size: is 1, but 'tools', whose deployment"
    with pytest.raises(InvalidConfig, match=re.escape(said)):
        load_profile(profile(tmp_path, args=arguments, deployments=[entry]))
    other["user_config"] = options
    assert load_profile(profile(tmp_path, args=arguments, deployments=[entry])).options["other"] == options


IN_A_GROUP = {"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}
TWO = [{"CPU": 1}, {"GPU": 1}, {"GPU": 1}]


@pytest.mark.parametrize(
    ("settings", "entry", "said"),
    [
        (
            {"gpu_memory_gib": 12, "gpus": 2},
            {},
            ": `distributed_executor_backend: ray` uses the GPUs of a placement group",
        ),
        (
            {},
            {},
            ".placement_group_bundles: needs 2 with a whole GPU, one for each part of the weights of 'tools', and h",
        ),
        ({}, {"placement_group_bundles": TWO[:2]}, ".placement_group_bundles: needs 2 with a whole GPU"),
        ({}, {"placement_group_bundles": TWO}, ".ray_actor_options.num_gpus: set it to 0"),
        (
            {},
            {"placement_group_bundles": TWO, "ray_actor_options": {"num_gpus": 1}},
            ".ray_actor_options.num_gpus: set it to 0",
        ),
    ],
)
def test_weights_divided_over_machines_have_their_cards_in_the_placement_group(
    tmp_path: Path, settings: dict[str, object], entry: dict[str, object], said: str
) -> None:
    tools = {"name": "tools", "backend": "vllm", **settings}
    arguments = {"models": [tools], "nodes": [{"name": "box", "gpus": 2, "gpu_gib": 24}]}
    entry |= {"name": "tools", "user_config": {"weights": "starter/writer", **IN_A_GROUP}}
    with pytest.raises(InvalidConfig, match=re.escape(f"applications[0].deployments[0]{said}")):
        load_profile(profile(tmp_path, args=arguments, deployments=[entry]))


def test_a_placement_group_with_a_card_for_each_part_is_taken(tmp_path: Path) -> None:
    entry = {"name": "tools", "user_config": {"weights": "starter/writer", **IN_A_GROUP}}
    entry |= {"placement_group_bundles": TWO, "ray_actor_options": {"num_cpus": 1, "num_gpus": 0}}
    arguments = {"models": [{"name": "tools", "backend": "vllm"}]}
    assert load_profile(profile(tmp_path, args=arguments, deployments=[entry])).options["tools"] == entry["user_config"]


def test_what_helps_is_what_the_backend_can_do() -> None:
    for backend, offloads in (("diffusers", True), ("vllm", False)):
        (problem,) = plan(app(model("b", 100, backend)), {}).problems
        assert any("model_offload" in help for help in problem.helps) == offloads


def test_a_named_kind_of_node_is_kept() -> None:
    assert where(plan(app(model("a", 6, node="large")), {})) == {"large/0": ["a"]}
    with pytest.raises(InvalidConfig, match="Did you mean 'large'"):
        plan(app(model("a", 6, node="larg")), {})
    with pytest.raises(InvalidConfig, match="have no GPUs"):
        plan(app(model("a", 6, node="cpu"), nodes=(NodeConfig(name="cpu"),)), {})


def test_the_deployment_gets_its_share_and_the_process_is_told() -> None:
    made = deployment(model("a", 20, cpus=3), [SMALL, LARGE])
    assert made.ray_actor_options == {
        "num_cpus": 3,
        "num_gpus": 0.25,
        "runtime_env": {"env_vars": {"GPU_MEMORY_GIB": "20.0"}},
        "label_selector": {"ray.io/accelerator-type": "A100"},
    }
    options = deployment(model("b"), [SMALL]).ray_actor_options
    assert options and options["num_gpus"] == 0 and "runtime_env" not in options
    with pytest.raises(InvalidConfig, match="the largest has 16"):
        gpu_fraction(model("a", 20), [SMALL])
    with pytest.raises(InvalidConfig, match="no node has one"):
        gpu_fraction(model("a", 20), [])


@dataclass
class Properties:
    """Of a GPU, as torch tells them."""

    total_memory: int


def test_the_process_is_held_to_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from deployments.engine import device_for

    held = list[float]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", held.append)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties(24 * 2**30))
    assert device_for("auto", None) == "cuda" and not held
    monkeypatch.setenv("GPU_MEMORY_GIB", "6.0")  # of 24, though the profile plans with 23
    assert (device_for("cpu", None), device_for("cuda", None)) == ("cpu", "cuda")
    monkeypatch.setenv("GPU_MEMORY_GIB", "25.0")
    device_for("cuda", None)
    assert held == [0.25, 1.0]


def test_a_drawing_is_as_long_as_it_says() -> None:
    text = drawn(GPU("n", 0, 24, [Placed("writer", 12), Placed("ears", 2)]), width=24)
    assert text.startswith("[" + "a" * 12 + "b" * 2 + "." * 10 + "]")
    assert "a writer 12 GiB (50%)" in text and "b ears 2 GiB (8%)" in text and "10.0 GiB free" in text


def profile(folder: Path, **changes: object) -> Path:
    models = [{"name": "tools", "backend": "opencv", "gpu_memory_gib": 12}]
    arguments = {"models": models, "nodes": [{"name": "box", "gpus": 1, "gpu_gib": 24}]}
    application = {"name": "medley", "import_path": "serve_app.app:build", "args": arguments, **changes}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump({"applications": [application]}))
    return path


def test_the_command_draws_and_its_status_says_whether_all_fits(tmp_path: Path) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["plan", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
        return result.exit_code, result.output

    code, text = said(str(profile(tmp_path)))
    assert code == 0 and re.search(
        r"box, GPU 0, 24 GiB\n  \[a{30}\.{30}\]  a tools 12 GiB \(50%\), 12.0 GiB free", text
    )
    scaled = {"name": "tools", "autoscaling_config": {"min_replicas": 0, "max_replicas": 3}}
    path = str(profile(tmp_path, deployments=[scaled]))
    assert said(path)[0] == 0
    code, text = said(path, "--all")
    assert code == 1 and "tools needs 12 GiB; the emptiest GPU of box has 0.0 left" in text
    painter = {"name": "painter", "backend": "diffusers", "gpu_memory_gib": 30}
    arguments = {"models": [painter], "nodes": [{"name": "box", "gpus": 1, "gpu_gib": 24}]}
    entry = {"name": "painter", "user_config": {"weights": "starter/painter"}}
    code, text = said(str(profile(tmp_path, args=arguments, deployments=[entry])))
    assert code == 1 and "or `savings: [model_offload]`, and less" in text


def test_resources_that_would_undo_the_share_are_refused(tmp_path: Path) -> None:
    entry = {"name": "tools", "ray_actor_options": {"num_cpus": 1}}
    with pytest.raises(InvalidConfig, match=r"deployments\[0\].ray_actor_options: set `cpus`"):
        load_profile(profile(tmp_path, deployments=[entry]))


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_that_ships_fits_its_cards(path: Path) -> None:
    checked = load_profile(path)
    assert not plan(checked.app, checked.replicas()).problems
