"""What backends on vision networks share: the picture as a network was trained to see it.

The image processors of transformers that these networks come with need torchvision; what those do is a resize and a
normalisation, whose figures lie beside the weights.
"""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue, of 1


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are prepared: `mean` and `std` a channel, of 1; `resample` is Pillow's number of a filter."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resample: int = 2  # bilinear

    def signal(self, picture: "Picture", size: tuple[int, int], device: str) -> Any:
        """`picture` resized to `size` (width, height): a float32 tensor [1, 3, height, width] on `device`."""
        import numpy as np
        import PIL.Image
        import torch

        small = picture.convert("RGB")
        if small.size != size:
            small = small.resize(size, PIL.Image.Resampling(self.resample))
        colours = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].to(device).float() / 255
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (colours - mean) / std


def preprocessing(path: str, revision: str | None, local: bool) -> tuple[Preprocessing, dict[str, Any]]:
    """What `preprocessor_config.json` (or the newer `processor_config.json`) says, and the whole of that file.

    Without one these are ImageNet's figures, bilinear, and {}.

    Raises:
        TypeError, ValueError: it has figures of another kind.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    processor: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        processor, _ = ImageProcessingMixin.get_image_processor_dict(
            path, revision=revision or "main", local_files_only=local
        )
    mean = tuple(float(value) for value in processor.get("image_mean") or IMAGENET_MEAN)
    std = tuple(float(value) for value in processor.get("image_std") or IMAGENET_STD)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"image_mean and image_std are {mean} and {std}; three numbers each are needed")
    return Preprocessing(mean, std, int(processor.get("resample", Preprocessing.resample))), processor
