"""Weights divided among several gpus: a profile has to keep as many of them, and in the place where they are taken."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidConfig

if TYPE_CHECKING:
    from .schema import ModelConfig


def check_tensor_parallel(
    models: "Sequence[ModelConfig]", options: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], at: str
) -> None:
    """Refuse weights divided among other GPUs than there will be: their engine would wait for the rest for ever.

    Args:
        options: what the profile says to each model's backend.
        entries: the application's `deployments`.
        at: the path of the application in the profile.

    Raises:
        InvalidConfig: names the key's path and what to do.
    """
    named = {model.name: model for model in models}
    places = {entry["name"]: (entry, f"{at}.deployments[{index}]") for index, entry in enumerate(entries)}
    for index, model in enumerate(models):
        place, host, own = f"{at}.args.models[{index}]", named[model.host or model.name], options.get(model.name, {})
        if own.get("tensor_parallel_size", 1) > 1 and own.get("distributed_executor_backend") == "ray":
            entry, where = places.get(host.name, ({"name": host.name}, f"{at}.deployments"))
            _check_placement_group(host, own["tensor_parallel_size"], entry, where)
        else:
            _check_replica(model, host, own.get("tensor_parallel_size", 1), place)


def _check_replica(model: "ModelConfig", host: "ModelConfig", divided: int, at: str) -> None:
    """The replica's own GPUs, where Medley is what keeps them for it.

    Args:
        host: whose replicas the model lives in, mostly its own.
    """
    if host.gpu_memory_gib is None:
        if model.gpus > 1:
            raise InvalidConfig(f"{at}.gpus: say `gpu_memory_gib` too, what {model.name!r} takes of each")
    elif divided == host.gpus:
        return
    elif model is host:
        raise InvalidConfig(
            f"{at}.gpus: is {model.gpus}, and `tensor_parallel_size: {divided}` in the options of {model.name!r} "
            f"divides its weights among {divided}"
        )
    else:
        raise InvalidConfig(
            f"{at}.user_config.tensor_parallel_size: is {divided}, and the replicas of {host.name!r}, in which "
            f"{model.name!r} lives, have `gpus: {host.gpus}`"
        )


def _check_placement_group(host: "ModelConfig", divided: int, entry: Mapping[str, Any], where: str) -> None:
    """The GPUs of its placement group, which the engine's processes take; the replica itself has none."""
    example = [{"CPU": 1}, *[{"GPU": 1}] * divided]
    bundles: list[dict[str, float]] = entry.get("placement_group_bundles") or []
    actor: dict[str, Any] = entry.get("ray_actor_options") or {}
    whole = sum(bundle.get("GPU", 0) == 1 for bundle in bundles)
    if host.gpu_memory_gib is not None:
        raise InvalidConfig(
            f"{where}: `distributed_executor_backend: ray` takes GPUs of a placement group, and `gpu_memory_gib` "
            f"keeps others for {host.name!r}; leave that out, or say `mp`"
        )
    if whole < divided:
        raise InvalidConfig(
            f"{where}.placement_group_bundles: needs {divided} with a whole GPU, one for each part of the weights of "
            f"{host.name!r}, and has {whole}; for example {example}"
        )
    if actor.get("num_gpus") != 0:
        raise InvalidConfig(
            f"{where}.ray_actor_options.num_gpus: say 0; the replica of {host.name!r} takes no GPU, its engine's "
            "processes take those of the bundles"
        )
