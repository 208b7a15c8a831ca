"""Depth by Depth Anything in transformers: how near each pixel is, from one picture."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import Depth
from ..engine import device_for, failure, is_local
from ..errors import ModelUnavailable
from ..media import Image
from ..vision import Preprocessing, preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIDE = 518  # pixels of a side that it sees, unless its files say otherwise
LONGEST_SHAPE = 4  # times as long as wide: what is longer is seen squeezed, for time grows with the square of it
NEAREST_M = 0.01  # of a network that answers in metres


class DepthAnything(Backend, Depth):
    """Depth Anything V2 (Yang et al. 2024, https://arxiv.org/abs/2406.09414) in transformers' layout and safetensors.

    `depth-anything/Depth-Anything-V2-Small-hf` is Apache-2.0, the larger ones are for non-commercial use. Version 1 and
    the metric networks load too; of metres the inverse is delivered, scaled as ever. It sees a large picture with its
    shorter side at 518 pixels, so finer things have no depth of their own. The same call gives the same picture. A few
    seconds a picture on one core with the small weights.
    """

    class Options(BackendOptions):
        """Weights, and where they run."""

        weights: str = Field(description="Folder or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: Loaded | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another network beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled or no Depth Anything.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options))

    async def estimate(self, image: Image) -> Image:
        engine = self._ready()
        return await in_thread(lambda cancelled: _estimate(engine, image, cancelled))

    def _ready(self) -> "Loaded":
        if self._engine is None:
            raise ModelUnavailable("the depth model is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class Loaded:
    """A network ready to look. Shared by calls, changed by none."""

    network: Any
    preprocessing: Preprocessing
    side: int  # pixels, of a side of what it sees
    patch: int  # pixels, of which both sides are multiples
    device: str


def _estimate(engine: Loaded, image: Image, cancelled: threading.Event) -> Image:
    picture = pixels.on_white(pixels.open_picture(image))
    try:
        near = _nearness(engine, picture, cancelled)
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the depth model failed") from None
    return pixels.write_picture(near)


def _nearness(engine: Loaded, picture: "Picture", cancelled: threading.Event) -> "Picture":
    """16-bit grey of the picture's size: 0 where it is farthest, 65,535 where it is nearest.

    Raises:
        CancelledError: `cancelled` was set; looked at before each stage.
    """
    import numpy as np
    import PIL.Image
    import torch

    def go_on() -> None:
        if cancelled.is_set():
            raise CancelledError

    go_on()
    with torch.inference_mode():
        signal = engine.preprocessing.signal(picture, seen_size(picture.size, engine.side, engine.patch), engine.device)
        go_on()
        near = engine.network(signal).predicted_depth[:, None]  # of most networks the inverse of depth already
        go_on()
        if engine.network.config.depth_estimation_type == "metric":
            near = 1 / near.clamp(min=NEAREST_M)
        near = torch.nn.functional.interpolate(near, picture.size[::-1], mode="bicubic", align_corners=False)[0, 0]
        near -= near.min()
        near *= 65_535 / near.max().clamp(min=1e-6)
        go_on()
        return PIL.Image.fromarray(near.round().cpu().numpy().astype(np.uint16))


def seen_size(size: tuple[int, int], side: int, patch: int) -> tuple[int, int]:
    """Width and height that a picture of `size` is seen at: one of them `side`, whichever changes it less.

    That is how the networks' own processor does it: of large pictures the shorter side is `side`, of small ones the
    longer. Both are multiples of `patch`.
    """
    scale = min((side / length for length in size), key=lambda scale: abs(1 - scale))
    width, height = (
        min(max(round(length * scale / patch), 1), LONGEST_SHAPE * round(side / patch)) * patch for length in size
    )
    return width, height


def load(options: DepthAnything.Options) -> Loaded:
    """A network loaded from weights, and where it runs.

    Raises:
        ModelUnavailable: the weights are missing, damaged, pickled or no Depth Anything.
    """
    import torch
    from transformers import DepthAnythingForDepthEstimation
    from transformers.utils import logging

    path = weights_path(options.weights)
    local = is_local(path, options.weights)
    device = device_for(options.device, options.threads)
    logging.disable_progress_bar()
    try:
        loaded: Any = DepthAnythingForDepthEstimation.from_pretrained(
            path, revision=options.revision or "main", dtype=torch.float32, use_safetensors=True,
            local_files_only=local, output_loading_info=True,
        )  # fmt: skip
        network, report = loaded  # what was there and what was not
        prepared, processor = preprocessing(path, options.revision, local)
        side = int((processor.get("size") or {}).get("height", SIDE))
        network = network.eval().requires_grad_(False).to(device)
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    if report["missing_keys"]:
        raise ModelUnavailable(f"{options.weights} lacks {len(report['missing_keys'])} tensors of a Depth Anything")
    return Loaded(network, prepared, side, int(network.config.patch_size), device)
