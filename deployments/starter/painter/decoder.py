"""Sharpen the painter's VAE decoder once the latents are fixed.

The UNet only ever meets the encoder's latents, so the decoder may go on learning without disturbing it, even at the
same time. It sees latents with a little noise on them, as a UNet's are never exact.
"""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

from ..training import Average, Budget, Gauge, set_rate, split, steps, store
from .data import pictures, to_signal

BATCH = 8  # whole pictures: the norms average over all of a picture, so crops would teach another decoder


def train_decoder(
    vae: AutoencoderKL, latents: dict, minutes: float, checkpoint: Path, device: str, seed: int
) -> AutoencoderKL:
    """Train (or finish, or just load) the decoder on cached latents; returns the VAE with it, frozen."""
    torch.manual_seed(seed)
    path, budget = checkpoint / "decoder.pt", Budget(minutes)
    parts = nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}).train().requires_grad_(True)
    average = Average(parts, 0.99)
    optimizers = split(parts, 0.002, 2e-4)  # gently: it is nearly done
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        parts.load_state_dict(state["parts"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        average.restore(state["average"])
        budget.spent, budget.steps = state["spent"], state["steps"]
    pool, gauge = (pictures(latents["scenes"]) if budget.fraction < 1 else None), Gauge("error")

    def save() -> None:
        store(path, {"parts": parts.state_dict(), "average": average.state(), "spent": budget.spent,
                     "steps": budget.steps, "optimizers": [o.state_dict() for o in optimizers]})  # fmt: skip

    for step in steps(budget, "decoder", save, gauge):
        set_rate(optimizers, budget.rate(1.0))
        rng = random.Random(f"{seed}/decoder/{step}")
        chosen = [rng.randrange(len(pool)) for _ in range(BATCH)]
        mean, std = latents["mean"][chosen], latents["std"][chosen]
        painted = parts["decoder"](parts["post_quant_conv"]((mean + std * torch.randn(mean.shape)).to(device)))
        difference = painted - to_signal(pool[chosen]).to(device)
        error = difference.abs().mean()
        edges = difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        (error + edges).backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 3.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update(parts)
        gauge.add(error.detach())
    parts.load_state_dict(average.weights)
    return vae.eval().requires_grad_(False)
