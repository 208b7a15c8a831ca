"""Measure the translators on scenes they never saw: the judge's verdicts, and what comes back after a round trip."""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from .data import PAIRS, pictures, to_signal
from .judge import judge
from .model import load


def to_pictures(signal: torch.Tensor) -> list[Image.Image]:
    """float [n, 3, h, w] in -1..1 to RGB pictures."""
    array = ((signal + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(one) for one in array]


@torch.inference_mode()
def translated(generator: nn.Module, batch: torch.Tensor, size: int = 20) -> torch.Tensor:
    """float [n, 3, h, w] in -1..1, translated `size` at a time and rounded to 8 bit as a file would be."""
    made = torch.cat([generator(part) for part in batch.split(size)])
    return ((made + 1) * 127.5).round() / 127.5 - 1


def outlines(batch: torch.Tensor) -> np.ndarray:
    """How much brightness changes at each pixel: float [n, h - 1, w - 1]."""
    luma = batch.mean(1).numpy()
    return np.hypot(np.diff(luma, axis=1)[:, :, :-1], np.diff(luma, axis=2)[:, :-1])


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean correlation of outlines, -1..1: whether the same things stand in the same places."""
    return float(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1]
                          for a, b in zip(outlines(one), outlines(other), strict=True)]))  # fmt: skip


def measure(there: nn.Module, back: nn.Module, source: str, target: str, count: int) -> dict[str, float]:
    """Shares (0 to 1) judged to be of the target domain, the round trip's PSNR in dB, likeness of outlines."""
    given = to_signal(pictures(source, count, "held out"))
    made = translated(there, given)
    again = translated(back, made)
    errors = (given - again).square().mean((1, 2, 3)) / 4

    def share(pictures_: list[Image.Image]) -> float:
        return sum(judge(picture) == target for picture in pictures_) / count

    return {
        "translated": share(to_pictures(made)),
        "true renderings": share(to_pictures(to_signal(pictures(target, count, "truth")))),
        "untranslated": share(to_pictures(given)),
        "round trip dB": float((-10 * torch.log10(errors)).mean()),
        "outlines": likeness(given, made),
        "outlines of others": likeness(given, made.roll(1, 0)),
    }


def report(weights: Path, count: int = 200) -> dict[str, dict[str, float]]:
    """Print and return the measurements of every direction whose pair is in `weights`."""
    found = {}
    for one, other in PAIRS:
        for source, target in ((one, other), (other, one)):
            files = [weights / f"{a}-to-{b}.safetensors" for a, b in ((source, target), (target, source))]
            if not all(file.exists() for file in files):
                continue
            there, back = (load(file) for file in files)
            name = f"{source}-to-{target}"
            found[name] = measure(there, back, source, target, count)
            start = time.perf_counter()
            translated(there, torch.zeros(1, 3, 256, 256))
            seconds = time.perf_counter() - start
            told = ", ".join(f"{key} {value:.3f}" for key, value in found[name].items())
            print(f"{name}: {told}; {seconds:.2f} s for 256x256")
    return found


def sheet(weights: Path, count: int = 12) -> Image.Image:
    """For each direction three rows: given, translated, and back again."""
    rows = []
    for one, other in PAIRS:
        for source, target in ((one, other), (other, one)):
            files = [weights / f"{a}-to-{b}.safetensors" for a, b in ((source, target), (target, source))]
            if not all(file.exists() for file in files):
                continue
            there, back = (load(file) for file in files)
            given = to_signal(pictures(source, count, "sheet"))
            made = translated(there, given)
            for batch in (given, made, translated(back, made)):
                rows.append(np.concatenate([np.asarray(picture) for picture in to_pictures(batch)], axis=1))
    return Image.fromarray(np.concatenate(rows))
