"""Model multiplexing: models that share the deployment of another model, their host, and the check of their entries."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidConfig, nearest

if TYPE_CHECKING:
    from .schema import ModelConfig

DEPLOYMENT_KEYS = ("gpu_memory_gib", "gpus", "node", "cpus", "max_loaded")  # only for models with their own deployment


def multiplexed(models: "Sequence[ModelConfig]") -> "dict[str, list[ModelConfig]]":
    """The models that share the deployment of a host, by the host's name."""
    by_host = dict[str, list["ModelConfig"]]()
    for model in models:
        if model.host is not None:
            by_host.setdefault(model.host, []).append(model)
    return by_host


def check_multiplexing(models: "Sequence[ModelConfig]", backends: Mapping[str, type[Any]], at: str) -> None:
    """Check that every model with a host can share its deployment.

    Args:
        backends: the class of each model, by its name.
        at: the path of the list of models in the profile.

    Raises:
        InvalidConfig: names the key's path and what to do.
    """
    by_name = {model.name: model for model in models}
    for index, model in enumerate(models):
        if model.host is None:
            continue
        where = f"{at}[{index}]"
        host = by_name.get(model.host)
        if host is None:
            others = [name for name in by_name if name != model.name]
            raise InvalidConfig(f"{where}.host: there is no model {model.host!r}.{nearest(model.host, others)}")
        if host is model:
            raise InvalidConfig(f"{where}.host: {model.name!r} cannot be its own host; name another model")
        if host.host is not None:
            raise InvalidConfig(f"{where}.host: {host.name!r} has no deployment of its own; name {host.host!r} here")
        if backends[model.name] is not backends[host.name]:
            why = f"must have the backend of its host {host.name!r}, {host.backend!r}"
            raise InvalidConfig(f"{where}.backend: {model.name!r} {why}")
        for key in DEPLOYMENT_KEYS:
            if key in model.model_fields_set and getattr(model, key) is not None:
                raise InvalidConfig(f"{where}.{key}: set it for {host.name!r}, whose deployment serves {model.name!r}")
    for index, model in enumerate(models):  # in a second pass, so that a misspelt `host` is reported first
        if model.host is None:
            _check_host(model, model.name in multiplexed(models), f"{at}[{index}]")


def _check_host(model: "ModelConfig", shared: bool, where: str) -> None:
    if model.user_config:
        raise InvalidConfig(f"{where}.user_config: move it to the entry of {model.name!r} under `deployments`")
    if "max_loaded" in model.model_fields_set and not shared:
        raise InvalidConfig(f"{where}.max_loaded: no model shares the deployment of {model.name!r}")
