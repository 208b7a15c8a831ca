"""The generator of CycleGAN, with the names its authors' PyTorch code gives to weights.

Zhu, Park, Isola and Efros, "Unpaired image-to-image translation using cycle-consistent adversarial networks" (2017);
https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix. Imported only where torch is wanted.
"""

import re

import torch
from torch import nn

STEP = 4  # sides are multiples of this: two halvings


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, float [n, c, h, w] to the same shape."""

    def __init__(self, width: int, dropout: bool) -> None:
        super().__init__()
        between = [nn.Dropout(0.5)] if dropout else []
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU(), *between,
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """Pictures float [n, 3, h, w] in -1..1 of one domain to the other; h and w are multiples of STEP, 16 at least.

    `width` is the first layer's channels (`ngf`), `blocks` the residual blocks in the middle.
    """

    def __init__(self, width: int, blocks: int, dropout: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU(),
        ]  # fmt: skip
        for inner in (width, 2 * width):
            layers += [nn.Conv2d(inner, 2 * inner, 3, 2, 1), nn.InstanceNorm2d(2 * inner), nn.ReLU()]
        layers += [ResnetBlock(4 * width, dropout) for _ in range(blocks)]
        for inner in (4 * width, 2 * width):
            layers += [
                nn.ConvTranspose2d(inner, inner // 2, 3, 2, 1, output_padding=1),
                nn.InstanceNorm2d(inner // 2), nn.ReLU(),
            ]  # fmt: skip
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def from_state(state: dict[str, torch.Tensor]) -> ResnetGenerator:
    """A generator of the sizes that a state dict's tensors have, with those weights in float32.

    Raises:
        ValueError: it is not a CycleGAN generator of this kind.
    """
    # older files count pictures in their instance norms, which use nothing of it
    kept = {name.removeprefix("module."): value for name, value in state.items()}
    kept = {name: value for name, value in kept.items() if not re.search(r"running_|num_batches", name)}
    first = kept.get("model.1.weight")
    if first is None or first.shape[1:] != (3, 7, 7):
        raise ValueError("there is no 7x7 convolution of three colours at model.1")
    blocks = sum(name.endswith("conv_block.1.weight") for name in kept)
    dropout = any(name.endswith("conv_block.6.weight") for name in kept)
    generator = ResnetGenerator(first.shape[0], blocks, dropout)
    try:
        generator.load_state_dict({name: value.float() for name, value in kept.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"the tensors are not those of a ResnetGenerator: {reason}") from None
    return generator.eval().requires_grad_(False)
