"""What a picture is of: its subject, told from the background by colours alone, or by a network that knows things."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..segmentation.grabcut import cut
from ..vision import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

RIM = 0.02  # of the longer side: what lies so near to the left, right and upper edge is taken for background
GROUNDS = 6  # colours that the background may have
ALIKE = 12.0  # of 255 in Lab: what differs less from a colour of the background has that colour
SMALLEST = 0.002  # of the picture: smaller parts are no subject
ITERATIONS = 5

# The kinds of things of COCO (Lin et al. 2014), which its panoptic networks tell from the kinds of background.
COCO_THINGS = frozenset(
    name.strip()
    for name in """
    person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
    parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,
    suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,
    tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,
    hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,
    cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,
    toothbrush
    """.replace("\n", " ").split(",")
)


def by_colours(colours: "np.ndarray", cancelled: threading.Event) -> "np.ndarray":
    """Where the subject is in uint8 [h, w, 3] (red, green, blue): bool [h, w], all False where nothing stands out.

    The rim of the picture says what colours the background has; what differs from all of them, and more so in the
    middle, is where GrabCut begins. A subject may touch the lower edge, as portraits do.

    Raises:
        CancelledError: `cancelled` was set; looked at before each iteration.
    """
    import cv2
    import numpy as np

    height, width = colours.shape[:2]
    smooth = cv2.cvtColor(cv2.GaussianBlur(colours, (0, 0), 2), cv2.COLOR_RGB2LAB).astype(np.float32)
    rim = np.zeros((height, width), bool)
    deep = max(2, round(RIM * max(height, width)))
    rim[:deep] = rim[:, :deep] = rim[:, -deep:] = True
    distance = _from_ground(smooth, smooth[rim])
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    distance *= 1.2 - 0.5 * np.sqrt((x**2 + y**2) / 2)  # the subject is rather in the middle than in a corner
    threshold, _ = cv2.threshold(distance.clip(0, 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    labels = np.where(distance > max(threshold, ALIKE), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[rim & (distance < ALIKE)] = cv2.GC_BGD
    if not (labels == cv2.GC_PR_FGD).any():
        return np.zeros((height, width), bool)
    cut(np.ascontiguousarray(colours[:, :, ::-1]), labels, ITERATIONS, cancelled)
    return large_parts(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)))


def _from_ground(picture: "np.ndarray", ground: "np.ndarray") -> "np.ndarray":
    """How far each pixel of [h, w, 3] is from the nearest of the main colours of `ground`, [n, 3]: float32 [h, w]."""
    import cv2
    import numpy as np

    cv2.setRNGSeed(0)  # this thread's: the first centres are drawn by chance
    sample = ground[:: max(1, len(ground) // 5000)]
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    count = min(GROUNDS, len(sample))
    _, _, centres = cv2.kmeans(sample, count, None, until, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    nearest = np.full(picture.shape[:2], np.inf, np.float32)
    for centre in centres:
        np.minimum(nearest, np.sqrt(((picture - centre) ** 2).sum(2)), out=nearest)
    return nearest


def large_parts(found: "np.ndarray") -> "np.ndarray":
    """bool [h, w] without crumbs and without small holes."""
    import cv2
    import numpy as np

    for value in (True, False):
        count, parts, figures, _ = cv2.connectedComponentsWithStats((found == value).astype(np.uint8))
        small = figures[:, cv2.CC_STAT_AREA] < SMALLEST * found.size
        small[0] = False  # what is not of this value
        found = np.where(np.arange(count)[parts] * small[parts] > 0, not value, found)
    return found


@dataclass(frozen=True)
class Knower:
    """A Mask2Former that knows kinds of things (Cheng et al. 2022, https://arxiv.org/abs/2112.01527)."""

    network: Any
    preprocessing: Preprocessing
    size: dict[str, int]  # `height` and `width`, or `shortest_edge` and `longest_edge`, of what it sees
    things: tuple[int, ...]  # numbers of the kinds that are a subject
    device: str

    def where(self, picture: "Picture") -> "np.ndarray":
        """Where the subject is: bool [height, width] of the picture's size.

        Each pixel goes to the subject or to the background, whichever the network's queries together speak for.
        """
        import torch

        with torch.inference_mode():
            out = self.network(self.preprocessing.signal(picture, seen_size(picture.size, self.size), self.device))
            kinds = out.class_queries_logits[0].softmax(1)[:, :-1]  # the last kind is none
            masks = out.masks_queries_logits[0].sigmoid()
            subject = torch.einsum("q,qhw->hw", kinds[:, list(self.things)].sum(1), masks)
            whole = torch.einsum("q,qhw->hw", kinds.sum(1), masks)
            share = (subject / whole.clamp(min=1e-6))[None, None]
            large = torch.nn.functional.interpolate(share, picture.size[::-1], mode="bilinear", align_corners=False)
            return large_parts((large[0, 0] > 0.5).cpu().numpy())


def seen_size(size: tuple[int, int], told: dict[str, int]) -> tuple[int, int]:
    """Width and height a picture of `size` is seen at: multiples of 32, as Mask2Former's processor is `told`."""
    if "height" in told:
        return told["width"], told["height"]
    scale = min(told["shortest_edge"] / min(size), told.get("longest_edge", 1333) / max(size))
    width, height = (max(1, round(length * scale / 32)) * 32 for length in size)
    return width, height
