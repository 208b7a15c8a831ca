"""A profile is checked as a whole before anything is deployed; the environment's secrets stay secret."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.echo import Echo
from deployments import BACKENDS
from deployments.media import MediaLimits
from graphs import GRAPHS
from graphs.speech import speech
from serve_app.config.loading import load_backend, load_graphs
from serve_app.config.profile import load_profile
from serve_app.config.schema import GatewayConfig
from serve_app.config.settings import Settings
from serve_app.errors import InvalidConfig

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
POLICY = "ray.serve.autoscaling_policy:default_autoscaling_policy"
GOOD: dict[str, Any] = {
    "http_options": {"port": 8000},
    "logging_config": {"encoding": "JSON"},
    "applications": [
        {
            "name": "medley",
            "import_path": "serve_app.app:build",
            "args": {
                "models": [{"name": "espeak", "backend": "espeak"}, {"name": "opencv", "backend": "opencv"}],
                "graphs": ["graphs"],
                "gateway": {"max_body_mb": 8},
            },
            "deployments": [
                {"name": "gateway", "ray_actor_options": {"num_cpus": 0.2}},
                {
                    "name": "espeak",
                    "autoscaling_config": {"max_replicas": 2, "policy": {"policy_function": POLICY}},
                    "user_config": {"voice": "en-gb"},
                },
            ],
        }
    ],
}
APPLICATION = GOOD["applications"][0]


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[Any], str]:
    """What `load_profile` says of this document."""

    def load(document: Any) -> str:
        path = tmp_path / "profile.yaml"
        path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        with pytest.raises(InvalidConfig) as refused:
            load_profile(path)
        return str(refused.value)

    return load


def changed(*path: str | int, value: Any) -> dict[str, Any]:
    """The good profile with one thing set."""
    document = copy.deepcopy(GOOD)
    section: Any = document
    for part in path[:-1]:
        section = section[part]
    section[path[-1]] = value
    return document


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_profile_that_ships_loads(path: Path) -> None:
    profile = load_profile(path)
    assert profile.deployments[0] == "gateway"
    assert len(profile.deployments) == len(profile.app.models) + 2 > 2


def test_a_profile_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    profile = load_profile(path)
    assert profile.document == GOOD
    assert profile.deployments == ["gateway", "worker", "espeak", "opencv"]
    assert profile.app.gateway.max_body_mb == 8


AT = "applications[0]"
UNKNOWN = [
    (("htp_options",), "htp_options", "http_options"),
    (("http_options", "prot"), "http_options.prot", "port"),
    (("logging_config", "encodign"), "logging_config.encodign", "encoding"),
    (("applications", 0, "import_pth"), f"{AT}.import_pth", "import_path"),
    (("applications", 0, "args", "modles"), f"{AT}.args.modles", "models"),
    (("applications", 0, "args", "models", 1, "backand"), f"{AT}.args.models[1].backand", "backend"),
    (("applications", 0, "args", "gateway", "max_body"), f"{AT}.args.gateway.max_body", "max_body_mb"),
    (("applications", 0, "deployments", 1, "num_replica"), f"{AT}.deployments[1].num_replica", "num_replicas"),
    (
        ("applications", 0, "deployments", 0, "ray_actor_options", "num_cpu"),
        f"{AT}.deployments[0].ray_actor_options.num_cpu",
        "num_cpus",
    ),
    (
        ("applications", 0, "deployments", 1, "autoscaling_config", "max_replica"),
        f"{AT}.deployments[1].autoscaling_config.max_replica",
        "max_replicas",
    ),
    (
        ("applications", 0, "deployments", 1, "autoscaling_config", "policy", "policy_fnction"),
        f"{AT}.deployments[1].autoscaling_config.policy.policy_fnction",
        "policy_function",
    ),
    (
        ("applications", 0, "deployments", 1, "user_config", "voise"),
        f"{AT}.deployments[1].user_config.voise",
        "voice",
    ),
]


@pytest.mark.parametrize(("path", "where", "near"), UNKNOWN, ids=[where for _, where, _ in UNKNOWN])
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest(
    path: tuple[str | int, ...], where: str, near: str, refusal: Callable[[Any], str]
) -> None:
    assert refusal(changed(*path, value=1)) == f"{where}: unknown key. Did you mean {near!r}?"


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("http_options", "port"), "x", "http_options.port"),
        (("applications", 0, "args", "models"), [], f"{AT}.args.models"),
        (("applications", 0, "args", "models", 0, "name"), "No Spaces", f"{AT}.args.models[0].name"),
        (("applications", 0, "args", "gateway", "max_body_mb"), 0, f"{AT}.args.gateway.max_body_mb"),
        (("applications", 0, "args", "gateway", "run_timeout_s"), float("nan"), f"{AT}.args.gateway.run_timeout_s"),
        (("applications", 0, "deployments", 1, "user_config", "voice"), [1], f"{AT}.deployments[1].user_config.voice"),
        (("applications", 0, "deployments", 1, "max_ongoing_requests"), 0, f"{AT}.deployments[1].max_ongoing_requests"),
        (("applications", 0, "deployments", 1, "name"), "espeek", f"{AT}.deployments[1].name"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(
    path: tuple[str | int, ...], value: Any, where: str, refusal: Callable[[Any], str]
) -> None:
    assert refusal(changed(*path, value=value)).startswith(f"{where}: ")


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ("{", "profile.yaml: "),
        ("- a\n", "profile.yaml: must be a Serve config file"),
        ("", "profile.yaml: must be a Serve config file"),
        ("1: x\n", "1: unknown key."),
        (changed("applications", value=[]), "applications: must have exactly one entry"),
        (changed("applications", value=[APPLICATION, APPLICATION]), "applications: must have exactly one entry"),
        (changed("applications", value={"medley": APPLICATION}), "applications: Input should be a valid list"),
        (changed("applications", value=["medley"]), f"{AT}: must be a mapping"),
        (changed("http_options", value=[8000]), "http_options: Input should be a valid dict"),
        (changed("applications", 0, "args", value=["models"]), f"{AT}.args: Input should be a valid dict"),
        (changed("applications", 0, "deployments", value={"gateway": {}}), f"{AT}.deployments: Input should be a val"),
        (changed("applications", 0, "deployments", value=[None]), f"{AT}.deployments[0]: must be a mapping"),
        (changed("applications", 0, "deployments", 1, "user_config", value="x"), f"{AT}.deployments[1].user_config: "),
        (changed("applications", 0, "deployments", 0, "ray_actor_options", value=[1]), f"{AT}.deployments[0].ray_act"),
    ],
)
def test_a_document_of_another_shape_is_refused(document: Any, where: str, refusal: Callable[[Any], str]) -> None:
    assert where in refusal(document)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"nowhere\.yaml"):
        load_profile(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("alias", "meant", "reason"),
    [
        ("espeak", "default", "'espeak' is the name of something else"),
        ("auto", "espeak", "'auto' is the name of something else"),
        ("a:b", "espeak", "'a:b' is the name of something else"),
        ("tts-1", "espaek", "'tts-1' is for 'espaek', which is no model here"),
    ],
)
def test_an_alias_is_a_new_name_of_a_model(alias: str, meant: str, reason: str, refusal: Callable[[Any], str]) -> None:
    assert reason in refusal(changed("applications", 0, "args", "aliases", value={alias: meant}))


@pytest.mark.parametrize("name", ["espeak", "gateway", "default"])
def test_a_model_name_is_taken_once(name: str, refusal: Callable[[Any], str]) -> None:
    message = refusal(changed("applications", 0, "args", "models", 1, "name", value=name))
    assert f"the model name {name!r} is already used" in message


def test_a_deployment_is_declared_once(refusal: Callable[[Any], str]) -> None:
    message = refusal(changed("applications", 0, "deployments", 0, "name", value="espeak"))
    assert message == f"{AT}.deployments[1].name: 'espeak' is there twice"


def test_a_graph_name_is_taken_once(refusal: Callable[[Any], str]) -> None:
    message = refusal(changed("applications", 0, "args", "graphs", value=["graphs", "graphs.speech:speech"]))
    assert "the name 'speech' is used twice" in message


def test_graphs_are_found_by_package_and_by_name() -> None:
    assert list(load_graphs(["graphs"]).values()) == GRAPHS
    assert load_graphs(["graphs.speech:speech"]) == {"speech": speech}
    assert list(load_graphs(["bench.echo:chain", "graphs:GRAPHS"])) == ["chain", *(graph.name for graph in GRAPHS)]
    assert load_graphs([]) == {}


@pytest.mark.parametrize(
    "place",
    ["nowhere", "nowhere:x", "graphs:nothing", "os", "os:path", "os:name", "os:getcwd", "", ":x", "..up:x", "os:"],
)
def test_a_place_without_graphs_is_refused_by_name(place: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load_graphs([place])
    assert place in str(refused.value)


def test_backends_are_found_by_short_name_and_by_place() -> None:
    assert load_backend("espeak") is BACKENDS["espeak"]
    assert load_backend("bench.echo:Echo") is Echo


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("espeek", "Did you mean 'espeak'?"),
        ("nowhere:Model", "'nowhere:Model' cannot be imported"),
        ("bench.echo:Ecko", "'bench.echo:Ecko' cannot be imported"),
        ("bench.echo:chain", "is not a backend: it must be a class that inherits deployments.backend.Backend"),
        ("pathlib:Path", "is not a backend"),
        ("deployments.backend:Backend", "offers no capability"),
        (":Model", "':Model' cannot be imported"),
    ],
)
def test_a_backend_that_is_none_is_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load_backend(name)
    assert name in str(refused.value)
    assert reason in str(refused.value)


def test_the_gateway_s_limits_are_those_media_are_opened_with() -> None:
    limits = {"max_image_pixels": 1, "max_audio_s": 2, "max_video_s": 3, "max_video_pixels": 4}
    assert GatewayConfig.model_validate(limits).limits == MediaLimits(1, 2, 3, 4)
    assert GatewayConfig().limits == MediaLimits()


def test_no_secret_of_the_environment_is_shown() -> None:
    settings = Settings.from_environment({"MEDLEY_HOME": "/somewhere", "MEDLEY_API_KEY": "hush-hush"})
    assert settings.api_key == "hush-hush"
    for shown in (repr(settings), str(settings), f"{settings}", f"{[settings]}", f"{settings!r:>80}"):
        assert "hush" not in shown
        assert "/somewhere" in shown
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_home_is_absolute_and_has_a_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    home = tmp_path / ".medley"
    default = Settings(home, None, f"sqlite:///{home}/medley.db", str(home / "artifacts"), None)
    assert Settings.from_environment({}) == default
    assert Settings.from_environment({"MEDLEY_HOME": "", "MEDLEY_API_KEY": " "}) == default
    shared = {"MEDLEY_DATABASE_URL": "postgresql://db/medley", "MEDLEY_ARTIFACTS_URL": "s3://bucket/medley"}
    secrets = {"MEDLEY_SIGNING_KEY": "secret\n", "FREEPIK_WEBHOOK_SECRET": "secret of callbacks\n"}
    found = Settings.from_environment({**shared, **secrets})
    assert found.callback_secret == "secret of callbacks"
    assert (found.database_url, found.artifacts_url) == tuple(shared.values())
    assert found.signing_key == "secret" and "secret" not in repr(found)
    assert Settings.from_environment({"MEDLEY_HOME": "~/here"}).home == tmp_path / "here"
    assert Settings.from_environment({"MEDLEY_HOME": "there"}).home == tmp_path / "there"
