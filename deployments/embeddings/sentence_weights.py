"""Weights of sentence-transformers, checked before the library sees them."""

import json
from pathlib import Path
from typing import Any

from ..backend import weights_path
from ..engine import failure, is_local
from ..errors import ModelUnavailable
from ..loads import USUAL

MODULES = "modules.json"
KNOWN = ("Transformer", "Pooling", "Dense", "Normalize")  # what loads no code that the weights name
SAFETENSORS = "**/*.safetensors"


def sentence_folder(weights: str, revision: str | None) -> Path:
    """The folder of weights in sentence-transformers' layout, or of a plain network in transformers'.

    Raises:
        ModelUnavailable: they are not there, are pickled, or name code to be run.
    """
    path = weights_path(weights)
    if is_local(path, weights, SAFETENSORS):
        folder = Path(path)
    else:
        import huggingface_hub

        try:
            folder = Path(huggingface_hub.snapshot_download(path, revision=revision, allow_patterns=list(USUAL)))
        except Exception as error:  # the hub's, the network's, the disk's
            raise failure(error, f"{weights} cannot be loaded", revision) from None
    if (folder / MODULES).is_file():
        try:
            _check(folder)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise ModelUnavailable(f"{weights} cannot be loaded: {MODULES} is damaged ({error!r})") from None
    return folder


def _check(folder: Path) -> None:
    """The library imports whatever these files name, so they may name its own modules and torch's functions only."""
    modules: list[dict[str, Any]] = json.loads((folder / MODULES).read_text())
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        if not module["type"].startswith("sentence_transformers.") or kind not in KNOWN:
            raise ModelUnavailable(f"{folder.name} has a module {module['type'][:100]!r}, which is not loaded here")
        place = folder / module["path"]
        if kind == "Dense":
            function = json.loads((place / "config.json").read_text()).get("activation_function", "torch.nn.Tanh")
            if not function.startswith("torch.nn.modules."):
                raise ModelUnavailable(f"{folder.name} has a function {function[:100]!r}, which is not loaded here")
        if kind in ("Dense", "Transformer") and not list(place.glob("*.safetensors")):
            raise ModelUnavailable(
                f"{folder.name} has only pickled weights in {module['path']!r}; safetensors are needed"
            )
