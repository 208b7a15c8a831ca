"""Image translation by CycleGAN: generators of the paper's layout in safetensors, on a CPU or one GPU."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import ImageTranslation
from ..engine import device_for, failure
from ..errors import InvalidInput, ModelUnavailable
from ..media import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

STEP = 4  # the networks halve twice
LEAST = 16  # pixels; reflection needs some at the narrowest layer


class CycleGAN(Backend, ImageTranslation):
    """Generators of CycleGAN (Zhu, Park, Isola, Efros 2017), learnt from two heaps of pictures that are no pairs.

    Takes a folder of state dicts in the names of the authors' PyTorch code, `DIRECTION.safetensors` each, or one such
    file; sizes are read from the tensors. A picture is shrunk or enlarged so that its longer side has `longest_side`
    pixels, translated whole, and brought back to its own size: that is as much detail as there will be. Best is the
    size the generators were trained at. Transparency is kept. The same call gives the same picture. It translates
    whatever it is given: that a picture is of the kind it was trained for is the caller's to know.
    """

    class Options(BackendOptions):
        """Weights, where they run, and how large pictures are meanwhile."""

        weights: str = Field(description="Folder of DIRECTION.safetensors, `starter/NAME`, or one file")
        direction: str | None = Field(None, description="Unless the caller names one; the first by name by default")
        longest_side: int = Field(256, ge=LEAST, le=2048, multiple_of=STEP, description="Pixels it works on")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other generators beside the old ones, then change over.

        Raises:
            ModelUnavailable: there are none, one is damaged or no CycleGAN generator, or `direction` is not among them.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def translate(self, image: Image, *, direction: str | None = None) -> Image:
        engine = self._ready()
        direction = engine.usual if direction is None else direction
        if direction not in engine.generators:
            raise InvalidInput("direction", f"is {direction[:80]!r}; one of {', '.join(engine.generators)}")
        return await in_thread(lambda cancelled: _translate(engine, image, direction, cancelled))

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("the image translation model is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """Loaded generators by direction. Shared by calls, changed by none."""

    generators: dict[str, Any]
    usual: str
    device: str
    longest_side: int


def _translate(engine: _Engine, image: Image, direction: str, cancelled: threading.Event) -> Image:
    import numpy as np
    import PIL.Image
    import torch

    picture = pixels.open_picture(image)
    plain = picture.convert("RGB").resize(_size(picture.size, engine.longest_side), PIL.Image.Resampling.LANCZOS)
    try:
        with torch.inference_mode():
            signal = torch.from_numpy(np.array(plain)).permute(2, 0, 1)[None].float().to(engine.device) / 127.5 - 1
            for layer in engine.generators[direction].model:
                if cancelled.is_set():
                    raise CancelledError
                signal = layer(signal)
            made = ((signal[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the image translation model failed") from None
    result = PIL.Image.fromarray(made).resize(picture.size, PIL.Image.Resampling.LANCZOS)
    return pixels.write_picture(_with_alpha_of(picture, result))


def _size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Of a picture of `size` while it is translated: the longer side `longest`, the other in step with it."""
    scale = longest / max(size)
    return tuple(max(LEAST, round(side * scale / STEP) * STEP) for side in size)  # type: ignore[return-value]


def _with_alpha_of(picture: "Picture", result: "Picture") -> "Picture":
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A"))
    if profile := picture.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    return result


def _load(options: CycleGAN.Options) -> _Engine:
    from safetensors.torch import load_file

    from .generator import from_state

    path = Path(weights_path(options.weights))
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if not files or any(file.suffix != ".safetensors" for file in files):
        raise ModelUnavailable(f"{options.weights} has no generators; safetensors are needed, one for each direction")
    device = device_for(options.device, options.threads)
    generators = {}
    for file in files:
        try:
            generators[file.stem] = from_state(load_file(file)).to(device)
        except Exception as error:  # a file can be wrong in more ways than safetensors has errors for
            raise failure(error, f"{options.weights}: {file.name} cannot be loaded") from None
    usual = options.direction or next(iter(generators))
    if usual not in generators:
        raise ModelUnavailable(f"direction is {usual}; {options.weights} has {', '.join(generators)}")
    return _Engine(generators, usual, device, options.longest_side)
