"""Models that live in the replicas of another one: what a profile may say of them, and who lives where."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidConfig, nearest

if TYPE_CHECKING:
    from .schema import ModelConfig

OWN = ("gpu_memory_gib", "gpus", "node", "cpus", "max_loaded")  # what only a model with replicas of its own can say


def multiplexed(models: "Sequence[ModelConfig]") -> "dict[str, list[ModelConfig]]":
    """Those that live in the replicas of another model, by its name."""
    found = dict[str, list["ModelConfig"]]()
    for model in models:
        if model.host is not None:
            found.setdefault(model.host, []).append(model)
    return found


def check_multiplexing(models: "Sequence[ModelConfig]", backends: Mapping[str, type[Any]], at: str) -> None:
    """Refuse what cannot be shared.

    Args:
        backends: the class of each model, by its name.
        at: the path of the list of models in the profile.

    Raises:
        InvalidConfig: names the key's path and what to do.
    """
    named = {model.name: model for model in models}
    for index, model in enumerate(models):
        if model.host is None:
            continue
        where = f"{at}[{index}]"
        host = named.get(model.host)
        if host is None:
            others = [name for name in named if name != model.name]
            raise InvalidConfig(f"{where}.host: there is no model {model.host!r}.{nearest(model.host, others)}")
        if host is model:
            raise InvalidConfig(f"{where}.host: {model.name!r} cannot live in its own replicas; name another model")
        if host.host is not None:
            raise InvalidConfig(f"{where}.host: {host.name!r} has no replicas of its own; say {host.host!r} here")
        if backends[model.name] is not backends[host.name]:
            why = f"lives with models of one backend, and {host.name!r} has {host.backend!r}"
            raise InvalidConfig(f"{where}.backend: {model.name!r} {why}")
        for key in OWN:
            if key in model.model_fields_set and getattr(model, key) is not None:
                raise InvalidConfig(f"{where}.{key}: say it of {host.name!r}, in whose replicas {model.name!r} lives")
    for index, model in enumerate(models):  # after them, so that a misspelt `host` is what is told
        if model.host is None:
            _check_host(model, model.name in multiplexed(models), f"{at}[{index}]")


def _check_host(model: "ModelConfig", shared: bool, where: str) -> None:
    if model.user_config:
        raise InvalidConfig(f"{where}.user_config: say it in the entry of {model.name!r} under `deployments`")
    if "max_loaded" in model.model_fields_set and not shared:
        raise InvalidConfig(f"{where}.max_loaded: no model shares the replicas of {model.name!r}")
