"""Train the painter's text encoder: read every field of a scene out of its caption.

The UNet comes later and takes the encoder as it is, the way Stable Diffusion takes CLIP. Learning words apart from
pixels is cheap, and a UNet on a CPU has no steps to spare for it.
"""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from ..training import Average, Budget, Gauge, Muon, set_rate, steps, store
from ..world import random_scene
from .data import FIELDS, caption, fields
from .model import TOKENS, WIDTH, build_text

BATCH = 64


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Ids int64 [n, TOKENS], padded and cut as the pipeline does it."""
    return tokenizer(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


class Reader(nn.Module):
    """The encoder with one small head per field, read where a prompt has ended; the heads are thrown away later."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(nn.Linear(WIDTH, len(values)) for values in FIELDS.values())

    def forward(self, ids: torch.Tensor) -> list[torch.Tensor]:
        """ids [n, TOKENS] to scores [n, values] of each field; the last two positions have seen every word."""
        states = self.encoder(ids).last_hidden_state[:, -2:].mean(1)
        return [head(states) for head in self.heads]


def train_text(tokenizer: CLIPTokenizer, minutes: float, checkpoint: Path, device: str, seed: int) -> CLIPTextModel:
    """Train (or finish, or just load) the text encoder."""
    torch.manual_seed(seed)
    reader = Reader(build_text(len(tokenizer), tokenizer.eos_token_id)).to(device)
    path, budget, average = checkpoint / "text.pt", Budget(minutes), Average(reader, 0.99)
    matrices = [
        p for name, p in reader.named_parameters() if p.ndim == 2 and "embed" not in name and "heads" not in name
    ]
    others = [p for name, p in reader.named_parameters() if p.ndim != 2 or "embed" in name or "heads" in name]
    optimizers = [Muon(matrices, lr=0.02), torch.optim.AdamW(others, lr=3e-3, weight_decay=0.0)]
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        reader.load_state_dict(state["reader"])
        average.restore(state["average"])
        budget.spent, budget.steps = state["spent"], state["steps"]
    gauge = Gauge("captions read whole")

    def save() -> None:
        store(
            path,
            {"reader": reader.state_dict(), "average": average.state(), "spent": budget.spent, "steps": budget.steps},
        )

    for step in steps(budget, "text", save, gauge):
        set_rate(optimizers, budget.rate(1.0, warmup=30))
        rng = random.Random(f"{seed}/text/{step}")
        scenes = [random_scene(rng) for _ in range(BATCH)]
        scores = reader(tokens(tokenizer, [caption(scene, rng) for scene in scenes]).to(device))
        wanted = fields(scenes).to(device)
        loss = sum(F.cross_entropy(score, wanted[:, i]) for i, score in enumerate(scores))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update(reader)
        hits = torch.stack([score.argmax(1) == wanted[:, i] for i, score in enumerate(scores)]).all(0).float().mean()
        gauge.add(hits)
    reader.load_state_dict(average.weights)
    return reader.encoder.eval().requires_grad_(False)
