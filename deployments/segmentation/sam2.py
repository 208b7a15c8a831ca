"""Segmentation by SAM 2 (Segment Anything 2) in transformers: things shown by points, boxes, masks, or everything."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import Box, Point, Segmentation
from ..engine import device_for, failure, is_local
from ..errors import ModelUnavailable
from ..media import Image
from ..vision import Preprocessing, preprocessing
from .everything import Proposals
from .hints import Hints, PixelHints, check_limit, checked, inside

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

POINTS_AT_ONCE = 16  # of the grid; each takes some 20 MB beside the others
MASK_LOGIT = 10.0  # what a rough mask says of a pixel, as if the network had said it
THING, GROUND = 1, 0  # labels of points


class SAM2(Backend, Segmentation):
    """SAM 2 (Ravi et al. 2024, https://arxiv.org/abs/2408.00714) in transformers' layout and safetensors.

    Finds the thing that points, boxes or a rough mask show, whatever it is: it was trained on a billion masks. Weights
    of the image model and of the video model (`facebook/sam2.1-hiera-...` are of that kind) load alike; of a video
    model only what looks at one picture is used. A picture is seen at 1024 x 1024 pixels, so outlines of very large
    ones are as smooth as that. The same call gives the same mask. A few seconds a picture on one core with the
    tiny weights, and a tenth of one or more for each point of the grid: everything is for a GPU, or for a small `grid`.
    """

    class Options(BackendOptions):
        """Weights, where they run, and what of everything counts as a thing."""

        weights: str = Field(description="Folder or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")
        grid: int = Field(32, ge=1, le=64, description="Points a side that everything is looked for at")
        sureness: float = Field(0.8, ge=0, le=1, description="Of everything: the least quality the network expects")
        stability: float = Field(0.95, ge=0, le=1, description="Of everything: the least sharpness of a mask's edge")
        overlap: float = Field(0.7, ge=0, le=1, description="Of everything: what two masks' boxes may share at most")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: Loaded | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another network beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled or no SAM 2.
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
        """Each box shows a thing of its own, with the points in it; points in no box show one more thing together.

        Points of the background and the mask count with every thing. The result is all things in one mask. Points of
        the background alone show what the thing is not: the rest is the result.
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
            raise ModelUnavailable("SAM 2 is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class Loaded:
    """A network ready to look. Shared by calls, changed by none."""

    network: Any
    preprocessing: Preprocessing
    side: int  # pixels, of the square that it sees
    device: str
    options: SAM2.Options


@dataclass(frozen=True)
class Prompt:
    """What shows one thing: points and boxes in pixels of the picture, the mask as uint8 [height, width]."""

    points: list[Point]
    background_points: list[Point]
    box: tuple[int, int, int, int] | None = None
    mask: "np.ndarray | None" = None


def prompts(shown: PixelHints) -> list[Prompt]:
    """A prompt for each thing. A mask alone gets the box around it, without which SAM makes little of one."""
    if shown.ground_only:
        return [Prompt(shown.background_points, [])]
    if not shown.boxes:
        box = None
        if shown.mask is not None and not shown.points:
            box = _around(shown.mask)
            if box is None:
                return []
        return [Prompt(shown.points, shown.background_points, box, shown.mask)]
    made: list[Prompt] = []
    elsewhere = list(shown.points)
    for box in shown.boxes:
        within = [(x, y) for x, y in shown.points if box[0] <= x < box[2] and box[1] <= y < box[3]]
        elsewhere = [point for point in elsewhere if point not in within]
        made.append(Prompt(within, shown.background_points, box, shown.mask))
    if elsewhere:
        made.append(Prompt(elsewhere, shown.background_points, None, shown.mask))
    return made


def _segment(engine: Loaded, image: Image, hints: Hints, cancelled: threading.Event) -> Image:
    import numpy as np

    picture = pixels.on_white(pixels.open_picture(image))
    shown = inside(hints, picture.size)
    covered = np.zeros(picture.size[::-1], bool)
    things_shown = prompts(shown)
    if things_shown:
        try:
            seen = _seen(engine, picture)
            for prompt in things_shown:
                if cancelled.is_set():
                    raise CancelledError
                covered |= _enlarged(_look(engine, seen, prompt, picture.size), picture.size)
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "SAM 2 failed") from None
    return _written(~covered if shown.ground_only else covered)


def _everything(engine: Loaded, image: Image, limit: int, cancelled: threading.Event) -> list[Image]:
    import torch

    picture = pixels.on_white(pixels.open_picture(image))
    grid, side = engine.options.grid, engine.side
    at = (torch.arange(grid) + 0.5) * (side / grid)
    points = torch.cartesian_prod(at, at).flip(1).to(engine.device)  # row by row, each x, y
    proposals = Proposals(engine.options.sureness, engine.options.stability)
    made: list[Image] = []
    try:
        seen = _seen(engine, picture)
        for some in points.split(POINTS_AT_ONCE):
            if cancelled.is_set():
                raise CancelledError
            with torch.inference_mode():
                labels = torch.full((1, len(some), 1), THING, dtype=torch.int32, device=engine.device)
                out = engine.network(image_embeddings=seen, input_points=some[None, :, None], input_labels=labels)
                proposals.add(out.pred_masks.flatten(0, 2), out.iou_scores.flatten())
        for logits in proposals.surest(engine.options.overlap, limit):
            if cancelled.is_set():
                raise CancelledError
            made.append(_written(_enlarged(logits.float(), picture.size)))
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "SAM 2 failed") from None
    return made


def _seen(engine: Loaded, picture: "Picture") -> Any:
    """What the network makes of a picture before it is shown anything: three maps of features."""
    import torch

    with torch.inference_mode():
        signal = engine.preprocessing.signal(picture, (engine.side, engine.side), engine.device)
        return engine.network.get_image_embeddings(signal)


def _look(engine: Loaded, seen: Any, prompt: Prompt, size: tuple[int, int]) -> Any:
    """Logits [h, w], small, above 0 where the thing is that `prompt` shows in a picture of `size`."""
    import torch

    def tensor(values: Any, dtype: Any = torch.float32) -> Any:
        return torch.tensor(values, dtype=dtype, device=engine.device)

    scale = tensor([engine.side / size[0], engine.side / size[1]])
    points = [*prompt.points, *prompt.background_points]
    labels = [THING] * len(prompt.points) + [GROUND] * len(prompt.background_points)
    given: dict[str, Any] = {}
    if points:
        given["input_points"] = (tensor(points) * scale)[None, None]
        given["input_labels"] = tensor(labels, torch.int32)[None, None]
    if prompt.box:
        given["input_boxes"] = (tensor(prompt.box) * scale.repeat(2))[None, None]
    if prompt.mask is not None:
        given["input_masks"] = _as_logits(tensor(prompt.mask), engine.network.prompt_encoder.mask_input_size)
    several = len(points) == 1 and prompt.box is None and prompt.mask is None  # one point may mean a part or the whole
    with torch.inference_mode():
        out = engine.network(image_embeddings=list(seen), multimask_output=several, **given)
    return out.pred_masks[0, 0, int(out.iou_scores[0, 0].argmax())]


def _as_logits(mask: Any, size: tuple[int, int]) -> Any:
    """A mask, 0 to 255, as the network's own of `size` (height, width): [1, 1, h, w]."""
    import torch

    small = torch.nn.functional.interpolate(mask[None, None] / 255, size, mode="bilinear", antialias=True)
    return (small * 2 - 1) * MASK_LOGIT


def _enlarged(logits: Any, size: tuple[int, int]) -> "np.ndarray":
    """Where the thing is in a picture of `size` (width, height): bool [height, width]."""
    import torch

    large = torch.nn.functional.interpolate(logits[None, None], size[::-1], mode="bilinear", align_corners=False)
    return (large[0, 0] > 0).cpu().numpy()


def _around(mask: "np.ndarray") -> tuple[int, int, int, int] | None:
    import numpy as np

    rows, columns = (np.flatnonzero((mask > 127).any(axis)) for axis in (1, 0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None


def _written(covered: "np.ndarray") -> Image:
    import numpy as np
    import PIL.Image

    return pixels.write_picture(PIL.Image.fromarray(covered.astype(np.uint8) * 255))


def load(options: SAM2.Options) -> Loaded:
    """A network loaded from weights, and where it runs.

    Raises:
        ModelUnavailable: the weights are missing, damaged, pickled or no SAM 2.
    """
    import torch
    from transformers import Sam2Model
    from transformers.utils import logging

    path = weights_path(options.weights)
    local = is_local(path, options.weights)
    device = device_for(options.device, options.threads)
    logging.disable_progress_bar()
    try:
        loaded: Any = Sam2Model.from_pretrained(
            path, revision=options.revision or "main", dtype=torch.float32, use_safetensors=True,
            local_files_only=local, output_loading_info=True,
        )  # fmt: skip
        network, report = loaded  # what was there and what was not
        prepared, _ = preprocessing(path, options.revision, local)
        network = network.eval().requires_grad_(False).to(device)
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    if report["missing_keys"]:
        raise ModelUnavailable(f"{options.weights} lacks {len(report['missing_keys'])} tensors of a SAM 2")
    return Loaded(network, prepared, int(network.config.prompt_encoder_config.image_size), device, options)
