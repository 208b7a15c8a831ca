"""A profile as a KubeRay RayService: `serveConfigV2` is the profile itself, so there is one source of it."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import yaml

from ..config.profile import Profile
from .ray_environment import SPEED

# In a cluster every node shares these: the key, the database, the bucket and what signs URLs.
SECRETS = ("MEDLEY_API_KEY", "MEDLEY_DATABASE_URL", "MEDLEY_ARTIFACTS_URL", "MEDLEY_SIGNING_KEY")
# A secret with what else models read from the environment, if there is one: keys of providers, HF_TOKEN, HF_HOME,
# HF_HUB_OFFLINE, MEDLEY_WEIGHTS.
ENVIRONMENT = "medley-environment"
IMAGE = "medley:0.1.0"  # built from cluster/images; set yours with kustomize's `images:`


@dataclass(frozen=True)
class NodeGroup:
    """One kind of node: its name, size and GPU, and how many there may be."""

    name: str
    cpus: int
    memory: str
    most: int
    least: int = 0
    accelerator: str | None = None  # Ray's name of it, which profiles ask for with `label_selector`
    node_selector: str | None = None  # the cloud's name of it


NODE_GROUPS = [
    NodeGroup("a100", cpus=12, memory="96Gi", most=4, accelerator="A100", node_selector="nvidia-a100-80gb"),
    NodeGroup("t4", cpus=4, memory="16Gi", most=8, accelerator="T4", node_selector="nvidia-tesla-t4"),
    # One CPU node is always there for the gateway; everything else appears when it is asked for.
    NodeGroup("cpu", cpus=8, memory="32Gi", most=8, least=1),
]


class _Block(str):
    """A string YAML writes as a literal block."""


def _literal(dumper: yaml.SafeDumper, value: _Block) -> yaml.ScalarNode:
    # types-PyYAML leaves the value's type open.
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style="|")  # pyright: ignore[reportUnknownMemberType]


yaml.SafeDumper.add_representer(_Block, _literal)


def rayservice(profile: Profile) -> str:
    """The manifest as YAML: the head schedules nothing, each node type is a worker group that scales to zero."""
    document: dict[str, Any] = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "medley", "labels": {"app.kubernetes.io/name": "medley"}},
        "spec": {
            "serveConfigV2": _Block(yaml.safe_dump(profile.document, sort_keys=False, width=120)),
            "upgradeStrategy": {"type": "NewCluster"},
            "excludeHeadPodFromServeSvc": True,
            "rayClusterConfig": {
                "rayVersion": version("ray"),
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 300},
                "headGroupSpec": _head(),
                "workerGroupSpecs": [_workers(group) for group in NODE_GROUPS],
            },
        },
    }
    text = yaml.safe_dump(document, sort_keys=False, width=120)
    return f"# Made by `medley manifest configs/{profile.path.name}`; edit that file instead.\n{text}"


def _head() -> dict[str, Any]:
    container = _container("ray-head", {"cpu": "2", "memory": "8Gi"})
    return {"rayStartParams": {"num-cpus": "0"}, "template": {"spec": {"containers": [container]}}}


def _workers(group: NodeGroup) -> dict[str, Any]:
    resources = {"cpu": str(group.cpus), "memory": group.memory}
    pod: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    if group.accelerator:
        resources["nvidia.com/gpu"] = "1"
        pod["nodeSelector"] = {"cloud.google.com/gke-accelerator": group.node_selector}
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        labels["labels"] = {"ray.io/accelerator-type": group.accelerator}
    return {
        "groupName": group.name,
        "replicas": group.least,
        "minReplicas": group.least,
        "maxReplicas": group.most,
        "rayStartParams": {},
        **labels,
        "template": {"spec": {"containers": [_container("ray-worker", resources)], **pod}},
    }


def _container(name: str, resources: dict[str, str]) -> dict[str, Any]:
    secrets = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "medley", "key": name[7:].lower().replace("_", "-")}}}
        for name in SECRETS
    ]
    return {
        "name": name,
        "image": IMAGE,
        "env": [
            *({"name": knob, "value": value} for knob, value in SPEED.items()),
            *secrets,
        ],
        "envFrom": [{"secretRef": {"name": ENVIRONMENT, "optional": True}}],
        "resources": {"requests": dict(resources), "limits": resources},
    }
