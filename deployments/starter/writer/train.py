"""Train the writer on generated chats, then measure it.

    python -m deployments.starter.writer.train --minutes 45 --checkpoint /some/folder

Killed and started again with the same folder, it goes on where it was. Weights land in writer/weights.
"""

import argparse
import random
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
BATCH = 32  # chats
POOL = 8  # batches drawn together and sorted by length, so that little of a batch is padding


def encoded(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> tuple[list[int], list[bool]]:
    """One chat as token ids, and which of them the writer itself says (only those are learned)."""
    ids, own = [tokenizer.bos_token_id], [False]
    for message in chat(rng):
        said = message["role"] == "assistant"
        body = tokenizer.encode(message["content"], add_special_tokens=False) + [tokenizer.eos_token_id] * said
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *body]
        own += [False, *[said] * len(body)]
    return ids, own


def batches(tokenizer: PreTrainedTokenizerFast, seed: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """POOL batches of ids and own-marks, int64 and bool [BATCH, length], padded on the right, in random order."""
    rng = random.Random(seed)
    chats = sorted((encoded(tokenizer, rng) for _ in range(POOL * BATCH)), key=lambda pair: len(pair[0]))
    made = []
    for start in range(0, len(chats), BATCH):
        group = chats[start : start + BATCH]
        length = max(len(ids) for ids, _ in group)
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * (length - len(ids)) for ids, _ in group])
        own = torch.tensor([own + [False] * (length - len(own)) for _, own in group])
        made.append((ids, own))
    rng.shuffle(made)
    return made


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the writer's own tokens; logits are computed for those alone, a third of the positions."""
    states = model.model(input_ids=ids[:, :-1]).last_hidden_state
    wanted = own[:, 1:]
    return F.cross_entropy(model.lm_head(states[wanted]), ids[:, 1:][wanted])


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
            pool = batches(tokenizer, f"{seed}/writer/{step // POOL}")
        ids, own = pool[step % POOL]
        set_rate(optimizers, budget.rate(1.0))
        loss = loss_of(model, ids.to(device), own.to(device))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=37, help="training time, measurements not counted")
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
        build_tokenizer(message["content"] for _ in range(30000) for message in chat(rng)).save_pretrained(kept)
    tokenizer = AutoTokenizer.from_pretrained(kept)
    model = train(tokenizer, options.minutes, options.checkpoint, options.device, options.seed, options.weights)
    report(model, tokenizer)


if __name__ == "__main__":
    main()
