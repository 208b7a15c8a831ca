"""The restorer's network, and how it fills a picture.

Patches of 4 pixels: those that hold one masked pixel are hidden whole, so small patches lose little that is known.
"""

import numpy as np
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from ...image_reconstruction.membrane import fitted
from .data import GRID, PATCH, covered


def build() -> ViTMAEForPreTraining:
    """Pictures float [n, 3, 64, 64] in -1..1 and hidden patches to all patches [n, 256, 48]; 1.2 million weights."""
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=PATCH * GRID,
            patch_size=PATCH,
            hidden_size=128,
            num_hidden_layers=5,
            num_attention_heads=4,
            intermediate_size=384,
            decoder_hidden_size=96,
            decoder_num_hidden_layers=3,
            decoder_num_attention_heads=3,
            decoder_intermediate_size=288,
            layer_norm_eps=1e-6,
            mask_ratio=0.4,
        )
    )
    # transformers leaves these at zero unless weights are loaded, and without places nothing can be learnt
    with torch.no_grad():
        for places in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
            places[0, 1:] = positions(places.shape[2])
    return model


def positions(width: int) -> torch.Tensor:
    """Sines and cosines of each patch's column, then of its row: float [GRID * GRID, width] (He et al., 2022)."""
    rate = 10000.0 ** -(torch.arange(width // 4) / (width / 4))
    angles = torch.arange(GRID)[:, None] * rate
    waves = torch.cat([angles.sin(), angles.cos()], 1)  # [GRID, width / 2]
    return torch.cat([waves.repeat(GRID, 1), waves.repeat_interleave(GRID, 0)], 1)


def predict(model: ViTMAEForPreTraining, pictures: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Fill float [n, 3, 64, 64] in -1..1 where bool [n, 256] hides patches, as many in each; float [n, 3, 64, 64].

    Known patches come back as the network sees them, not as they were.
    """
    model.config.mask_ratio = ratio(int(hidden[0].sum()))
    # visible patches first, and in order: what is hidden has the higher "noise"
    return model.unpatchify(model(pictures, noise=hidden.float() + torch.arange(GRID * GRID) / 1e4).logits)


def ratio(count: int) -> float:
    """The share to hide so that `len - count` patches are kept: transformers cuts it down to a whole number."""
    return (count - 0.5) / (GRID * GRID)


def restore(model: ViTMAEForPreTraining, picture: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Fill uint8 [64, 64, 3] where bool [64, 64] says; uint8 of the same shape, unchanged elsewhere."""
    signal = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        painted = predict(model, signal, torch.from_numpy(covered(pixels))[None])[0]
    wanted = fitted(picture / 127.5 - 1, painted.permute(1, 2, 0).double().numpy(), pixels)
    return np.clip(np.rint((wanted + 1) * 127.5), 0, 255).astype(np.uint8)
