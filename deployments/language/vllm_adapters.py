"""LoRA adapters beside a model's weights in vLLM, chosen call by call."""

# pyright: reportMissingImports=false
# vLLM is in an environment of its own.

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..backend import weights_path
from ..engine import is_local
from ..errors import InvalidInput, ModelUnavailable
from ..hub_errors import hub_reason

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those vLLM has room for
MOST_AT_ONCE = 8  # in one batch: each takes memory on the device; the others wait in the machine's
FILES = WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Adapter:
    """One adapter in PEFT's layout on this machine."""

    name: str
    folder: str
    rank: int  # the highest of its layers'


def found_adapters(named: Mapping[str, str]) -> tuple[Adapter, ...]:
    """The adapters by their names, those of the hub fetched (safetensors alone).

    Args:
        named: name -> folder, hub name, or hub name@commit.

    Raises:
        ModelUnavailable: one is missing, pickled, or no LoRA.
    """
    return tuple(_adapter(name, weights) for name, weights in named.items())


def lora_arguments(adapters: tuple[Adapter, ...], on_cpu: bool) -> dict[str, Any]:
    """What vLLM's engine is started with to hold these.

    Raises:
        ModelUnavailable: there is no room for one of them.
    """
    if not adapters:
        return {}
    rank = max(adapter.rank for adapter in adapters)
    room = next((fits for fits in RANKS if fits >= rank), None)
    if room is None:
        raise ModelUnavailable(f"an adapter has rank {rank}; vLLM takes {RANKS[-1]} at most")
    # On a CPU, vLLM 0.32 gives a call without an adapter that of the last place in a batch with others: it stays empty.
    places = len(adapters) + 1 if on_cpu else min(len(adapters), MOST_AT_ONCE)
    kept = max(places, len(adapters))
    return {"enable_lora": True, "max_loras": places, "max_cpu_loras": kept, "max_lora_rank": room}


def lora_requests(adapters: tuple[Adapter, ...]) -> dict[str, Any]:
    """What a call with each of them carries, by name."""
    from vllm.lora.request import LoRARequest

    return {
        adapter.name: LoRARequest(adapter.name, number, adapter.folder) for number, adapter in enumerate(adapters, 1)
    }


def chosen(requests: Mapping[str, Any], name: str | None) -> Any:
    """What a call carries for the adapter of this name; None for none.

    Raises:
        InvalidInput: the model was given no such adapter.
    """
    if name is None or name in requests:
        return requests.get(name or "")
    near = difflib.get_close_matches(name, requests, 4, 0.4) or sorted(requests)
    raise InvalidInput("adapter", f"{name!r} is none of this model's. There are: {', '.join(near) or 'none'}")


def _adapter(name: str, weights: str) -> Adapter:
    repository, _, commit = weights.partition("@")
    said = f"adapter {name!r} ({weights})"
    folder = weights_path(weights)
    if commit and folder == weights and weights_path(repository) != repository:
        folder = weights_path(repository)  # the weights folder has it by its name alone
    if not is_local(folder, said, "adapter_model*.safetensors"):
        folder = _fetched(repository, commit or None, said)
    try:
        with open(f"{folder}/{CONFIG}") as file:
            config = json.load(file)
        with open(f"{folder}/{WEIGHTS}", "rb"):
            pass
        if config.get("peft_type") != "LORA":
            raise ModelUnavailable(f"{said} is no LoRA but {config.get('peft_type')!r}")
        ranks = [config["r"], *(config.get("rank_pattern") or {}).values()]
        return Adapter(name, folder, max(int(rank) for rank in ranks))
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelUnavailable(f"{said} cannot be loaded: {type(error).__name__}: {error}") from None


def _fetched(name: str, commit: str | None, said: str) -> str:
    import huggingface_hub

    try:
        return huggingface_hub.snapshot_download(name, revision=commit, allow_patterns=[*FILES])
    except Exception as error:  # of the network, of the hub's, or of a name that can be none
        reason = hub_reason(error, commit) or str(error).strip().splitlines()[0]
        raise ModelUnavailable(f"{said} cannot be fetched: {reason}") from None
