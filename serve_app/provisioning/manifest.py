"""The manifest of a profile, a KubeRay RayService whose `serveConfigV2` is the profile itself."""

from importlib.metadata import version
from typing import Any

import yaml

from ..config.profile import Profile
from ..config.schema import NodeConfig
from .ray_environment import DEADLINES, SPEED

# The settings that every node of a cluster shares: the API key, the database, the bucket and the key that signs URLs.
SECRETS = ("MEDLEY_API_KEY", "MEDLEY_DATABASE_URL", "MEDLEY_ARTIFACTS_URL", "MEDLEY_SIGNING_KEY")
# An optional secret with other variables that models read: keys of providers, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE,
# MEDLEY_WEIGHTS.
ENVIRONMENT = "medley-environment"
LABELS = {"app.kubernetes.io/name": "medley"}
# The addresses of clouds' metadata services, which hand out credentials.
METADATA_IPV4, METADATA_IPV6 = "169.254.169.254/32", "fd00:ec2::254/128"
SERVE_PORT, DASHBOARD_PORT = 8000, 8265
IMAGE = "medley:0.1.0"  # Medley with its engines; name yours with the `images:` of kustomize


# One CPU node always runs, for the gateway and the workers; every other node starts when it is needed.
CPU_NODES = NodeConfig(name="cpu", count=8, cpus=8, memory_gib=32)


class _Block(str):
    """A string that YAML writes as a literal block."""


def _literal(dumper: yaml.SafeDumper, value: _Block) -> yaml.ScalarNode:
    # types-PyYAML leaves the value's type open.
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style="|")  # pyright: ignore[reportUnknownMemberType]


yaml.SafeDumper.add_representer(_Block, _literal)


def rayservice(profile: Profile) -> str:
    """The manifest as YAML: the service and its network policy. The head runs no work; each kind of node is a worker
    group, from zero on if it has GPUs.

    Ray takes pickles over gRPC, which are code, from whoever has its token: KubeRay makes the token, a secret of the
    cluster, and only the cluster's own pods reach Ray's ports.
    """
    document: dict[str, Any] = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "medley", "labels": dict(LABELS)},
        "spec": {
            "serveConfigV2": _Block(yaml.safe_dump(profile.document, sort_keys=False, width=120)),
            "upgradeStrategy": {"type": "NewCluster"},
            "excludeHeadPodFromServeSvc": True,
            "rayClusterConfig": {
                "rayVersion": version("ray"),
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 300},
                "headGroupSpec": _head(),
                "workerGroupSpecs": [_workers(node) for node in nodes_of(profile)],
            },
        },
    }
    text = yaml.safe_dump_all([document, _network_policy()], sort_keys=False, width=120)
    return f"# Made by `medley manifest configs/{profile.path.name}`; edit that file instead.\n{text}"


def _network_policy() -> dict[str, Any]:
    """Clients reach the service's port, KubeRay the dashboard, and the cluster's pods each other; nothing else comes
    in, and nothing goes to the cloud's metadata service."""
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "medley", "labels": dict(LABELS)},
        "spec": {
            "podSelector": {"matchLabels": dict(LABELS)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": dict(LABELS)}}]},
                {"from": [operator], "ports": [{"port": DASHBOARD_PORT}]},
                {"ports": [{"port": SERVE_PORT}]},
            ],
            "egress": [{"to": [_all_but("0.0.0.0/0", METADATA_IPV4), _all_but("::/0", METADATA_IPV6)]}],
        },
    }


def _all_but(addresses: str, excluded: str) -> dict[str, Any]:
    return {"ipBlock": {"cidr": addresses, "except": [excluded]}}


def _head() -> dict[str, Any]:
    container = _container("ray-head", {"cpu": "2", "memory": "8Gi"})
    return {
        "rayStartParams": {"num-cpus": "0"},
        "template": {"metadata": {"labels": dict(LABELS)}, "spec": {"containers": [container]}},
    }


def nodes_of(profile: Profile) -> list[NodeConfig]:
    """The profile's kinds of nodes, with `CPU_NODES` if every kind has GPUs."""
    nodes = list(profile.app.nodes)
    return nodes if any(not node.gpus for node in nodes) else [*nodes, CPU_NODES]


def _workers(node: NodeConfig) -> dict[str, Any]:
    resources = {"cpu": str(node.cpus), "memory": f"{node.memory_gib:g}Gi"}
    pod: dict[str, Any] = {"nodeSelector": node.node_selector} if node.node_selector else {}
    labels: dict[str, Any] = {}
    if node.gpus:
        resources["nvidia.com/gpu"] = str(node.gpus)
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    if node.accelerator:
        labels["labels"] = {"ray.io/accelerator-type": node.accelerator}
    least = 0 if node.gpus else 1
    return {
        "groupName": node.name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": node.count,
        "rayStartParams": {},
        **labels,
        "template": {
            "metadata": {"labels": dict(LABELS)},
            "spec": {"containers": [_container("ray-worker", resources)], **pod},
        },
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
            *({"name": variable, "value": value} for variable, value in {**SPEED, **DEADLINES}.items()),
            *secrets,
        ],
        "envFrom": [{"secretRef": {"name": ENVIRONMENT, "optional": True}}],
        "resources": {"requests": dict(resources), "limits": resources},
    }
