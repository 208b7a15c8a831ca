"""The upscaler's network: a Swin2SR so small that one CPU core enlarges 64x64 pixels in a fraction of a second.

The class adds its output to no bicubic enlargement, so its first and last convolution are set to be one: together they
span 5x5 pixels, which holds bicubic's 4x4. Between them the transformer starts at zero; what it learns is the residual.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

WIDTH = 48  # channels; 27 of them carry the 3x3 neighbours of each colour at the start
RIM = 8  # pixels mirrored around a picture, so that the convolutions' zeros stay outside


def build(scale: int) -> Swin2SRForImageSuperResolution:
    """Pictures float [n, 3, h, w] in 0..1 to [n, 3, scale * h, scale * w]; starts as Pillow's bicubic enlargement."""
    model = Swin2SRForImageSuperResolution(
        Swin2SRConfig(
            image_size=64,
            embed_dim=WIDTH,
            depths=[2] * 4,
            num_heads=[4] * 4,
            window_size=8,
            mlp_ratio=2.0,
            drop_path_rate=0.0,
            upscale=scale,
            upsampler="pixelshuffledirect",
        )
    )
    first, last, body = model.swin2sr.first_convolution, model.upsample.conv, model.swin2sr.conv_after_body
    taps = bicubic(scale)
    with torch.no_grad():
        for layer in (body, last):
            layer.weight.zero_()
            layer.bias.zero_()
        first.weight[:27] = 0
        first.bias.zero_()
        for colour in range(3):
            for y in range(3):
                for x in range(3):
                    first.weight[9 * colour + 3 * y + x, colour, y, x] = 1
            for phase in range(scale * scale):
                kernel = np.outer(taps[phase // scale], taps[phase % scale])
                for y in range(5):
                    for x in range(5):  # beyond the neighbours: the neighbour's neighbour
                        near = [min(max(v - 1, 0), 2) for v in (y, x)]
                        last.weight[
                            colour * scale * scale + phase, 9 * colour + 3 * near[0] + near[1], y - near[0], x - near[1]
                        ] = float(kernel[y, x])
    return model


def bicubic(scale: int) -> np.ndarray:
    """Weights of the five nearest pixels for each place between two, float [scale, 5] (Keys 1981, a = -0.5)."""

    def keys(t: float) -> float:
        t = abs(t)
        if t < 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0

    return np.array([[keys((phase + 0.5) / scale - 0.5 - tap) for tap in range(-2, 3)] for phase in range(scale)])


def enlarge(model: Swin2SRForImageSuperResolution, picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] enlarged by the model's scale, uint8."""
    scale, window = model.config.upscale, model.config.window_size
    height, width = picture.shape[:2]
    # transformers fails on sides that are no multiple of the window
    more = [RIM + -(side + 2 * RIM) % window for side in (height, width)]
    padded = np.pad(picture, ((RIM, more[0]), (RIM, more[1]), (0, 0)), "symmetric")
    signal = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        large = model(signal).reconstruction[0].permute(1, 2, 0).numpy()
    cut = large[RIM * scale : (RIM + height) * scale, RIM * scale : (RIM + width) * scale]
    return np.clip(np.rint(cut * 255), 0, 255).astype(np.uint8)


def export(weights: dict[str, torch.Tensor], scale: int, folder: Path) -> None:
    """Write the folder `from_pretrained` reads, in half precision."""
    model = build(scale)
    model.load_state_dict(weights)
    model.half().save_pretrained(folder)
