"""Which of many proposed masks are things: sure ones, stable ones, and of those that overlap the surest."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

STABILITY_OFFSET = 1.0  # of the logits, up and down


@dataclass
class Proposals:
    """Masks by a network, as logits above 0 where the thing is, of which the good are kept.

    The measures are those of Segment Anything (Kirillov et al. 2023, appendix B). Logits lie in half precision on the
    CPU, small as the network made them: 3,000 of 256 x 256 take 400 MB.
    """

    sureness: float  # the network's own estimate of intersection over union, at least
    stability: float  # intersection over union of the mask cut at -1 and at +1, at least
    _logits: list[Any] = field(default_factory=list[Any])  # [n, h, w] each
    _scores: list[Any] = field(default_factory=list[Any])  # [n] each
    _boxes: list[Any] = field(default_factory=list[Any])  # [n, 4] each

    def add(self, logits: Any, scores: Any) -> None:
        """Take those of logits [n, h, w] with scores [n], 0 to 1, that are good."""
        inner = (logits > STABILITY_OFFSET).sum((1, 2))
        outer = (logits > -STABILITY_OFFSET).sum((1, 2))
        stable = inner >= self.stability * outer
        good = (scores >= self.sureness) & stable & (logits > 0).flatten(1).any(1)
        kept = logits[good]
        self._logits.append(kept.half().cpu())
        self._scores.append(scores[good].float().cpu())
        self._boxes.append(boxes_around(kept > 0).float().cpu())

    def surest(self, overlap: float, limit: int) -> Any:
        """Logits [n, h, w] of at most `limit`, surest first, no two of whose boxes overlap by more than `overlap`."""
        import torch

        scores, boxes = torch.cat(self._scores).numpy(), torch.cat(self._boxes).numpy()
        return torch.cat(self._logits)[suppressed(boxes, scores, overlap, limit)]


def boxes_around(masks: Any) -> Any:
    """left, top, right, bottom (exclusive) of masks, bool [n, h, w], none of them empty: int [n, 4]."""
    import torch

    def ends(covered: Any) -> tuple[Any, Any]:
        """First and last-plus-one covered position of bool [n, length]."""
        numbers = covered.int()
        return numbers.argmax(1), covered.shape[1] - numbers.flip(1).argmax(1)

    (left, right), (top, bottom) = ends(masks.any(1)), ends(masks.any(2))
    return torch.stack([left, top, right, bottom], 1)


def suppressed(boxes: "np.ndarray", scores: "np.ndarray", overlap: float, limit: int) -> list[int]:
    """Numbers of the boxes that remain, best score first: each drops those it overlaps by more than `overlap`.

    Greedy non-maximum suppression. boxes: [n, 4]; scores: [n]; `overlap` is intersection over union, 0 to 1.
    """
    import numpy as np

    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < limit:
        best, left = left[0], left[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[left, :2])
        sides = np.clip(np.minimum(boxes[best, 2:], boxes[left, 2:]) - corner, 0, None)
        common = sides[:, 0] * sides[:, 1]
        left = left[common <= overlap * (areas[best] + areas[left] - common)]
    return kept
