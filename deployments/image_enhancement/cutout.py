"""Background removal: a subject found, its edge made soft, everything else transparent."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import ImageEnhancement
from ..engine import device_for, failure, is_local
from ..errors import InvalidInput, ModelUnavailable
from ..loads import Loads
from ..media import Image
from ..vision import preprocessing
from .matting import Matter, colours_of_subject, soft
from .subject import COCO_THINGS, Knower, by_colours

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

SEARCHED_AT = 640  # pixels of the longer side that the subject is looked for at by its colours


class Cutout(Backend, ImageEnhancement):
    """Removes backgrounds, without weights or with up to two networks in transformers' layout and safetensors.

    What the subject is, a Mask2Former of COCO's kinds of things says (`subject`), or without one the colours: what
    differs from the rim of the picture, refined by GrabCut. That does well with a cup on a table and loses the face
    before a wall of its colour; `Segmentation` with a click or a box does better there. How the edge runs, a ViTMatte
    says (`matting`), or without one a guided filter: good for hard outlines, poor for hair. Where
    the network knows no thing in the picture, the colours decide. It does not enlarge. The same call gives the same
    picture. A photograph takes two to five seconds on a CPU without networks.
    """

    class Options(BackendOptions):
        """Weights, if any, and where they run."""

        subject: Annotated[str | None, Loads("subject_revision")] = Field(
            None, description="Folder or hub name of a Mask2Former; null for colours alone"
        )
        subject_revision: str | None = Field(None, description="Commit, tag or branch of that; pin a commit")
        things: list[str] | None = Field(None, description="Its labels that are a subject; null for COCO's 80 things")
        matting: Annotated[str | None, Loads("matting_revision")] = Field(
            None, description="Folder or hub name of a ViTMatte; null for a guided filter"
        )
        matting_revision: str | None = Field(None, description="Commit, tag or branch of that; pin a commit")
        longest_side: int = Field(1024, ge=64, le=4096, description="Pixels of the longer side the edge is seen at")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: Loaded | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other networks beside the old ones, then change over.

        Raises:
            ModelUnavailable: OpenCV is missing, or weights are missing, damaged, pickled or of another kind.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options))

    async def remove_background(self, image: Image) -> Image:
        """What was transparent stays so. Colours at the edge are freed from the background's."""
        engine = self._ready()
        return await in_thread(lambda cancelled: _remove(engine, image, cancelled))

    def _ready(self) -> "Loaded":
        if self._engine is None:
            raise ModelUnavailable("the background remover is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class Loaded:
    """Networks ready to look, where there are any. Shared by calls, changed by none."""

    knower: Knower | None
    matter: Matter | None
    longest_side: int


def _remove(engine: Loaded, image: Image, cancelled: threading.Event) -> Image:
    import numpy as np
    import PIL.Image

    def go_on() -> None:
        if cancelled.is_set():
            raise CancelledError

    opened = pixels.open_picture(image)
    picture = pixels.on_white(opened)
    colours = np.array(picture)
    go_on()
    try:
        subject = _subject(engine, picture, colours, cancelled)
        if subject.all() or not subject.any():
            raise InvalidInput("image", "shows no subject that stands out from a background")
        alpha = soft(colours, subject, engine.longest_side, engine.matter, cancelled)
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the background remover failed") from None
    go_on()
    colours = colours_of_subject(colours, alpha)
    go_on()
    cover = (alpha * 255).round().astype(np.uint8)
    if opened.mode == "RGBA":
        cover = np.minimum(cover, np.asarray(opened.getchannel("A")))
    result = PIL.Image.fromarray(np.dstack([colours, cover]))
    if profile := opened.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    return pixels.write_picture(result)


def _subject(engine: Loaded, picture: "Picture", colours: "np.ndarray", cancelled: threading.Event) -> "np.ndarray":
    """bool [height, width] of the picture."""
    import cv2
    import numpy as np

    if engine.knower:
        found = engine.knower.where(picture)
        if found.any() and not found.all():
            return found
    scale = min(1.0, SEARCHED_AT / max(picture.size))
    small = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    found = by_colours(cv2.resize(colours, small, interpolation=cv2.INTER_AREA), cancelled)
    if small == picture.size:
        return found
    # A soft enlargement cut at its middle gives a smooth outline.
    return cv2.resize(found.astype(np.float32), picture.size, interpolation=cv2.INTER_LINEAR) > 0.5


def load(options: Cutout.Options) -> Loaded:
    """The networks that the options name, if they name any.

    Raises:
        ModelUnavailable: OpenCV is missing, or weights are missing, damaged, pickled or of another kind.
    """
    pixels.need_opencv()
    if not (options.subject or options.matting):
        return Loaded(None, None, options.longest_side)
    device = device_for(options.device, options.threads)
    knower = _knower(options, options.subject, device) if options.subject else None
    return Loaded(knower, _matter(options, options.matting, device) if options.matting else None, options.longest_side)


def _knower(options: Cutout.Options, weights: str, device: str) -> Knower:
    from transformers import Mask2FormerForUniversalSegmentation

    network, prepared, told = _network(Mask2FormerForUniversalSegmentation, weights, options.subject_revision, device)
    wanted = COCO_THINGS if options.things is None else set(options.things)
    things = tuple(int(number) for number, label in network.config.id2label.items() if label in wanted)
    if not things:
        some = ", ".join(list(network.config.id2label.values())[:8])
        raise ModelUnavailable(f"{weights} knows none of the things that are a subject; it knows {some}, ...")
    size = {name: int(value) for name, value in (told.get("size") or {}).items()}
    if not ({"height", "width"} <= set(size) or "shortest_edge" in size):
        raise ModelUnavailable(f"{weights} does not say at what size it sees pictures")
    return Knower(network, prepared, size, things, device)


def _matter(options: Cutout.Options, weights: str, device: str) -> Matter:
    from transformers import VitMatteForImageMatting

    network, prepared, _ = _network(VitMatteForImageMatting, weights, options.matting_revision, device)
    return Matter(network, prepared, device)


def _network(kind: Any, weights: str, revision: str | None, device: str) -> tuple[Any, Any, dict[str, Any]]:
    """A network of a class of transformers, how it sees pictures, and what else its processor is told."""
    import torch
    from transformers.utils import logging

    path = weights_path(weights)
    local = is_local(path, weights)
    logging.disable_progress_bar()
    try:
        network, report = kind.from_pretrained(
            path, revision=revision or "main", dtype=torch.float32, use_safetensors=True,
            local_files_only=local, output_loading_info=True,
        )  # fmt: skip
        prepared, told = preprocessing(path, revision, local)
        network = network.eval().requires_grad_(False).to(device)
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{weights} cannot be loaded", revision) from None
    if report["missing_keys"]:
        raise ModelUnavailable(f"{weights} lacks {len(report['missing_keys'])} tensors of a {kind.__name__}")
    return network, prepared, told
