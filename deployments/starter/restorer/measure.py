"""Measure the restorer on pictures it never saw, beside OpenCV's two inpainting methods."""

import random
import time

import cv2
import numpy as np
import torch
from PIL import Image
from transformers import ViTMAEForPreTraining

from ..world import random_scene, render
from .data import MASKS, covered, crowd, mask
from .model import predict, restore

RADIUS = 3.0  # pixels around a masked one that OpenCV's methods look at
CLEAN = 50.0  # dB; a picture restored better than this counts as this


def examples(count: int, seed: str = "held out") -> list[tuple[np.ndarray, np.ndarray, str, str]]:
    """Pictures uint8 [64, 64, 3], masks bool [64, 64] covering 5 to 40 %, the masks' kinds, the pictures' kinds."""
    rng, found = random.Random(seed), []
    for i in range(count):
        kind = ("figures", "landscapes", "crowds")[i % 3]
        if kind == "figures":
            picture = render(random_scene(rng, held_out=True))
        elif kind == "landscapes":
            picture = render(random_scene(rng, landscapes=1.0))
        else:
            picture = crowd(rng)
        drawn = MASKS[i // 3 % len(MASKS)]
        found.append((np.asarray(picture), mask(rng, rng.uniform(0.05, 0.4), drawn), drawn, kind))
    return found


def plain(model: ViTMAEForPreTraining, picture: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The network's own prediction, without the fit at the rim."""
    signal = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        painted = predict(model, signal, torch.from_numpy(covered(pixels))[None])[0].permute(1, 2, 0).numpy()
    painted = np.clip(np.rint((painted + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.where(pixels[:, :, None], painted, picture)


def classical(picture: np.ndarray, pixels: np.ndarray, method: int) -> np.ndarray:
    """OpenCV's inpainting of uint8 [h, w, 3]."""
    return cv2.inpaint(np.ascontiguousarray(picture), pixels.astype(np.uint8) * 255, RADIUS, method)


def error(picture: np.ndarray, restored: np.ndarray, pixels: np.ndarray) -> float:
    """Mean squared error of the masked pixels alone, in units of 255."""
    return float(np.square((picture[pixels].astype(float) - restored[pixels]) / 255).mean())


def decibels(errors: list[float]) -> tuple[float, float]:
    """PSNR of all masked pixels together, and the mean of the pictures' own, each at most CLEAN."""
    return (
        -10 * float(np.log10(max(np.mean(errors), 1e-10))),
        float(np.mean([min(CLEAN, -10 * np.log10(max(e, 1e-10))) for e in errors])),
    )


def report(model: ViTMAEForPreTraining, count: int = 360) -> dict[str, dict[str, tuple[float, float]]]:
    """Print and return PSNR of masked pixels in dB, pooled and averaged, by method and by kind of picture and mask."""
    methods = {
        "restorer": lambda picture, pixels: restore(model, picture, pixels),
        "network alone": lambda picture, pixels: plain(model, picture, pixels),
        "OpenCV Telea": lambda picture, pixels: classical(picture, pixels, cv2.INPAINT_TELEA),
        "OpenCV Navier-Stokes": lambda picture, pixels: classical(picture, pixels, cv2.INPAINT_NS),
    }
    cases, found = examples(count), {}
    for name, method in methods.items():
        start = time.perf_counter()
        errors = [error(picture, method(picture, pixels), pixels) for picture, pixels, _, _ in cases]
        seconds = (time.perf_counter() - start) / count
        groups = {"all": errors}
        for drawn, kind, value in [(d, k, e) for (_, _, d, k), e in zip(cases, errors, strict=True)]:
            groups.setdefault(kind, []).append(value)
            groups.setdefault(drawn, []).append(value)
        found[name] = {group: decibels(values) for group, values in groups.items()}
        told = ", ".join(f"{group} {pooled:.2f} ({mean:.2f})" for group, (pooled, mean) in found[name].items())
        print(f"{name}: {told}; {1000 * seconds:.1f} ms")
    return found


def sheet(model: ViTMAEForPreTraining, count: int = 12) -> Image.Image:
    """Rows of picture, masked, restored, Telea, each 64 pixels."""
    whole = Image.new("RGB", (66 * 4, 66 * count), "grey")
    for row, (picture, pixels, _, _) in enumerate(examples(count, "sheet")):
        masked = np.where(pixels[:, :, None], 255, picture).astype(np.uint8)
        shown = (picture, masked, restore(model, picture, pixels), classical(picture, pixels, cv2.INPAINT_TELEA))
        for column, part in enumerate(shown):
            whole.paste(Image.fromarray(part), (66 * column + 1, 66 * row + 1))
    return whole
