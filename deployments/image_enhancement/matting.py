"""The edge of a subject made soft: how much of each pixel is subject, and which colour that part has."""

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..vision import Preprocessing

if TYPE_CHECKING:
    import numpy as np

BAND = 0.008  # of the longer side: how far from a hard edge pixels may be both
SMOOTHNESS = 1e-4  # of the guided filter: variances of grey, 0 to 1, below this count as none


@dataclass(frozen=True)
class Matter:
    """A ViTMatte (Yao et al. 2023, https://arxiv.org/abs/2305.15272), which sees single hairs."""

    network: Any
    preprocessing: Preprocessing
    device: str

    def alpha(self, colours: "np.ndarray", known: "np.ndarray") -> "np.ndarray":
        """float32 [h, w] of `colours`, uint8 [h, w, 3], where `known` says 0, 1, or 0.5 for what is to be found."""
        import numpy as np
        import PIL.Image
        import torch

        height, width = known.shape
        with torch.inference_mode():
            signal = self.preprocessing.signal(PIL.Image.fromarray(colours), (width, height), self.device)
            trimap = torch.from_numpy(known.astype(np.float32)).to(self.device)[None, None]
            padded = torch.nn.functional.pad(torch.cat([signal, trimap], 1), (0, -width % 32, 0, -height % 32))
            return self.network(padded).alphas[0, 0, :height, :width].float().cpu().numpy()


def soft(
    colours: "np.ndarray", subject: "np.ndarray", side: int, matter: Matter | None, cancelled: threading.Event
) -> "np.ndarray":
    """How much of each pixel of uint8 [h, w, 3] is subject: float32 [h, w], 0 to 1.

    `subject`, bool [h, w], is known but for its edge; there the pixels decide, seen at a longer side of at most `side`:
    by a `matter`, or by the guided filter (He, Sun, Tang 2010), which lets the edge follow the picture's.

    Raises:
        CancelledError: `cancelled` was set; looked at before each stage.
    """
    import cv2
    import numpy as np

    full = (subject.shape[1], subject.shape[0])
    scale = min(1.0, side / max(full))
    small = (max(1, round(full[0] * scale)), max(1, round(full[1] * scale)))
    seen = cv2.resize(colours, small, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(subject.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    known, radius = _trimap(mask)
    if cancelled.is_set():
        raise CancelledError
    target = matter.alpha(seen, known) if matter else mask
    if cancelled.is_set():
        raise CancelledError
    # At full size the edge is found again from the picture: the filter's coefficients are enlarged, not its result.
    grey, large = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 for one in (seen, colours))
    if matter is None or small != full:
        gain, offset = _guided(grey, target, 1 if matter else radius)
        enlarged = (cv2.resize(one, full, interpolation=cv2.INTER_LINEAR) for one in (gain, offset))
        target = next(enlarged) * large + next(enlarged)
    known = cv2.resize(known, full, interpolation=cv2.INTER_NEAREST)
    return np.where(known == 0.5, target, known).clip(0, 1).astype(np.float32)


def _trimap(mask: "np.ndarray") -> "tuple[np.ndarray, int]":
    """0, 1, and 0.5 near the edge of `mask`, float32 [h, w] of 0 to 1; and how many pixels near is."""
    import cv2
    import numpy as np

    radius = max(1, round(BAND * max(mask.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    hard = (mask > 0.5).astype(np.uint8)
    inner, outer = cv2.erode(hard, kernel), cv2.dilate(hard, kernel)
    return np.where(inner == outer, inner, 0.5).astype(np.float32), radius


def _guided(guide: "np.ndarray", target: "np.ndarray", radius: int) -> "tuple[np.ndarray, np.ndarray]":
    """Gain and offset with which `guide` becomes about `target` in the neighbourhood of each pixel, all [h, w]."""
    import cv2

    def mean(values: "np.ndarray") -> "np.ndarray":
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1))

    of_guide, of_target = mean(guide), mean(target)
    gain = (mean(guide * target) - of_guide * of_target) / (mean(guide * guide) - of_guide**2 + SMOOTHNESS)
    return mean(gain), mean(of_target - gain * of_guide)


def colours_of_subject(colours: "np.ndarray", alpha: "np.ndarray") -> "np.ndarray":
    """The colours without what shines through from behind, uint8 [h, w, 3]; where nothing is subject, as they were.

    By blurring subject and background apart, twice (Forte 2021, "Approximate fast foreground colour estimation").
    """
    import cv2
    import numpy as np

    picture = colours.astype(np.float32)
    share = alpha[..., None]
    front = back = picture
    for radius in (max(2, round(0.05 * max(alpha.shape))), 6):
        size = (2 * radius + 1, 2 * radius + 1)
        weight = cv2.blur(alpha, size)[..., None]
        front_mean = cv2.blur(front * share, size) / (weight + 1e-5)
        back_mean = cv2.blur(back * (1 - share), size) / (1 - weight + 1e-5)
        front = front_mean + share * (picture - share * front_mean - (1 - share) * back_mean)
        back = back_mean
    clear = (alpha > 0.999) | (alpha < 0.001)
    return np.where(clear[..., None], colours, front.clip(0, 255).round().astype(np.uint8))
