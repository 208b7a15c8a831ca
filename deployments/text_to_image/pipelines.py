"""A diffusers pipeline loaded for painting, and its siblings for editing and inpainting that share its weights."""

import inspect
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..backend import weights_path
from ..engine import device_for, failure, is_local
from ..errors import ModelUnavailable
from ..image_enhancement.swin2sr import Networks, Swin2SR
from ..image_enhancement.swin2sr import load as load_upscaler
from .additions import Additions, add, network_of, quantized
from .context import Reader, readers_of, tokenizers_of

Task = Literal["generate", "edit", "inpaint"]
# attention_slicing: a few heads at a time. vae_slicing, vae_tiling: the VAE takes pictures one by one, in tiles.
# compile: the network that denoises is compiled on its first call, which takes minutes, and is faster from then on.
# model_offload: every part of the pipeline waits in main memory until it is its turn; needs a GPU.
Saving = Literal["attention_slicing", "vae_slicing", "vae_tiling", "model_offload", "compile"]


@dataclass(frozen=True)
class Pipeline:
    """One task's pipeline. Calls work on copies that share its weights."""

    make: Any
    accepts: frozenset[str]  # arguments of its __call__
    guidance: str = "guidance_scale"  # the argument that says how strictly to follow the prompt
    avoidance: str | None = None  # the argument that turns a negative prompt on, where it is not the guidance
    readers: tuple[Reader, ...] = ()  # of its texts; none where it is not known how much of them it reads
    looks: bool = False  # was made to look at a picture beside the prompt: one call at a time, and no `strength`


@dataclass(frozen=True)
class Engine:
    """All that a loaded model is."""

    pipelines: Mapping[Task, Pipeline]  # those it has
    options: Any  # DiffusersTextToImage.Options
    size: tuple[int, int]  # painted unless the caller says otherwise: width, height
    step: int  # painted sides are multiples of it
    scale: int  # delivered pixels per painted one, along a side
    upscaler: Networks | None
    additions: Additions

    def pipeline(self, task: Task) -> Pipeline:
        if task not in self.pipelines:
            raise ModelUnavailable(f"{self.options.weights} does not {task}; it can {', '.join(self.pipelines)}")
        return self.pipelines[task]


def load(options: Any) -> Engine:
    """Load what `DiffusersTextToImage.Options` name.

    Raises:
        ModelUnavailable: the weights cannot be loaded, or the options do not suit them.
        OutOfMemory: they do not fit.
    """
    import diffusers.utils
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    _check_together(options)
    path = weights_path(options.weights)
    local = is_local(path, options.weights, "**/*.safetensors")
    diffusers.utils.logging.disable_progress_bar()
    device = device_for(options.device, options.threads)
    dtype = options.dtype if options.dtype != "auto" else _number(device)
    source = {"revision": options.revision, "variant": options.variant, "local_files_only": local}
    number = getattr(torch, dtype)
    try:
        if options.quantization is not None:
            parts = DiffusionPipeline.load_config(path, revision=options.revision, local_files_only=local)
            network = "transformer" if "transformer" in parts else "unet"
            source["quantization_config"] = quantized(options.quantization, network, number)
        pipeline = DiffusionPipeline.from_pretrained(
            path, dtype=number, use_safetensors=True, trust_remote_code=False, **source
        )
        additions = add(pipeline, options.adapters, options.references)
        _place(pipeline, device, options.savings)
    except ModelUnavailable:
        raise
    except Exception as error:  # a folder can be wrong in more ways than diffusers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    pipeline.set_progress_bar_config(disable=True)
    return _made(pipeline, options, additions)


def _number(device: str) -> str:
    """The type of number that the device computes fastest with: a T4 has bfloat16 only in name."""
    import torch

    if device != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def _check_together(options: Any) -> None:
    """Raise `ModelUnavailable` for options that each hold alone, and not together."""
    if options.references is not None and "attention_slicing" in options.savings:
        raise ModelUnavailable("savings: attention_slicing does not go with `references`: each replaces the other")
    if options.quantization == "bitsandbytes_int8" and "model_offload" in options.savings:
        raise ModelUnavailable(
            "savings: model_offload saves nothing with `quantization: bitsandbytes_int8`, whose weights stay on the "
            "GPU once they were used; bitsandbytes_nf4 goes with it"
        )


def _place(pipeline: Any, device: str, savings: Sequence[Saving]) -> None:
    """Bring the pipeline to its device, with the savings asked for."""
    if "attention_slicing" in savings:
        pipeline.enable_attention_slicing()
    if "vae_slicing" in savings:
        pipeline.vae.enable_slicing()
    if "vae_tiling" in savings:
        pipeline.vae.enable_tiling()
    if "model_offload" in savings and device != "cuda":
        raise ModelUnavailable("savings: model_offload keeps parts out of a GPU's memory, and there is no GPU")
    if "model_offload" in savings:
        pipeline.enable_model_cpu_offload()
    else:
        pipeline.to(device)
    if "compile" in savings:
        if device == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
            raise ModelUnavailable("savings: compile needs a C++ compiler on a CPU: g++, or the one that CXX names")
        if device == "cuda" and not any(map(shutil.which, (os.environ.get("CC", "gcc"), "clang"))):
            raise ModelUnavailable("savings: compile needs a C compiler on a GPU: gcc, or the one that CC names")
        network_of(pipeline).compile()


def _made(pipeline: Any, options: Any, additions: Additions) -> Engine:
    if not {"prompt", "width", "height", "num_inference_steps"} <= _pipeline(pipeline).accepts:
        raise ModelUnavailable(
            f"{options.weights} is a {type(pipeline).__name__}, which does not paint what a text says"
        )
    factor = int(getattr(pipeline, "vae_scale_factor", 8))
    # Diffusers asks for eighths whatever the VAE; transformers take latent pixels in pairs on top of it.
    step = math.lcm(8, factor) * (2 if getattr(pipeline, "transformer", None) is not None else 1)
    usual = getattr(getattr(network_of(pipeline), "config", None), "sample_size", None)
    own = usual * factor if isinstance(usual, int) else getattr(pipeline, "default_sample_size", 64) * factor
    size = (options.width or own, options.height or own)
    if size[0] % step or size[1] % step:
        raise ModelUnavailable(f"{options.weights} paints multiples of {step} pixels; width and height are {size}")
    if options.upscale_to is not None and options.upscale_to % max(size):
        raise ModelUnavailable(f"upscale_to is {options.upscale_to}; it is a multiple of the painted side, {max(size)}")
    scale = options.upscale_to // max(size) if options.upscale_to else 1
    if max(size) * scale > options.max_side:
        raise ModelUnavailable(f"max_side is {options.max_side}, less than the usual {max(size) * scale}")
    return Engine(_siblings(pipeline), options, size, step, scale, _upscaler(options, scale), additions)


def _upscaler(options: Any, scale: int) -> Networks | None:
    if options.upscaler is None:
        return None
    upscaler = {"weights": options.upscaler, "revision": options.upscaler_revision, "device": options.device}
    networks = load_upscaler(Swin2SR.Options.model_validate(upscaler))
    if scale not in networks.by_scale:
        raise ModelUnavailable(f"{options.upscaler} does not enlarge by {scale}, which upscale_to asks for")
    return networks


def _pipeline(made: Any) -> Pipeline:
    parameters = inspect.signature(made.__call__).parameters
    true_scale = parameters.get("true_cfg_scale")
    if true_scale is None:
        return Pipeline(made, frozenset(parameters))
    # Where it is on by default, or alone, the weights know no other guidance (Qwen-Image), else it is a second one,
    # which is off and then leaves a negative prompt unread (FLUX).
    if (true_scale.default or 0) > 1 or "guidance_scale" not in parameters:
        return Pipeline(made, frozenset(parameters), guidance="true_cfg_scale")
    return Pipeline(made, frozenset(parameters), avoidance="true_cfg_scale")


def _siblings(pipeline: Any) -> dict[Task, Pipeline]:
    """The pipeline and those of its family that edit and inpaint, on the same weights.

    One that takes a picture beside the prompt was made to edit (Qwen-Image-Edit), and has no siblings here.
    """
    from diffusers.pipelines.auto_pipeline import (
        AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        AutoPipelineForImage2Image,
        AutoPipelineForInpainting,
    )

    tokenizers = tokenizers_of(pipeline)
    first = replace(_pipeline(pipeline), readers=readers_of(pipeline, tokenizers))
    if "image" in first.accepts:
        looking = replace(first, looks=True)
        paints_alone = type(pipeline) in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
        return {"generate": looking, "edit": looking} if paints_alone else {"edit": looking}
    pipelines: dict[Task, Pipeline] = {"generate": first}
    families: dict[Task, Any] = {"edit": AutoPipelineForImage2Image, "inpaint": AutoPipelineForInpainting}
    for task, family in families.items():
        try:
            sibling = family.from_pipe(pipeline)
        except ValueError:  # no such pipeline in its family
            continue
        made = _pipeline(sibling)
        if {"image", "strength"} <= made.accepts:
            sibling.set_progress_bar_config(disable=True)
            pipelines[task] = replace(made, readers=readers_of(sibling, tokenizers))
    return pipelines
