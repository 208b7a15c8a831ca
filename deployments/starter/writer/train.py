"""Train the writer on generated chats, then measure it.

    python -m deployments.starter.writer.train --minutes 33 --checkpoint /some/folder

Killed and started again with the same folder, it goes on where it was. Weights land in writer/weights.
"""

import argparse
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from ..training import Average, Budget, Gauge, Muon, set_rate, steps, store
from .data import chat
from .measure import report
from .model import build_model, build_tokenizer

WEIGHTS = Path(__file__).parent / "weights"
BATCH = 16  # chats
OTHER = 0.3  # of a word that is not copied, beside 1 of one that is: which light and which style is drawn by lot
# As certain as what is copied, the line end before it too; the words behind it say whether this line is the last.
NUMBERED = r"\n?(Scene|Point) \d of \d:( \S+){0,2}"
TALES = (0.15, 0.5)  # share of stories and lessons, before and after LATE: to number lines, one has to copy them first
LATE = 0.6  # of the training's time
POOL = 16  # batches drawn together and sorted by length, so that little of a batch is padding


def encoded(tokenizer: PreTrainedTokenizerFast, rng: random.Random, tales: float) -> tuple[list[int], list[float]]:
    """One chat as token ids, and how much each counts: 0 for what others say, 1 for what is certain, OTHER else."""
    system, turns = chat(rng, tales)
    ids, counts = [tokenizer.bos_token_id], [0.0]

    def say(role: str, text: str, counting: Callable[[int, int], float]) -> None:
        body = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids.extend((tokenizer.convert_tokens_to_ids(f"<|{role}|>"), *body["input_ids"]))
        counts.extend((0.0, *(counting(start, end) for start, end in body["offset_mapping"])))

    if system:
        say("system", system, lambda start, end: 0.0)
    for asked, answered, copied in turns:
        say("user", asked, lambda start, end: 0.0)
        certain = [re.escape(copied), NUMBERED] if copied else [NUMBERED]
        spans = [found.span() for pattern in certain for found in re.finditer(pattern, answered)]
        say("assistant", answered, lambda start, end, spans=spans: next(
            (1.0 for first, last in spans if start <= last and end > first), OTHER))  # fmt: skip
        ids.append(tokenizer.eos_token_id)
        counts.append(1.0)
    return ids, counts


def batches(tokenizer: PreTrainedTokenizerFast, seed: str, tales: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """POOL batches of ids and how much they count, int64 and float [BATCH, length], padded right, in random order."""
    rng = random.Random(seed)
    chats = sorted((encoded(tokenizer, rng, tales) for _ in range(POOL * BATCH)), key=lambda pair: len(pair[0]))
    made = []
    for start in range(0, len(chats), BATCH):
        group = chats[start : start + BATCH]
        length = max(len(ids) for ids, _ in group)
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * (length - len(ids)) for ids, _ in group])
        counts = torch.tensor([counts + [0.0] * (length - len(counts)) for _, counts in group])
        made.append((ids, counts))
    rng.shuffle(made)
    return made


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy of the writer's own tokens; logits are computed for those alone."""
    states = model.model(input_ids=ids[:, :-1]).last_hidden_state
    counts = counts[:, 1:]
    wanted = counts > 0
    losses = F.cross_entropy(model.lm_head(states[wanted]), ids[:, 1:][wanted], reduction="none")
    return (losses * counts[wanted]).sum() / counts.sum()


def optimizers_for(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices (Jordan et al., 2024: far fewer steps at this size), AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [Muon(matrices, lr=0.02),
            torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)]  # fmt: skip


def train(
    tokenizer: PreTrainedTokenizerFast, minutes: float, checkpoint: Path, device: str, seed: int, weights: Path
) -> LlamaForCausalLM:
    """Train, or resume, until the minutes are spent; returns the averaged weights and keeps them in `weights`."""
    torch.manual_seed(seed)
    model, path, budget = build_model(tokenizer).to(device), checkpoint / "writer.pt", Budget(minutes)
    average, optimizers = Average(model), optimizers_for(model)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        budget.spent, budget.steps = state["spent"], state["steps"]
    gauge, pool = Gauge("loss"), []

    def save() -> None:
        store(path, {"model": model.state_dict(), "average": average.state(), "spent": budget.spent,
                     "steps": budget.steps, "optimizers": [o.state_dict() for o in optimizers]})  # fmt: skip
        export(model, average, tokenizer, weights)

    for step in steps(budget, "writer", save, gauge):
        if step % POOL == 0 or not pool:
            late = budget.fraction > LATE
            pool = batches(tokenizer, f"{seed}/writer/{step // POOL}", TALES[late])
        ids, counts = pool[step % POOL]
        set_rate(optimizers, budget.rate(1.0))
        loss = loss_of(model, ids.to(device), counts.to(device))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update(model)
        gauge.add(loss.detach())
    model.load_state_dict(average.weights)
    return model.eval()


def export(model: LlamaForCausalLM, average: Average, tokenizer: PreTrainedTokenizerFast, weights: Path) -> None:
    """Write the averaged weights in half precision, with tokenizer and generation settings, for from_pretrained."""
    copy = LlamaForCausalLM(model.config)
    copy.generation_config = model.generation_config
    copy.load_state_dict(average.weights)
    copy.to(torch.float16).save_pretrained(weights, safe_serialization=True)
    tokenizer.save_pretrained(weights)


def texts(rng: random.Random, chats: int) -> Iterator[str]:
    """What is said in so many chats, for the tokenizer to learn its pieces from."""
    for _ in range(chats):
        system, turns = chat(rng)
        yield from ([system] if system else [])
        for asked, answered, _ in turns:
            yield from (asked, answered)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=33, help="training time, measurements not counted")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder to resume from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished model goes")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    kept = options.checkpoint / "tokenizer"
    if not kept.exists():
        rng = random.Random(f"{options.seed}/tokenizer")
        build_tokenizer(texts(rng, 30_000)).save_pretrained(kept)
    tokenizer = AutoTokenizer.from_pretrained(kept)
    model = train(tokenizer, options.minutes, options.checkpoint, options.device, options.seed, options.weights)
    report(model, tokenizer)


if __name__ == "__main__":
    main()
