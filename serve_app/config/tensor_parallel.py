"""Tensor parallelism: if weights are divided among several GPUs, the profile must reserve as many for their engine."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidConfig

if TYPE_CHECKING:
    from .schema import ModelConfig


def check_tensor_parallel(
    models: "Sequence[ModelConfig]", options: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], at: str
) -> None:
    """Check that each model's weights are divided among as many GPUs as it has: its engine would wait for more forever.

    Args:
        options: the options of each model's backend, by the model's name.
        entries: the application's `deployments`.
        at: the path of the application in the profile.

    Raises:
        InvalidConfig: names the key's path and what to do.
    """
    by_name = {model.name: model for model in models}
    places = {entry["name"]: (entry, f"{at}.deployments[{index}]") for index, entry in enumerate(entries)}
    for index, model in enumerate(models):
        place, host, own = f"{at}.args.models[{index}]", by_name[model.host or model.name], options.get(model.name, {})
        if own.get("tensor_parallel_size", 1) > 1 and own.get("distributed_executor_backend") == "ray":
            entry, where = places.get(host.name, ({"name": host.name}, f"{at}.deployments"))
            _check_placement_group(host, own["tensor_parallel_size"], entry, where)
        else:
            _check_replica(model, host, own.get("tensor_parallel_size", 1), place)


def _check_replica(model: "ModelConfig", host: "ModelConfig", divided: int, at: str) -> None:
    """Check the replica's own GPUs, which Medley reserves.

    Args:
        host: the model whose deployment serves this model, mostly the model itself.
        divided: number of GPUs that the weights are divided among.
    """
    if host.gpu_memory_gib is None:
        if model.gpus > 1:
            raise InvalidConfig(f"{at}.gpus: set `gpu_memory_gib` too, the memory that {model.name!r} may use per GPU")
    elif divided == host.gpus:
        return
    elif model is host:
        raise InvalidConfig(
            f"{at}.gpus: is {model.gpus}, and `tensor_parallel_size: {divided}` in the options of {model.name!r} "
            f"divides its weights among {divided}"
        )
    else:
        raise InvalidConfig(
            f"{at}.user_config.tensor_parallel_size: is {divided}, but {host.name!r}, whose deployment serves "
            f"{model.name!r}, has `gpus: {host.gpus}`"
        )


def _check_placement_group(host: "ModelConfig", divided: int, entry: Mapping[str, Any], where: str) -> None:
    """Check the GPUs of a placement group, which the engine's processes use; the replica itself has none."""
    example = [{"CPU": 1}, *[{"GPU": 1}] * divided]
    bundles: list[dict[str, float]] = entry.get("placement_group_bundles") or []
    actor: dict[str, Any] = entry.get("ray_actor_options") or {}
    whole = sum(bundle.get("GPU", 0) == 1 for bundle in bundles)
    if host.gpu_memory_gib is not None:
        raise InvalidConfig(
            f"{where}: `distributed_executor_backend: ray` uses the GPUs of a placement group, but `gpu_memory_gib` "
            f"reserves other GPUs for {host.name!r}; remove `gpu_memory_gib`, or set the backend to `mp`"
        )
    if whole < divided:
        raise InvalidConfig(
            f"{where}.placement_group_bundles: needs {divided} with a whole GPU, one for each part of the weights of "
            f"{host.name!r}, and has {whole}; for example {example}"
        )
    if actor.get("num_gpus") != 0:
        raise InvalidConfig(
            f"{where}.ray_actor_options.num_gpus: set it to 0; the replica of {host.name!r} uses no GPU, its engine's "
            "processes use the GPUs of the bundles"
        )
