"""XTTS's weights: loaded from safetensors, and made safetensors of once.

The published ones are pickles, which can run code. `python -m deployments.text_to_speech.xtts_weights FOLDER`, in an
environment with the extra `xtts`, reads `model.pth` and `speakers_xtts.pth` with torch's unpickler that takes tensors
and plain values only, and writes `model.safetensors` and `speakers.safetensors` beside them.
"""

# pyright: reportMissingImports=false
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backend import weights_path
from ..engine import failure, is_local
from ..errors import ModelUnavailable

NEEDED = ("config.json", "vocab.json", "model.safetensors", "speakers.safetensors")
WRITTEN_BY = {"zh-cn": "pypinyin", "ja": "cutlet"}  # languages, and the packages that write them in Latin letters
PARTS = ("gpt_cond_latent", "speaker_embedding")  # of a speaker: how they speak, and the voice


@dataclass(frozen=True)
class Weights:
    """A network, its languages, and tensors of each speaker in the order of `PARTS`."""

    network: Any
    languages: tuple[str, ...]
    speakers: Mapping[str, tuple[Any, Any]]


def load_weights(named: str) -> Weights:
    """XTTS from a folder, on the CPU.

    Raises:
        ModelUnavailable: coqui-tts is not installed, or `named` is no folder with an XTTS in safetensors.
    """
    try:
        import TTS.tts.models.xtts  # noqa: F401
        from safetensors.torch import load_file
    except ImportError as error:
        raise ModelUnavailable(f"XTTS cannot be imported ({error}); the extra `xtts` installs it") from None
    folder = Path(weights_path(named))
    if not is_local(str(folder), named):
        raise ModelUnavailable(f"{named} is not a folder on this machine")
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ModelUnavailable(f"{named} lacks {', '.join(missing)}")
    try:
        network = built(folder)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        network.eval()
        network.requires_grad_(False)
        speakers = _speakers(load_file(folder / "speakers.safetensors"))
    except Exception as error:  # a folder can be wrong in more ways than coqui-tts has errors for
        raise failure(error, f"{named} cannot be loaded") from None
    here = [tag for tag in network.config.languages if tag not in WRITTEN_BY or _installed(WRITTEN_BY[tag])]
    if not speakers or not here:
        raise ModelUnavailable(f"{named} has no {'languages' if speakers else 'speakers'}")
    return Weights(network, tuple(here), speakers)


def built(folder: Path) -> Any:
    """The network that `config.json` and `vocab.json` describe, with random weights."""
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    config: Any = XttsConfig()
    config.load_json(str(folder / "config.json"))
    if config.model != "xtts":
        raise ValueError(f"config.json is of the model {config.model!r}, not of xtts")
    network: Any = Xtts(config)
    network.tokenizer = VoiceBpeTokenizer(folder / "vocab.json")
    network.init_models()
    return network


def convert(folder: Path) -> None:
    """Write `model.safetensors` and `speakers.safetensors` of the published files of an XTTS 2 in `folder`.

    coqui-tts may write `model.pth` anew, with its configuration as plain values.

    Raises:
        RuntimeError: the tensors are not those that `config.json` describes.
        pickle.UnpicklingError: a file has something else in it than tensors and plain values.
    """
    import torch
    from safetensors.torch import save_file

    network = built(folder)
    network.load_state_dict(network.get_compatible_checkpoint_state_dict(folder / "model.pth"))
    tensors = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    known = torch.load(folder / "speakers_xtts.pth", map_location="cpu", weights_only=True)
    flat = {f"{name}.{part}": known[name][part].contiguous().clone() for name in known for part in PARTS}
    save_file(flat, folder / "speakers.safetensors", {"format": "pt"})


def _speakers(tensors: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    return {name: (tensors[f"{name}.{PARTS[0]}"], tensors[f"{name}.{PARTS[1]}"]) for name in sorted(names)}


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
