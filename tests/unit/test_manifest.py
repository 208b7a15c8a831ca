"""The RayService: what `medley manifest` prints, valid for Serve and, given KubeRay's CRDs, for Kubernetes."""

import functools
import ipaddress
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema
from typer.testing import CliRunner

from serve_app.app import deployment as made
from serve_app.cli.main import app as cli
from serve_app.config.profile import load_profile
from serve_app.provisioning.manifest import nodes_of, rayservice

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "cluster" / "rayservice.yaml"
CLUSTER = ROOT / "configs" / "cluster.yaml"
PROFILES = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


def document() -> dict[str, Any]:
    """The service."""
    return next(yaml.safe_load_all(COMMITTED.read_text()))


def policy() -> dict[str, Any]:
    """The network policy."""
    return list(yaml.safe_load_all(COMMITTED.read_text()))[1]


def test_the_committed_manifest_is_what_medley_prints() -> None:
    printed = CliRunner().invoke(cli, ["manifest", str(CLUSTER)])
    assert printed.exit_code == 0, printed.output
    assert printed.stdout == COMMITTED.read_text()


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.name)
def test_the_profile_itself_is_what_serve_gets(path: Path) -> None:
    serve = yaml.safe_load(next(yaml.safe_load_all(rayservice(load_profile(path))))["spec"]["serveConfigV2"])
    assert serve == yaml.safe_load(path.read_text())
    assert ServeDeploySchema.model_validate(serve).applications[0].name == "medley"


def test_every_node_type_a_model_asks_for_exists() -> None:
    app = load_profile(CLUSTER).app
    asked = {
        deployment.ray_actor_options.get("label_selector", {}).get("ray.io/accelerator-type")
        for deployment in (made(model, app.nodes) for model in app.models)
        if deployment.ray_actor_options
    } - {None}
    assert asked == {"A100", "T4"}
    assert asked <= {node.accelerator for node in nodes_of(load_profile(CLUSTER))}


def test_worker_groups_are_the_profiles_nodes() -> None:
    groups = document()["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    found = {group["groupName"]: (group["minReplicas"], group["maxReplicas"]) for group in groups}
    assert found == {node.name: (0 if node.gpus else 1, node.count) for node in load_profile(CLUSTER).app.nodes}
    starter = next(yaml.safe_load_all(rayservice(load_profile(ROOT / "serve_config.yaml"))))["spec"]["rayClusterConfig"]
    assert [group["groupName"] for group in starter["workerGroupSpecs"]] == ["cpu"]


def test_the_head_takes_no_work_and_gpu_nodes_come_only_when_asked_for() -> None:
    cluster = document()["spec"]["rayClusterConfig"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) == (group["minReplicas"] == 0) == ("labels" in group)


def test_no_secret_is_written_into_the_manifest() -> None:
    cluster = document()["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            secrets = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e}
            assert secrets == {
                f"MEDLEY_{name.upper().replace('-', '_')}": {"name": "medley", "key": name}
                for name in ("api-key", "database-url", "artifacts-url", "signing-key")
            }
            # What models read beside these: keys of providers, where weights are. A cluster may have none.
            assert container["envFrom"] == [{"secretRef": {"name": "medley-environment", "optional": True}}]


def test_ray_takes_calls_only_with_a_token() -> None:
    assert document()["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_only_the_services_port_is_open_to_everybody() -> None:
    spec = policy()["spec"]
    assert policy()["apiVersion"] == "networking.k8s.io/v1" and policy()["kind"] == "NetworkPolicy"
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    everybody = [rule["ports"] for rule in spec["ingress"] if "from" not in rule]
    assert everybody == [[{"port": 8000}]]
    assert {"port": 8265} not in [port for rule in spec["ingress"] if "from" not in rule for port in rule["ports"]]
    cluster = document()["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        labels = group["template"]["metadata"]["labels"]
        assert spec["podSelector"]["matchLabels"].items() <= labels.items()


def test_no_pod_reaches_the_clouds_metadata_service() -> None:
    blocks = [block["ipBlock"] for rule in policy()["spec"]["egress"] for block in rule["to"]]
    for address in (ipaddress.ip_address("169.254.169.254"), ipaddress.ip_address("fd00:ec2::254")):
        for block in blocks:
            excluded = [ipaddress.ip_network(network) for network in block.get("except", [])]
            assert address not in ipaddress.ip_network(block["cidr"]) or any(address in other for other in excluded)


def strict(schema: Any) -> Any:
    """A structural schema of Kubernetes as JSON Schema that refuses unknown fields, as `--validate=strict` does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key not in ("properties", "format", "default")}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


# KubeRay's own files are not part of this repository; where somebody has them, the manifest is held against them.
if "KUBERAY_CRDS" in os.environ:

    @functools.cache
    def validator() -> jsonschema.Draft202012Validator:
        definition = yaml.load(
            (Path(os.environ["KUBERAY_CRDS"]) / "ray.io_rayservices.yaml").read_text(), yaml.CSafeLoader
        )
        (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
        return jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))

    def test_the_manifest_is_valid_for_kuberay() -> None:
        assert [f"{error.json_path}: {error.message}" for error in validator().iter_errors(document())] == []

    @pytest.mark.parametrize(
        "path", [("spec",), ("spec", "rayClusterConfig"), ("spec", "rayClusterConfig", "headGroupSpec")]
    )
    def test_kuberay_would_refuse_a_field_it_does_not_know(path: tuple[str, ...]) -> None:
        wrong = document()
        section = wrong
        for part in path:
            section = section[part]
        section["numbrOfHosts"] = 1
        assert "numbrOfHosts" in next(validator().iter_errors(wrong)).message
