"""Image enhancement by Swin2SR: enlarging with detail, by transformers, on a CPU or one GPU."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import ImageEnhancement
from ..engine import device_for, failure, is_local
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image

if TYPE_CHECKING:
    import numpy as np

OVERLAP = 8  # pixels that tiles share with their neighbours, so that no seam is seen


class Swin2SR(Backend, ImageEnhancement):
    """Super-resolution by Swin2SR (Conde, Choi, Burchi, Timofte 2022) in transformers' layout and safetensors.

    `weights` is one network (a folder or a hub name) whose configuration says its scale, or a folder with one in `x2`
    and one in `x4`. Pictures go through in tiles that overlap, so memory does not grow with them; a result has at most
    25 million pixels. Transparency is enlarged by bicubic. The same call gives the same picture. It undoes a reduction;
    it does not remove noise or the marks of JPEG, and a network trained otherwise may make them stronger.
    """

    class Options(BackendOptions):
        """Weights, where they run, and how much of a picture at once."""

        weights: str = Field(description="Folder, `starter/NAME` or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        tile: int = Field(64, ge=16, le=1024, multiple_of=8, description="Side of a tile in pixels before enlarging")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: Networks | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other networks beside the old ones, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled or not a Swin2SR that enlarges colours.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options))

    async def upscale(self, image: Image, *, scale: Literal[2, 4] = 2) -> Image:
        engine = self._ready()
        if scale not in engine.by_scale:
            raise InvalidInput("scale", f"is {scale!r}; one of {', '.join(map(str, engine.by_scale))}")
        return await in_thread(lambda cancelled: _upscale(engine, image, int(scale), cancelled))

    def _ready(self) -> "Networks":
        if self._engine is None:
            raise ModelUnavailable("the super-resolution model is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class Networks:
    """Loaded ones by scale. Shared by calls, changed by none."""

    by_scale: dict[int, Any]
    device: str
    tile: int


def _upscale(engine: Networks, image: Image, scale: int, cancelled: threading.Event) -> Image:
    import numpy as np
    import PIL.Image

    picture = pixels.open_picture(image)
    size = (picture.width * scale, picture.height * scale)
    pixels.check_size(*size, field="scale")
    try:
        large = enlarge(engine, np.array(picture.convert("RGB")), scale, cancelled)
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the super-resolution model failed") from None
    result = PIL.Image.fromarray(large)
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A").resize(size, PIL.Image.Resampling.BICUBIC))
    if profile := picture.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    return pixels.write_picture(result)


def enlarge(engine: Networks, picture: "np.ndarray", scale: int, cancelled: threading.Event) -> "np.ndarray":
    """uint8 [h, w, 3] enlarged to uint8 [scale * h, scale * w, 3], tile by tile.

    Tiles have whole windows of the network, which transformers does not pad well; what is beyond the picture is
    mirrored.

    Raises:
        CancelledError: `cancelled` was set; looked at before each tile.
    """
    import numpy as np
    import torch

    network = engine.by_scale[scale]
    window, (height, width) = network.config.window_size, picture.shape[:2]
    tall, wide = (min(-(-engine.tile // window), -(-side // window)) * window for side in (height, width))
    rim = -(-OVERLAP // window) * window
    beyond = ((rim, rim + -height % tall), (rim, rim + -width % wide), (0, 0))
    padded = np.pad(picture, beyond, "symmetric")
    large = np.empty((height * scale, width * scale, 3), np.uint8)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            if cancelled.is_set():
                raise CancelledError
            tile = padded[top : top + tall + 2 * rim, left : left + wide + 2 * rim]
            with torch.inference_mode():
                signal = torch.from_numpy(tile.copy()).permute(2, 0, 1)[None].float().to(engine.device) / 255
                made = (network(signal).reconstruction[0] * 255).round().clamp(0, 255).byte()
            made = made.permute(1, 2, 0).cpu().numpy()[rim * scale : -rim * scale, rim * scale : -rim * scale]
            place = large[top * scale : (top + tall) * scale, left * scale : (left + wide) * scale]
            place[:] = made[: place.shape[0], : place.shape[1]]
    return large


def load(options: Swin2SR.Options) -> Networks:
    """The networks of a folder or a hub name, one for each scale that it has.

    Raises:
        ModelUnavailable: the weights are missing, damaged, pickled or not a Swin2SR that enlarges colours.
    """
    path = weights_path(options.weights)
    parts = [str(folder) for folder in (Path(path) / "x2", Path(path) / "x4") if folder.is_dir()]
    device = device_for(options.device, options.threads)
    networks = {}
    for part in parts or [path]:
        network = _network(part, options).to(device)
        networks[network.config.upscale] = network
    return Networks(networks, device, options.tile)


def _network(path: str, options: Swin2SR.Options) -> Any:
    import torch
    from transformers import Swin2SRForImageSuperResolution
    from transformers.utils import logging

    local = is_local(path, options.weights)
    logging.disable_progress_bar()
    try:
        loaded: Any = Swin2SRForImageSuperResolution.from_pretrained(
            path, revision=options.revision or "main", dtype=torch.float32, use_safetensors=True,
            local_files_only=local, output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    network, report = loaded  # what was there and what was not
    config = network.config
    if report["missing_keys"]:
        raise ModelUnavailable(f"{options.weights} lacks {len(report['missing_keys'])} tensors of a Swin2SR")
    if config.upscale not in (2, 4) or config.num_channels != 3 or config.num_channels_out != 3:
        raise ModelUnavailable(f"{options.weights} does not enlarge colour pictures by 2 or 4")
    return network.eval().requires_grad_(False)
