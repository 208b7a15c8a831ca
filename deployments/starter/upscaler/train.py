"""Train the upscaler on renderings, one network for each scale; then measure.

    python -m deployments.starter.upscaler.train --minutes 18 --checkpoint some/folder

Killed and started again with the same folder, it goes on where it was. Weights land in upscaler/weights/x2 and x4.
"""

import argparse
import random
import time
from pathlib import Path

import torch
from torch import nn
from transformers import Swin2SRForImageSuperResolution

from ..training import Average, Budget, Gauge, Muon, set_rate, steps, store
from .data import KINDS, batch, picture
from .measure import report
from .model import build, export

WEIGHTS = Path(__file__).parent / "weights"
SIDES = {2: (32, 8), 4: (24, 8)}  # by scale: side of the small crops in pixels, crops in a batch
POOL = 1_500  # rendered pictures kept in memory
EXPORT_EVERY = 240  # seconds between half-finished models that can already be tried


def optimizers_for(model: Swin2SRForImageSuperResolution) -> list[torch.optim.Optimizer]:
    """Muon for the transformer's matrices, AdamW for the convolutions at both ends and for vectors."""
    ends = ("first_convolution", "upsample", "continuous_position_bias")
    inner = {n for n, p in model.named_parameters() if p.ndim in (2, 4) and not any(end in n for end in ends)}
    return [
        Muon([p for n, p in model.named_parameters() if n in inner], lr=0.004),
        torch.optim.AdamW([p for n, p in model.named_parameters() if n not in inner], lr=1e-3, weight_decay=0.0),
    ]


def train(scale: int, minutes: float, checkpoint: Path, device: str, seed: int, weights: Path) -> None:
    """Train, or resume, one scale by absolute error; the averaged weights are exported now and then and at the end."""
    torch.manual_seed(seed)
    model, path = build(scale).to(device).train(), checkpoint / f"x{scale}.pt"
    budget, average, optimizers = Budget(minutes), Average(model, 0.998), optimizers_for(model)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        budget.spent, budget.steps = state["spent"], state["steps"]
    rng, gauge, exported = random.Random(f"{seed}/pictures"), Gauge("gain dB"), time.monotonic()
    pool = [picture(KINDS[i % len(KINDS)], rng) for i in range(POOL if budget.fraction < 1 else 0)]

    def save() -> None:
        nonlocal exported
        store(path, {"model": model.state_dict(), "average": average.state(), "spent": budget.spent,
                     "steps": budget.steps, "optimizers": [o.state_dict() for o in optimizers]})  # fmt: skip
        if budget.fraction == 1 or time.monotonic() - exported > EXPORT_EVERY:
            exported = time.monotonic()
            export(average.weights, scale, weights / f"x{scale}")

    side, count = SIDES[scale]
    for step in steps(budget, f"upscaler x{scale}", save, gauge):
        set_rate(optimizers, budget.rate(1.0))
        crops = batch(pool, count, side, scale, random.Random(f"{seed}/{step}"))
        small, large = (torch.from_numpy(part).permute(0, 3, 1, 2).to(device).float() / 255 for part in crops)
        painted = model(small).reconstruction
        loss = (painted - large).abs().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for optimizer in optimizers:
            optimizer.step()
        average.update(model)
        with torch.no_grad():
            plain = nn.functional.interpolate(small, scale_factor=scale, mode="bicubic")
            errors = [(guess - large).square().mean((1, 2, 3)).clamp_min(1e-7) for guess in (plain, painted)]
            gauge.add(10 * torch.log10(errors[0] / errors[1]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=18, help="training time of both scales together")
    parser.add_argument("--scale", type=int, choices=(2, 4), help="only this one")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder to resume from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished models go")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for scale in (options.scale,) if options.scale else (2, 4):
        train(scale, options.minutes / 2, options.checkpoint, options.device, options.seed, options.weights)
        folder = options.weights / f"x{scale}"
        report(
            Swin2SRForImageSuperResolution.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
        )


if __name__ == "__main__":
    main()
