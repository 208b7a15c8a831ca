"""Train the translators, unpaired, one pair of domains after the other; then measure.

    python -m deployments.starter.translator.train --minutes 34 --checkpoint some/folder

As Zhu et al. (2017) did: least-squares adversarial loss, cycle and identity loss, a history of 50 made pictures.
Killed and started again with the same folder, it goes on where it was. Weights land in translator/weights.
"""

import argparse
import random
import time
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from ..training import Average, Budget, Gauge, set_rate, steps, store
from .data import PAIRS, pictures, to_signal
from .measure import report
from .model import build_discriminator, build_generator, export

WEIGHTS = Path(__file__).parent / "weights"
POOL = 3_000  # rendered pictures of each domain
BATCH = 2
HISTORY = 50  # made pictures kept, so that the discriminators do not forget
CYCLE, IDENTITY = 10.0, 5.0  # the paper's weights of the losses
EXPORT_EVERY = 240  # seconds between half-finished models that can already be tried


class History:
    """Made pictures to show again: half the time an older one takes a new one's place (Shrivastava et al., 2017)."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def exchange(self, made: torch.Tensor, rng: random.Random) -> torch.Tensor:
        """float [n, 3, h, w] detached, some of them replaced by older ones."""
        shown = []
        for picture in made.detach():
            if len(self.kept) < HISTORY:
                self.kept.append(picture)
            elif rng.random() < 0.5:
                place = rng.randrange(HISTORY)
                picture, self.kept[place] = self.kept[place], picture
            shown.append(picture)
        return torch.stack(shown)


class Pair(nn.Module):
    """Both generators and both discriminators: `forth` makes the second domain of the first, `back` the first."""

    def __init__(self) -> None:
        super().__init__()
        self.forth, self.back = build_generator(), build_generator()
        self.first, self.second = build_discriminator(), build_discriminator()

    def generators_loss(self, one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Loss, cycle error (0..2) and the made pictures of both domains, from float [n, 3, 64, 64] of each."""
        made_other, made_one = self.forth(one), self.back(other)
        judged = torch.cat([self.second(made_other), self.first(made_one)])
        cycle = (self.back(made_other) - one).abs().mean() + (self.forth(made_one) - other).abs().mean()
        # what is of the domain already is to stay; half of the batch will do
        same = (self.forth(other[:1]) - other[:1]).abs().mean() + (self.back(one[:1]) - one[:1]).abs().mean()
        loss = 2 * (judged - 1).square().mean() + CYCLE * cycle + IDENTITY * same
        return loss, cycle.detach() / 2, made_one, made_other

    def discriminators_loss(self, true: tuple[torch.Tensor, ...], made: tuple[torch.Tensor, ...]) -> torch.Tensor:
        parts = zip((self.first, self.second), true, made, strict=True)
        return sum(0.5 * ((net(yes) - 1).square().mean() + net(no).square().mean()) for net, yes, no in parts)


def train(domains: tuple[str, str], minutes: float, checkpoint: Path, device: str, seed: int, weights: Path) -> None:
    """Train, or resume, both directions; the averaged generators are exported now and then and at the end."""
    torch.manual_seed(seed)
    pair, path = Pair().to(device).train(), checkpoint / f"{'-'.join(domains)}.pt"
    generators = nn.ModuleDict({"forth": pair.forth, "back": pair.back})
    budget, average = Budget(minutes), Average(generators, 0.998)
    critics = chain(pair.first.parameters(), pair.second.parameters())
    optimizers = [
        torch.optim.Adam(generators.parameters(), lr=6e-4, betas=(0.5, 0.999)),
        torch.optim.Adam(critics, lr=3e-4, betas=(0.5, 0.999)),
    ]
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        pair.load_state_dict(state["pair"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        budget.spent, budget.steps = state["spent"], state["steps"]
    if budget.fraction == 1:
        return
    pools = [to_signal(pictures(domain, POOL, f"{seed}/train")) for domain in domains]
    histories, gauge, exported = (History(), History()), Gauge("cycle error"), time.monotonic()

    def save() -> None:
        nonlocal exported
        store(path, {"pair": pair.state_dict(), "average": average.state(), "spent": budget.spent,
                     "steps": budget.steps, "optimizers": [o.state_dict() for o in optimizers]})  # fmt: skip
        if budget.fraction == 1 or time.monotonic() - exported > EXPORT_EVERY:
            exported = time.monotonic()
            for name, (source, target) in (("forth", domains), ("back", domains[::-1])):
                found = {key.removeprefix(f"{name}."): value for key, value in average.weights.items()
                         if key.startswith(f"{name}.")}  # fmt: skip
                export(found, weights / f"{source}-to-{target}.safetensors")

    for step in steps(budget, "-".join(domains), save, gauge):
        set_rate(optimizers, budget.rate(1.0))
        rng = random.Random(f"{seed}/{step}")
        one, other = (pool[[rng.randrange(POOL) for _ in range(BATCH)]].to(device) for pool in pools)
        one, other = (batch.flip(3) if rng.random() < 0.5 else batch for batch in (one, other))
        for critic in (pair.first, pair.second):
            critic.requires_grad_(False)
        loss, cycle, made_one, made_other = pair.generators_loss(one, other)
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        for critic in (pair.first, pair.second):
            critic.requires_grad_(True)
        made = (histories[0].exchange(made_one, rng), histories[1].exchange(made_other, rng))
        optimizers[1].zero_grad()
        pair.discriminators_loss((one, other), made).backward()
        optimizers[1].step()
        average.update(generators)
        gauge.add(cycle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=34, help="training time of both pairs together")
    parser.add_argument("--pair", choices=[pair[0] for pair in PAIRS], help="only the pair that begins with this")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder to resume from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished models go")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for domains in PAIRS:
        if options.pair in (None, domains[0]):
            train(domains, options.minutes / 2, options.checkpoint, options.device, options.seed, options.weights)
    report(options.weights)


if __name__ == "__main__":
    main()
