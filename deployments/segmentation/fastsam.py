"""Segmentation by FastSAM in ultralytics: all things of a picture in one look, then those that are shown."""

# pyright: reportMissingImports=false
import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import Box, Point, Segmentation
from ..engine import device_for, failure, is_local
from ..errors import ModelUnavailable
from ..media import Image
from .everything import suppressed
from .hints import Hints, check_limit, checked, inside
from .sam2 import Prompt, prompts

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

MOST_THINGS = 300  # that are looked through for what is shown
STRIDE = 32  # pixels: the coarsest grid of the network, which the sides of what it sees are multiples of
GROUND = 114 / 255  # grey around pictures that are not square, as in its training
SIZES = {16: "n", 32: "s", 48: "m", 64: "l", 80: "x"}  # of YOLOv8, by the channels of the first layer
HEADER = 5  # numbers of a found thing before its mask's: the box's centre and size, and how sure it is


class FastSAM(Backend, Segmentation):
    """FastSAM (Zhao et al. 2023, https://arxiv.org/abs/2306.12156): YOLOv8-seg networks that know one class, a thing.

    Comes with the extra `fastsam`: ultralytics, and the published weights, are AGPL-3.0, whose terms reach those who
    offer a service with it. Looks once, then chooses: things under a point are taken together, of a box or a rough mask
    the one that covers it best. Much faster than SAM 2 and less exact; what it did not see as a thing cannot be shown
    to it. Weights are a folder with one safetensors file, the `state_dict` of a network in ultralytics' names; its size
    (n, s, m, l, x) is read from them. Published ones are pickles of whole programs, which run when they are read. Who
    trusts them converts them once, elsewhere: `save_file(FastSAM("FastSAM-x.pt").model.float().state_dict(),
    "model.safetensors")`, with ultralytics' `FastSAM`. The same call gives the same mask.
    """

    class Options(BackendOptions):
        """Weights, where they run, and what counts as a thing."""

        weights: str = Field(description="Folder")
        side: int = Field(1024, ge=32, le=2048, multiple_of=STRIDE, description="Pixels a picture is looked at with")
        sureness: float = Field(0.4, ge=0, le=1, description="How sure the network must be that a thing is one")
        overlap: float = Field(0.9, ge=0, le=1, description="What the boxes of two things may share at most")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: Loaded | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another network beside the old one, then change over.

        Raises:
            ModelUnavailable: ultralytics is not installed; the weights are missing, damaged, pickled or no FastSAM.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options))

    async def segment(
        self,
        image: Image,
        *,
        points: list[Point] | None = None,
        background_points: list[Point] | None = None,
        boxes: list[Box] | None = None,
        mask: Image | None = None,
    ) -> Image:
        """Each box shows a thing of its own, with the points in it; points in no box show what lies under them.

        Things with a point of the background in them are none that is meant. Points of the background alone show what
        the thing is not: the rest is the result.
        """
        engine = self._ready()
        hints = checked(points, background_points, boxes, mask)
        return await in_thread(lambda cancelled: _segment(engine, image, hints, cancelled))

    async def everything(self, image: Image, *, limit: int = 100) -> list[Image]:
        """Surest first. Things may lie inside each other: a wheel and its car are two."""
        engine = self._ready()
        check_limit(limit)
        return await in_thread(lambda cancelled: _everything(engine, image, limit, cancelled))

    def _ready(self) -> "Loaded":
        if self._engine is None:
            raise ModelUnavailable("FastSAM is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class Loaded:
    """A network ready to look. It keeps the grid of the last picture in itself: a call holds `lock` while it looks."""

    network: Any
    device: str
    options: FastSAM.Options
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Frame:
    """Where a picture of `size` lies in what the network sees: `left`, `top` and `small` in its pixels."""

    size: tuple[int, int]
    small: tuple[int, int]
    left: int
    top: int
    whole: tuple[int, int]

    @classmethod
    def around(cls, size: tuple[int, int], side: int) -> "Frame":
        """The longer side becomes `side`; the shorter is filled up to a multiple of `STRIDE`, alike on both ends."""
        scale = side / max(size)
        small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        whole = (-(-small[0] // STRIDE) * STRIDE, -(-small[1] // STRIDE) * STRIDE)
        return cls(size, small, (whole[0] - small[0]) // 2, (whole[1] - small[1]) // 2, whole)


def _segment(engine: Loaded, image: Image, hints: Hints, cancelled: threading.Event) -> Image:
    import numpy as np

    picture = pixels.on_white(pixels.open_picture(image))
    shown = inside(hints, picture.size)
    things_shown = prompts(shown)
    covered = np.zeros(picture.size[::-1], bool)
    best: list[tuple[float, np.ndarray | None]] = [(0.0, None) for _ in things_shown]
    if things_shown:
        for thing in _things(engine, picture, MOST_THINGS, cancelled):
            for number, prompt in enumerate(things_shown):
                if prompt.box is None and prompt.mask is None:
                    covered |= thing if _meant(thing, prompt) else False
                elif _meant(thing, prompt) and (score := _likeness(thing, prompt)) > best[number][0]:
                    best[number] = (score, thing)
    for _, thing in best:
        if thing is not None:
            covered |= thing
    return _written(~covered if shown.ground_only else covered)


def _everything(engine: Loaded, image: Image, limit: int, cancelled: threading.Event) -> list[Image]:
    picture = pixels.on_white(pixels.open_picture(image))
    made: dict[bytes, Image] = {}  # two things may have the same mask
    for thing in _things(engine, picture, MOST_THINGS, cancelled):
        mask = _written(thing)
        made.setdefault(mask.data, mask)
        if len(made) == limit:
            break
    return list(made.values())


def _meant(thing: "np.ndarray", prompt: Prompt) -> bool:
    """Whether a thing, bool [height, width], lies under a point and under none of the background."""

    def under(points: list[Point]) -> bool:
        return any(thing[int(y), int(x)] for x, y in points)

    return (not prompt.points or under(prompt.points)) and not under(prompt.background_points)


def _likeness(thing: "np.ndarray", prompt: Prompt) -> float:
    """Intersection over union with the box and with the rough mask; their product where there are both."""
    import numpy as np

    likeness = 1.0
    if prompt.mask is not None:
        rough = prompt.mask > 127
        likeness *= np.count_nonzero(thing & rough) / np.count_nonzero(thing | rough)
    if prompt.box is not None:
        left, top, right, bottom = prompt.box
        within = np.count_nonzero(thing[top:bottom, left:right])
        likeness *= within / ((right - left) * (bottom - top) + np.count_nonzero(thing) - within)
    return likeness


def _things(engine: Loaded, picture: "Picture", most: int, cancelled: threading.Event) -> Iterator["np.ndarray"]:
    """The masks of what the network sees, surest first, none empty: each bool [height, width] of the picture.

    Raises:
        CancelledError: `cancelled` was set; looked at before each mask.
    """
    import torch

    frame = Frame.around(picture.size, engine.options.side)
    try:
        boxes, coefficients, prototypes = _seen(engine, picture, frame, most, cancelled)
        for box, coefficient in zip(boxes, coefficients, strict=True):
            if cancelled.is_set():
                raise CancelledError
            with torch.inference_mode():
                logits = torch.tensordot(coefficient, prototypes, 1)
                thing = _unframed(logits, box, frame)
            if thing.any():
                yield thing
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "FastSAM failed") from None


def _seen(
    engine: Loaded, picture: "Picture", frame: Frame, most: int, cancelled: threading.Event
) -> tuple["np.ndarray", Any, Any]:
    """Boxes [n, 4] in the pixels that the network sees, coefficients [n, c] and prototypes [c, h, w] of their masks."""
    import numpy as np
    import PIL.Image
    import torch

    small = picture.convert("RGB").resize(frame.small, PIL.Image.Resampling.BILINEAR)
    signal = torch.full((1, 3, *frame.whole[::-1]), GROUND)
    rows, columns = (slice(frame.top, frame.top + frame.small[1]), slice(frame.left, frame.left + frame.small[0]))
    signal[0, :, rows, columns] = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
    while not engine.lock.acquire(timeout=0.1):
        if cancelled.is_set():
            raise CancelledError
    try:
        with torch.inference_mode():
            (found, prototypes), _ = engine.network(signal.to(engine.device))
    finally:
        engine.lock.release()
    found = found[0].T.float()  # a row each: centre, size, sureness, coefficients
    found = found[found[:, HEADER - 1] >= engine.options.sureness]
    numbers = found[:, :HEADER].cpu().numpy()
    half = numbers[:, 2:4] / 2
    boxes = np.concatenate([numbers[:, :2] - half, numbers[:, :2] + half], 1)
    kept = suppressed(boxes, numbers[:, HEADER - 1], engine.options.overlap, most)
    return boxes[kept], found[kept, HEADER:], prototypes[0].float()


def _unframed(logits: Any, box: "np.ndarray", frame: Frame) -> "np.ndarray":
    """Where logits [h, w] of the whole frame are above 0 within `box`: bool [height, width] of the picture."""
    import numpy as np
    import torch

    interpolate = torch.nn.functional.interpolate
    seen = interpolate(logits[None, None], frame.whole[::-1], mode="bilinear", align_corners=False)
    seen = seen[:, :, frame.top : frame.top + frame.small[1], frame.left : frame.left + frame.small[0]]
    large = interpolate(seen, frame.size[::-1], mode="bilinear", align_corners=False)[0, 0]
    scale = np.array(frame.size * 2) / np.array(frame.small * 2)
    edges = (box - np.array([frame.left, frame.top] * 2)) * scale
    left, top, right, bottom = np.clip(np.rint(edges), 0, np.array(frame.size * 2)).astype(int)
    thing = np.zeros(frame.size[::-1], bool)
    thing[top:bottom, left:right] = (large[top:bottom, left:right] > 0).cpu().numpy()
    return thing


def _written(covered: "np.ndarray") -> Image:
    import numpy as np
    import PIL.Image

    return pixels.write_picture(PIL.Image.fromarray(covered.astype(np.uint8) * 255))


def _ultralytics() -> tuple[Any, Any]:
    """Its class of network and its reader of architectures, and nothing else that it does when it is imported."""
    import PIL.Image

    os.environ.setdefault("YOLO_OFFLINE", "true")  # it would look for the network, report, and install packages
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        from ultralytics.nn.tasks import SegmentationModel, yaml_model_load
        from ultralytics.utils import patches
    except ImportError as error:
        raise ModelUnavailable(f"FastSAM cannot be imported ({error}); the extra `fastsam` installs it") from None
    PIL.Image.open = patches._image_open  # Pillow's own: the other installs a package when a picture is damaged
    return SegmentationModel, yaml_model_load


def load(options: FastSAM.Options) -> Loaded:
    """A network loaded from weights, and where it runs.

    Raises:
        ModelUnavailable: ultralytics is not installed; the weights are missing, damaged, pickled or no FastSAM.
    """
    from safetensors.torch import load_file

    segmentation_model, architecture = _ultralytics()
    folder = Path(weights_path(options.weights))
    if not is_local(str(folder), options.weights):
        raise ModelUnavailable(f"{options.weights} is not a folder on this machine")
    device = device_for(options.device, options.threads)
    try:
        tensors = load_file(next(iter(sorted(folder.glob("*.safetensors")))))
        size = SIZES[len(tensors["model.0.conv.weight"])]
        network: Any = segmentation_model(architecture(f"yolov8{size}-seg.yaml"), nc=1, verbose=False)
        network.load_state_dict(tensors)
        network = network.float().eval().requires_grad_(False).to(device)
    except KeyError:
        raise ModelUnavailable(f"{options.weights} has no FastSAM: its first layer is none of YOLOv8's") from None
    except Exception as error:  # a folder can be wrong in more ways than ultralytics has errors for
        raise failure(error, f"{options.weights} cannot be loaded") from None
    return Loaded(network, device, options)
