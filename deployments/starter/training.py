"""What both trainings share: a budget of minutes that survives restarts, a learning-rate curve, averaged weights."""

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

SAVE_EVERY = 60.0  # seconds between checkpoints: what a killed training loses at most


@dataclass
class Budget:
    """How much of a training's wall-clock time is spent; `spent` and `steps` are restored from a checkpoint.

    The curve follows time, not steps, so that the same command ends well on a laptop and on a GPU.
    """

    minutes: float
    spent: float = 0.0  # seconds
    steps: int = 0

    @property
    def fraction(self) -> float:
        return min(self.spent / (60 * self.minutes), 1.0) if self.minutes else 1.0

    def rate(self, peak: float, warmup: int = 100) -> float:
        """Learning rate now: linear over `warmup` steps, then a cosine down to 2 % of `peak`."""
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.fraction))
        return peak * min(1.0, (self.steps + 1) / warmup) * cosine


class Gauge:
    """A running mean to show beside the progress bar."""

    def __init__(self, name: str) -> None:
        self.name, self.value = name, None

    def add(self, value: torch.Tensor) -> None:
        self.value = value.item() if self.value is None else 0.95 * self.value + 0.05 * value.item()

    def __str__(self) -> str:
        return "" if self.value is None else f"{self.name} {self.value:.4f}"


def steps(budget: Budget, title: str, save, gauge: Gauge) -> Iterator[int]:
    """Yield step numbers until the budget is spent, drawing progress with `gauge` beside it; `save()` now and then."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, refresh_per_second=1) as bar:
        task = bar.add_task(title, total=60 * budget.minutes, completed=budget.spent, status="")
        last, saved, told = time.monotonic(), time.monotonic(), 0.0
        while budget.fraction < 1:
            yield budget.steps
            now = time.monotonic()
            budget.spent, budget.steps, last = budget.spent + now - last, budget.steps + 1, now
            if now - told > 10:
                told = now
                bar.update(task, completed=budget.spent, status=f"step {budget.steps} {gauge}")
                if not bar.console.is_terminal:  # a log file gets lines, not a bar
                    print(
                        f"{title} {budget.spent / 60:.1f} of {budget.minutes:g} min, step {budget.steps} {gauge}",
                        flush=True,
                    )
            if now - saved > SAVE_EVERY:
                save()
                saved = last = time.monotonic()
    save()


def set_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's own peak rate (kept as `peak` in the group) by `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix steps are made orthogonal (Jordan et al., 2024): far fewer steps for small transformers.

    Torch's own Muon orthogonalises in bfloat16, which a CPU without bfloat16 units does a hundred times slower.
    """

    def __init__(self, matrices: Iterable[torch.Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes: dict[tuple, list] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:  # a convolution is the matrix of its output channels
                    shapes.setdefault((matrix.shape[0], matrix[0].numel()), []).append(matrix)
            for shape, matrices in shapes.items():  # equal shapes go through the products together
                speeds = [self.state[m].setdefault("speed", torch.zeros_like(m)) for m in matrices]
                for matrix, speed in zip(matrices, speeds, strict=True):
                    speed.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = [m.grad.lerp(v, group["momentum"]) for m, v in zip(matrices, speeds, strict=True)]
                aim = torch.stack([move.flatten(1) for move in ahead])
                scale = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                for matrix, move in zip(matrices, orthogonal(aim), strict=True):
                    matrix.add_(move.view_as(matrix), alpha=-scale)


def orthogonal(batch: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Nearly the closest semi-orthogonal matrices to float [n, rows, columns], by Newton-Schulz iteration."""
    wide = batch if batch.shape[1] <= batch.shape[2] else batch.mT
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = wide @ wide.mT
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return wide if batch.shape[1] <= batch.shape[2] else wide.mT


def split(module: nn.Module, muon: float, adam: float) -> list[torch.optim.Optimizer]:
    """Muon for what lies inside a network, AdamW for its ends and for vectors; both with their peak rates."""
    ends = ("conv_in", "conv_out", "time_embedding", "quant_conv")
    inner = {name for name, p in module.named_parameters() if p.ndim in (2, 4) and not any(end in name for end in ends)}
    return [
        Muon([p for name, p in module.named_parameters() if name in inner], lr=muon),
        torch.optim.AdamW([p for name, p in module.named_parameters() if name not in inner], lr=adam, weight_decay=0.0),
    ]


class Average:
    """Exponential moving average of weights; its decay starts low, (1+n)/(10+n), so that early steps do not linger."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.decay, self.count = decay, 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def state(self) -> dict:
        return {"weights": self.weights, "count": self.count}

    def restore(self, state: dict) -> None:
        self.weights, self.count = state["weights"], state["count"]


def store(path: Path, content: dict) -> None:
    """Write a checkpoint whole or not at all: a kill between the two lines leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)
