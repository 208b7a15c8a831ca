"""The translators' networks: the paper's generator and discriminator, small."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ...image_translation.generator import ResnetGenerator, from_state

WIDTH, BLOCKS = 20, 5  # the paper has 64 and 9, for pictures of 256 pixels


def build_generator() -> ResnetGenerator:
    """Pictures float [n, 3, 64, 64] in -1..1 of one domain to the other; 0.67 million weights."""
    return started(ResnetGenerator(WIDTH, BLOCKS))


def build_discriminator(width: int = 32) -> nn.Sequential:
    """Pictures float [n, 3, 64, 64] to how true patches of 34 pixels look, [n, 1, 14, 14]: 1 true, 0 made."""
    return started(nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 4, 1, 1), nn.InstanceNorm2d(4 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(4 * width, 1, 4, 1, 1),
    ))  # fmt: skip


def started(module: nn.Module) -> nn.Module:
    """The paper's initial weights: normal with deviation 0.02."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.02)
            nn.init.zeros_(layer.bias)
    return module


def export(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write a generator's state dict as safetensors, in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in weights.items()}, path)


def load(path: Path) -> ResnetGenerator:
    """A generator from its file, in float32."""
    return from_state(load_file(path))
