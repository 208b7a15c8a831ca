"""What may be laid over a pipeline's weights: LoRA adapters, the sight of reference pictures, smaller numbers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..backend import weights_path
from ..engine import failure, is_local
from ..errors import ModelUnavailable

# Of the network that denoises, whose weights are most of a pipeline's.
Quantization = Literal["torchao_int8", "bitsandbytes_int8", "bitsandbytes_nf4"]
IMAGE_ENCODER = "image_encoder"  # where an IP-Adapter keeps it, under its own folder
LOOKING = ("CLIPVisionModelWithProjection", "SiglipVisionModel")  # what diffusers' pipelines take for it
EXTRA = "the extra `quantization` installs it"


class Adapter(BaseModel):
    """A LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) in safetensors that callers may ask for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(description="Folder or hub name")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
    file: str | None = Field(None, pattern=r"\.safetensors$", description="Its file, where there are several")
    strength: float = Field(1.0, ge=-2, le=2, description="How much of it is added to the weights")


class ReferenceAdapter(BaseModel):
    """An IP-Adapter (Ye et al. 2023, https://arxiv.org/abs/2308.06721): pictures are looked at beside the prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(description="Folder or hub name, such as h94/IP-Adapter")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
    subfolder: str = Field("models", description="Where in it; its image encoder is in `image_encoder` beneath")
    file: str = Field(pattern=r"\.safetensors$", description="Such as ip-adapter_sd15.safetensors")
    strength: float = Field(0.6, ge=0, le=1, description="How much the pictures weigh beside the prompt")


@dataclass(frozen=True)
class Additions:
    """What a loaded pipeline has been given. Which of it holds is set before each batch: the weights are shared."""

    adapters: Mapping[str, Adapter]
    references: ReferenceAdapter | None

    def choose(self, pipeline: Any, adapter: str | None, refer: bool) -> None:
        """Let this adapter hold, or none; let reference pictures weigh, or not."""
        if self.adapters and adapter is None:
            pipeline.disable_lora()
        elif self.adapters:
            pipeline.enable_lora()
            pipeline.set_adapters([adapter], [self.adapters[adapter or ""].strength])
        if self.references is not None:
            pipeline.set_ip_adapter_scale(self.references.strength if refer else 0.0)


def quantized(quantization: Quantization | None, network: str, dtype: Any) -> Any:
    """diffusers' configuration that loads `network` (unet, transformer) in smaller numbers; None for none.

    Raises:
        ModelUnavailable: the library for it is not installed.
    """
    if quantization is None:
        return None
    from diffusers.quantizers import quantization_config as configurations
    from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig

    try:
        if quantization == "torchao_int8":
            from torchao.quantization import Int8WeightOnlyConfig  # pyright: ignore[reportMissingImports]

            how: Any = configurations.TorchAoConfig(Int8WeightOnlyConfig())
        else:
            import bitsandbytes  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]

            make: Any = configurations.BitsAndBytesConfig
            small = {"load_in_8bit": True}
            if quantization == "bitsandbytes_nf4":
                small = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
            how = make(**small)
    except ImportError as error:
        raise ModelUnavailable(f"quantization: {quantization} cannot be used ({error}); {EXTRA}") from None
    return PipelineQuantizationConfig(quant_mapping={network: how})


def network_of(pipeline: Any) -> Any:
    """The part that denoises."""
    return getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)


def add(pipeline: Any, adapters: Mapping[str, Adapter], references: ReferenceAdapter | None) -> Additions:
    """Load them into a pipeline.

    Raises:
        ModelUnavailable: one is missing, damaged, pickled or not for such a pipeline.
    """
    for name, adapter in adapters.items():
        _laid(f"the adapter {name}", adapter, lambda adapter=adapter, name=name: _add_adapter(pipeline, name, adapter))
    if references is not None:
        _laid("the reference adapter", references, lambda: _add_references(pipeline, references))
    return Additions(adapters, references)


def _laid(what: str, adapter: Adapter | ReferenceAdapter, work: Any) -> None:
    try:
        work()
    except ModelUnavailable:
        raise
    except Exception as error:  # a file can be wrong in more ways than diffusers has errors for
        raise failure(error, f"{what} cannot be loaded", adapter.revision) from None


def _add_adapter(pipeline: Any, name: str, adapter: Adapter) -> None:
    if not hasattr(pipeline, "load_lora_weights"):
        raise ModelUnavailable(f"the adapter {name}: a {type(pipeline).__name__} takes none")
    path = weights_path(adapter.weights)
    folder = path if is_local(path, adapter.weights) else _fetched(path, adapter)
    file = adapter.file
    if file is None:
        found = [file.name for file in sorted(Path(folder).glob("*.safetensors"))]
        if len(found) != 1:
            raise ModelUnavailable(f"the adapter {name}: {adapter.weights} has {len(found)} files; `file` says which")
        file = found[0]
    pipeline.load_lora_weights(folder, adapter_name=name, weight_name=file, local_files_only=True, use_safetensors=True)
    known = {key for part in pipeline.get_list_adapters().values() for key in part}
    if name not in known:
        raise ModelUnavailable(f"the adapter {name}: {adapter.weights} has nothing for a {type(pipeline).__name__}")


def _fetched(name: str, adapter: Adapter) -> str:
    """The folder of an adapter on the hub. By diffusers one that names no file would not be found offline."""
    import huggingface_hub

    return huggingface_hub.snapshot_download(
        name, revision=adapter.revision, allow_patterns=adapter.file or "*.safetensors"
    )


def _add_references(pipeline: Any, references: ReferenceAdapter) -> None:
    if not hasattr(pipeline, "load_ip_adapter"):
        raise ModelUnavailable(f"the reference adapter: a {type(pipeline).__name__} takes none")
    path = weights_path(references.weights)
    local = is_local(path, references.weights, "**/*.safetensors")
    source = {"revision": references.revision, "local_files_only": local}
    if getattr(pipeline, "image_encoder", None) is None:  # diffusers would take a pickled one too, of any revision
        pipeline.register_modules(image_encoder=_image_encoder(pipeline, path, references.subfolder, source))
    with _left_in_place(pipeline):
        pipeline.load_ip_adapter(path, subfolder=references.subfolder, weight_name=references.file, **source)


@contextmanager
def _left_in_place(pipeline: Any) -> Iterator[None]:
    """diffusers casts a network to its own type of number once it has a reference adapter, which one that is quantised
    refuses. So what was added to its attention is cast alone: diffusers leaves that in float32 till then."""
    from torch import nn

    network = network_of(pipeline)
    if not getattr(network, "is_quantized", False):
        yield
        return
    network.to = lambda *_, **__: network
    try:
        yield
    finally:
        del network.to
    for processor in network.attn_processors.values():
        if isinstance(processor, nn.Module):
            processor.to(dtype=network.dtype, device=network.device)


def _image_encoder(pipeline: Any, path: str, subfolder: str, source: dict[str, Any]) -> Any:
    """The network that looks at the pictures; which kind it is, its own configuration says."""
    import transformers

    source = {"subfolder": f"{subfolder}/{IMAGE_ENCODER}".lstrip("/"), **source}
    kinds = transformers.AutoConfig.from_pretrained(path, **source).architectures or ["nothing"]
    if kinds[0] not in LOOKING:
        needed = " or a ".join(LOOKING)
        raise ModelUnavailable(f"the reference adapter: its image encoder is a {kinds[0]}, not a {needed}")
    kind = getattr(transformers, kinds[0])
    return kind.from_pretrained(path, use_safetensors=True, dtype=pipeline.dtype, **source).to(pipeline.device)
