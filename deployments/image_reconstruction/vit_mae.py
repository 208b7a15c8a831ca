"""Image reconstruction by a masked autoencoder (ViT-MAE), by transformers, on a CPU or one GPU."""

import json
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import ImageReconstruction
from ..engine import device_for, failure, is_local
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image

if TYPE_CHECKING:
    import numpy as np

AROUND = 2.0  # the square that is looked at has this many times the masked region's longer side
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # means, deviations: what ViT-MAE was trained with


class ViTMAE(Backend, ImageReconstruction):
    """A masked autoencoder (He, Chen, Xie, Li, Dollar, Girshick 2022) in transformers' layout and safetensors.

    Looks at a square around the masked region, or as much of it as the picture has, brought to the network's size;
    patches that hold a masked pixel are hidden and painted by the network, and what it paints is shifted smoothly to
    meet the picture at the rim (Perez, Gangnet, Blake, "Poisson image editing", 2003). Only masked pixels change,
    transparency is kept. A wide gap gets no more detail than the network's size has. A network trained to paint
    normalised patches (`norm_pix_loss`) cannot be used: they say nothing of brightness.
    """

    class Options(BackendOptions):
        """Weights and where they run."""

        weights: str = Field(description="Folder, `starter/NAME` or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another network beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled or not a ViT-MAE with its decoder.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def reconstruct(self, image: Image, mask: Image) -> Image:
        """A mask counts as white from half brightness on. One that covers nothing or everything is refused."""
        engine = self._ready()
        return await in_thread(lambda cancelled: _reconstruct(engine, image, mask, cancelled))

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("the image reconstruction model is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """A loaded network. transformers reads the share to hide from its configuration: one call at a time."""

    network: Any
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    device: str
    turn: threading.Lock = field(default_factory=threading.Lock)


def _reconstruct(engine: _Engine, image: Image, mask: Image, cancelled: threading.Event) -> Image:
    import numpy as np
    import PIL.Image

    picture = pixels.open_picture(image)
    cover = _cover(mask, picture.size)
    side = engine.network.config.image_size
    left, top, right, bottom = _square(cover, side)
    part = picture.convert("RGB").crop((left, top, right, bottom))
    inside = cover[top:bottom, left:right]
    small = np.array(part.resize((side, side), PIL.Image.Resampling.BICUBIC))
    # a small pixel that holds any masked one is masked
    shares = PIL.Image.fromarray(inside.astype(np.float32)).resize((side, side), PIL.Image.Resampling.BOX)
    try:
        filled = _filled(engine, small, np.asarray(shares) > 0, cancelled)
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the image reconstruction model failed") from None
    large = PIL.Image.fromarray(filled).resize(part.size, PIL.Image.Resampling.BICUBIC)
    result = picture.copy()
    stencil = PIL.Image.fromarray(inside.astype(np.uint8) * 255)
    if picture.mode == "RGBA":
        large.putalpha(picture.getchannel("A").crop((left, top, right, bottom)))
    result.paste(large, (left, top), stencil)
    return pixels.write_picture(result)


def _filled(engine: _Engine, picture: "np.ndarray", cover: "np.ndarray", cancelled: threading.Event) -> "np.ndarray":
    """uint8 [side, side, 3] with what bool [side, side] covers painted by the network.

    Raises:
        CancelledError: `cancelled` was set before it was this call's turn.
        InvalidInput: no patch is left to go by.
    """
    import numpy as np
    import torch

    from .membrane import fitted

    network, size = engine.network, engine.network.config.patch_size
    grid = len(cover) // size
    hidden = cover.reshape(grid, size, grid, size).any((1, 3)).reshape(1, -1)
    if hidden.all():
        raise InvalidInput("mask", "leaves too little of the picture to go by")
    means, deviations = (np.array(values) for values in (engine.means, engine.deviations))
    signal = torch.from_numpy(((picture / 255 - means) / deviations).transpose(2, 0, 1)[None]).float()
    # what is hidden has the higher "noise"; the rest keeps its order
    noise = torch.from_numpy(hidden + np.arange(grid * grid) / (10 * grid * grid)).float()
    with engine.turn, torch.inference_mode():
        if cancelled.is_set():
            raise CancelledError
        # half a patch less, so that rounding down gives exactly the patches that are known
        network.config.mask_ratio = (int(hidden.sum()) - 0.5) / (grid * grid)
        patches = network(signal.to(engine.device), noise=noise.to(engine.device)).logits
        made = network.unpatchify(patches)[0].permute(1, 2, 0).cpu().double().numpy()
    whole = fitted((picture / 255 - means) / deviations, made, cover) * deviations + means
    return np.clip(np.rint(whole * 255), 0, 255).astype(np.uint8)


def _square(cover: "np.ndarray", least: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is looked at: AROUND times the mask, `least` pixels or more, in the picture."""
    import numpy as np

    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = max(least, round(AROUND * longer))

    def span(first: int, last: int, length: int) -> tuple[int, int]:
        start = min(max((first + last + 1 - side) // 2, 0), max(length - side, 0))
        return start, min(start + side, length)

    left, right = span(int(columns[0]), int(columns[-1]), cover.shape[1])
    top, bottom = span(int(rows[0]), int(rows[-1]), cover.shape[0])
    return left, top, right, bottom


def _cover(mask: Image, size: tuple[int, int]) -> "np.ndarray":
    """Which pixels to fill, bool [height, width]."""
    import numpy as np

    cover = np.asarray(pixels.open_mask(mask, size)) > 127
    if cover.all():
        raise InvalidInput("mask", "covers everything; something must be left to go by")
    return cover


def _load(options: ViTMAE.Options) -> _Engine:
    import torch
    from transformers import ViTMAEForPreTraining
    from transformers.utils import logging
    from transformers.utils.hub import cached_file

    path = weights_path(options.weights)
    local = is_local(path, options.weights)
    logging.disable_progress_bar()
    device = device_for(options.device, options.threads)
    source: dict[str, Any] = {"revision": options.revision or "main", "local_files_only": local}
    try:
        loaded: Any = ViTMAEForPreTraining.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **source
        )
        file = cached_file(path, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False, **source)
        values = json.loads(Path(file).read_text()) if file else {}
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    network, report = loaded  # what was there and what was not
    if report["missing_keys"]:
        raise ModelUnavailable(f"{options.weights} lacks {len(report['missing_keys'])} tensors of a ViT-MAE")
    if network.config.norm_pix_loss or network.config.num_channels != 3:
        raise ModelUnavailable(f"{options.weights} does not paint colours: it was trained on normalised patches")
    means, deviations = (tuple(values.get(key, usual)) for key, usual in
                         zip(("image_mean", "image_std"), IMAGENET, strict=True))  # fmt: skip
    return _Engine(network.eval().requires_grad_(False).to(device), means, deviations, device)
