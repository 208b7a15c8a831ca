"""Train the restorer: see a picture in part, paint the rest; then measure.

    python -m deployments.starter.restorer.train --minutes 25 --checkpoint some/folder

Killed and started again with the same folder, it goes on where it was. Weights land in restorer/weights.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
from torch import nn
from transformers import ViTMAEForPreTraining

from ..training import Average, Budget, Gauge, Muon, set_rate, steps, store
from .data import GRID, hidden, pictures, to_signal
from .measure import report
from .model import build, predict

WEIGHTS = Path(__file__).parent / "weights"
BATCH = 16
POOL = 8_192  # rendered pictures kept in memory; each is also seen turned over
HIDE = (0.15, 0.65)  # share of patches: more than people draw teaches more in a step, and costs less
EXPORT_EVERY = 240  # seconds between half-finished models that can already be tried


def optimizers_for(model: ViTMAEForPreTraining) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the rest; their peak rates found in trials of a minute."""
    inner = {name for name, p in model.named_parameters() if p.ndim == 2 and "layer" in name and p.requires_grad}
    rest = [p for name, p in model.named_parameters() if name not in inner and p.requires_grad]
    matrices = [p for name, p in model.named_parameters() if name in inner]
    return [Muon(matrices, lr=0.01), torch.optim.AdamW(rest, lr=1.5e-3, weight_decay=0.0)]


def export(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write the folder `ViTMAEForPreTraining.from_pretrained` reads, in half precision."""
    model = build()
    model.load_state_dict(weights)
    model.half().save_pretrained(folder)
    # how the field says that pixels of 0..1 become -1..1
    values = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(values, indent=2) + "\n")


def train(minutes: float, checkpoint: Path, device: str, seed: int, weights: Path) -> None:
    """Train, or resume; the averaged weights are exported now and then and at the end."""
    torch.manual_seed(seed)
    model, path = build().to(device).train(), checkpoint / "model.pt"
    budget, average, optimizers = Budget(minutes), Average(model, 0.998), optimizers_for(model)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        budget.spent, budget.steps = state["spent"], state["steps"]
    pool, gauge, exported = pictures(POOL, random.Random(f"{seed}/pictures")), Gauge("loss"), time.monotonic()

    def save() -> None:
        nonlocal exported
        store(path, {"model": model.state_dict(), "average": average.state(), "spent": budget.spent,
                     "steps": budget.steps, "optimizers": [o.state_dict() for o in optimizers]})  # fmt: skip
        if budget.fraction == 1 or time.monotonic() - exported > EXPORT_EVERY:
            exported = time.monotonic()
            export(average.weights, weights)

    for step in steps(budget, "restorer", save, gauge):
        set_rate(optimizers, budget.rate(1.0))
        rng = random.Random(f"{seed}/{step}")
        batch = to_signal(pool[[rng.randrange(POOL) for _ in range(BATCH)]]).to(device)
        batch = batch.flip(3) if rng.random() < 0.5 else batch
        covers = hidden(rng, round(rng.uniform(*HIDE) * GRID * GRID), BATCH).to(device)
        difference = model.patchify(predict(model, batch, covers) - batch)
        error = (difference.square() + 0.05 * difference.abs()).mean(2)
        # known patches count a little: what is painted must meet them, see `fitted`
        loss = error[covers].mean() + 0.1 * error[~covers].mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update(model)
        gauge.add(error[covers].mean().detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25, help="training time, measurements not counted")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder to resume from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished model goes")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    train(options.minutes, options.checkpoint, options.device, options.seed, options.weights)
    report(ViTMAEForPreTraining.from_pretrained(options.weights, dtype=torch.float32, local_files_only=True).eval())


if __name__ == "__main__":
    main()
