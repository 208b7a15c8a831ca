"""Measure the upscaler beside Pillow's bicubic, on renderings and photographs it never saw."""

import random
import time

import numpy as np
import torch
from PIL import Image
from transformers import Swin2SRForImageSuperResolution

from .data import leaves, reduced, scene, strokes
from .model import enlarge

# The photographs that scikit-image's package holds (its `data` module names their sources and licences).
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "camera", "rocket", "coins", "brick", "gravel", "grass")


def renderings(count: int, seed: str = "held out") -> dict[str, list[np.ndarray]]:
    """Pictures uint8 [192, 192, 3] by kind; the scenes are of combinations that no training sees."""
    rng = random.Random(seed)
    return {
        "scenes": [scene(rng, held_out=True) for _ in range(count)],
        "strokes": [strokes(rng) for _ in range(count)],
        "leaves": [leaves(rng) for _ in range(count)],
    }


def photographs(scale: int) -> list[np.ndarray]:
    """Photographs uint8 [h, w, 3], cut to multiples of `scale`. Needs scikit-image (the `test` extra)."""
    import skimage.data

    found = []
    for name in PHOTOGRAPHS:
        picture = np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))
        found.append(picture[: picture.shape[0] // scale * scale, : picture.shape[1] // scale * scale])
    return found


def bicubic(small: np.ndarray, scale: int) -> np.ndarray:
    """uint8 [h, w, 3] enlarged by Pillow's bicubic."""
    height, width = small.shape[:2]
    return np.asarray(Image.fromarray(small).resize((width * scale, height * scale), Image.Resampling.BICUBIC))


def psnr(one: np.ndarray, other: np.ndarray, rim: int) -> float:
    """Peak signal-to-noise ratio in dB over RGB, 8 bit, without a rim of `rim` pixels."""
    inner = (slice(rim, -rim), slice(rim, -rim))
    error = np.square(one[inner].astype(float) - other[inner]).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def compare(model: Swin2SRForImageSuperResolution, pictures: list[np.ndarray]) -> list[tuple[float, float]]:
    """PSNR of the model and of bicubic for each picture."""
    scale, found = model.config.upscale, []
    for large in pictures:
        small = reduced(large, scale)
        found.append((psnr(enlarge(model, small), large, scale), psnr(bicubic(small, scale), large, scale)))
    return found


def report(model: Swin2SRForImageSuperResolution, count: int = 20, photos: bool = True) -> dict[str, float]:
    """Print PSNR by kind of picture; return the mean gains over bicubic in dB."""
    scale, gains = model.config.upscale, {}
    for kind, pictures in renderings(count).items():
        found = np.array(compare(model, pictures))
        gains[kind] = float((found[:, 0] - found[:, 1]).mean())
        print(
            f"x{scale} {kind}: {found[:, 0].mean():.2f} dB, bicubic {found[:, 1].mean():.2f}, gain {gains[kind]:+.2f}"
        )
    gains["renderings"] = float(np.mean(list(gains.values())))
    print(f"x{scale} renderings: gain {gains['renderings']:+.2f}")
    if photos:
        found = np.array(compare(model, photographs(scale)))
        for name, (own, plain) in zip(PHOTOGRAPHS, found, strict=True):
            print(f"x{scale} {name}: {own:.2f} dB, bicubic {plain:.2f}, gain {own - plain:+.2f}")
        gains["photographs"] = float((found[:, 0] - found[:, 1]).mean())
        print(f"x{scale} photographs: gain {gains['photographs']:+.2f}")
    small = np.zeros((64, 64, 3), np.uint8)
    enlarge(model, small)
    start = time.perf_counter()
    enlarge(model, small)
    print(f"x{scale} seconds for 64x64: {time.perf_counter() - start:.2f} with {torch.get_num_threads()} threads")
    return gains
