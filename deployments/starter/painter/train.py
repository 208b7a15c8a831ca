"""Train the painter: VAE, text encoder, the VAE's decoder once more, UNet on cached latents; then measure.

    python -m deployments.starter.painter.train --minutes 70 --checkpoint /some/folder

Killed and started again with the same folder, it goes on where it was. Weights land in painter/weights.
"""

import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from ..training import Average, Budget, Gauge, set_rate, split, steps, store
from ..world import random_scene
from .data import caption, pictures, to_signal
from .decoder import train_decoder
from .measure import report
from .model import LATENTS, assemble, build_scheduler, build_tokenizer, build_unet, build_vae, export
from .text import tokens, train_text

WEIGHTS = Path(__file__).parent / "weights"
SHARES = {"vae": 0.16, "text": 0.04, "decoder": 0.06, "unet": 0.74}  # of the minutes
BATCH = 32  # latents in a UNet step: many small steps beat few large ones when time is short
SCENES = 8_192  # whose latents are kept for the UNet
EXPORT_EVERY = 240  # seconds between half-finished models that can already be tried
# The VAE starts on small crops: colours and edges need many steps more than they need many pixels, and a step on 16x16
# costs a twentieth. (from this fraction of its time on, side of the crops in pixels, crops in a batch)
CROPS = ((0.0, 16, 64), (0.1, 32, 16), (0.85, 64, 16))
POOL = 12_288  # rendered scenes kept in memory


def crops(pool: torch.Tensor, fraction: float, seed: str) -> torch.Tensor:
    """A batch of crops in -1..1, float [n, 3, side, side], as large as `fraction` of the training calls for.

    Most of a picture is flat and teaches nothing about outlines, so each crop is the liveliest of three.
    """
    rng = random.Random(seed)
    side, batch = next((side, batch) for start, side, batch in reversed(CROPS) if fraction >= start)
    chosen = []
    for _ in range(batch):
        picture = pool[rng.randrange(len(pool))]
        tries = [(rng.randint(0, 64 - side), rng.randint(0, 64 - side)) for _ in range(3 if side < 64 else 1)]
        cut = [picture[:, y : y + side, x : x + side] for y, x in tries]
        chosen.append(max(cut, key=lambda piece: piece[:, ::2, ::2].float().var().item()))
    return to_signal(torch.stack(chosen))


def train_vae(minutes: float, checkpoint: Path, device: str, seed: int) -> AutoencoderKL:
    """Train (or finish, or just load) the VAE on fresh scenes: absolute error of pixels and of edges, a little KL."""
    torch.manual_seed(seed)
    vae, path = build_vae().to(device), checkpoint / "vae.pt"
    budget = Budget(minutes)
    optimizers = split(vae, 0.02, 2e-3)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        vae.load_state_dict(state["vae"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        budget.spent, budget.steps = state["spent"], state["steps"]
    rng, gauge = random.Random(f"{seed}/vae"), Gauge("error")
    pool = pictures([random_scene(rng) for _ in range(POOL)])

    def save() -> None:
        store(path, {"vae": vae.state_dict(), "spent": budget.spent, "steps": budget.steps,
                     "optimizers": [optimizer.state_dict() for optimizer in optimizers]})  # fmt: skip

    for step in steps(budget, "vae", save, gauge):
        set_rate(optimizers, budget.rate(1.0))
        pixels = crops(pool, budget.fraction, f"{seed}/vae/{step}").to(device)
        latent = vae.encode(pixels).latent_dist
        painted = vae.decode(latent.sample()).sample
        difference = painted - pixels
        error = difference.abs().mean()
        # edges are few pixels, so their differences are weighed in on their own: they are what an eye sees first
        edges = difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        loss = error + 0.5 * edges + 1e-3 * latent.kl().mean() / latent.mean[0].numel()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 3.0)
        for optimizer in optimizers:
            optimizer.step()
        gauge.add(error.detach())
    return vae.eval().requires_grad_(False)


def tokenizer_for(checkpoint: Path, seed: int) -> CLIPTokenizer:
    """The tokenizer of this training, learned from captions the first time."""
    folder = checkpoint / "tokenizer"
    if not folder.exists():
        rng = random.Random(f"{seed}/tokenizer")
        build_tokenizer([caption(random_scene(rng), rng) for _ in range(20_000)]).save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


@torch.no_grad()
def latents_for(vae: AutoencoderKL, checkpoint: Path, device: str, seed: int) -> dict:
    """Scenes with the mean and deviation of their latents, float [SCENES, *LATENTS], made once and kept."""
    path, rng = checkpoint / "latents.pt", random.Random(f"{seed}/latents")
    scenes = [random_scene(rng) for _ in range(SCENES)]
    if not path.exists():
        found = [
            vae.encode(to_signal(pictures(scenes[i : i + 64])).to(device)).latent_dist for i in range(0, SCENES, 64)
        ]
        store(path, {"mean": torch.cat([d.mean for d in found]).cpu(), "std": torch.cat([d.std for d in found]).cpu()})
    kept = torch.load(path, weights_only=True)
    return {"scenes": scenes, "scale": 1 / kept["mean"].std().item(), **kept}


def train_unet(latents: dict, text: CLIPTextModel, tokenizer: CLIPTokenizer, minutes: float, checkpoint: Path,
               device: str, seed: int, finish) -> None:  # fmt: skip
    """Train, or resume, the UNet to undo noise; `finish(unet)` gets the averaged weights now and then."""
    torch.manual_seed(seed)
    unet, path = build_unet().to(device), checkpoint / "unet.pt"
    budget, average, schedule = Budget(minutes), Average(unet, 0.998), build_scheduler()
    optimizers = split(unet, 0.01, 1e-3)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        unet.load_state_dict(state["unet"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        budget.spent, budget.steps = state["spent"], state["steps"]
    gauge, exported = Gauge("loss"), time.monotonic()

    def averaged() -> UNet2DConditionModel:
        copy = build_unet()
        copy.load_state_dict(average.weights)
        return copy.to(device).eval()

    def save() -> None:
        nonlocal exported
        store(path, {"unet": unet.state_dict(), "average": average.state(), "spent": budget.spent,
                     "steps": budget.steps, "optimizers": [o.state_dict() for o in optimizers]})  # fmt: skip
        if budget.fraction == 1 or time.monotonic() - exported > EXPORT_EVERY:
            exported = time.monotonic()
            finish(averaged())

    for step in steps(budget, "unet", save, gauge):
        set_rate(optimizers, budget.rate(1.0))
        rng = random.Random(f"{seed}/unet/{step}")
        chosen = [rng.randrange(SCENES) for _ in range(BATCH)]
        # one caption in ten is empty: that is what classifier-free guidance steers away from (Ho and Salimans, 2022)
        said = ["" if rng.random() < 0.1 else caption(latents["scenes"][i], rng) for i in chosen]
        with torch.no_grad():
            meaning = text(tokens(tokenizer, said).to(device)).last_hidden_state
        clean = latents["mean"][chosen] + latents["std"][chosen] * torch.randn(BATCH, *LATENTS)
        clean, noise = (clean * latents["scale"]).to(device), torch.randn(BATCH, *LATENTS).to(device)
        # evenly spread times make the loss far less noisy than independent ones
        times = ((torch.arange(BATCH) + torch.rand(BATCH)) / BATCH * 1000).long().to(device)
        keep = schedule.alphas_cumprod.to(device)[times].view(-1, 1, 1, 1)
        noisy, velocity = (
            keep.sqrt() * clean + (1 - keep).sqrt() * noise,
            keep.sqrt() * noise - (1 - keep).sqrt() * clean,
        )
        loss = F.mse_loss(unet(noisy, times, meaning).sample, velocity)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update(unet)
        gauge.add(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=70, help="training time, measurements and caches not counted")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder to resume from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished model goes")
    parser.add_argument(
        "--only", choices=("decoder", "unet"), help="leave the other of these two out: they can run at once"
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    folder, device, seed = options.checkpoint, options.device, options.seed
    minutes = {stage: share * options.minutes for stage, share in SHARES.items()}
    if (folder / "latents.pt").exists():  # more minutes now are the UNet's: its latents come from this VAE as it is
        minutes["vae"] = minutes["text"] = 0
    vae = train_vae(minutes["vae"], folder, device, seed)
    tokenizer = tokenizer_for(folder, seed)
    text = train_text(tokenizer, minutes["text"], folder, device, seed)
    latents = latents_for(vae, folder, device, seed)
    vae.register_to_config(scaling_factor=latents["scale"])
    if options.only != "unet":
        vae = train_decoder(vae, latents, minutes["decoder"], folder, device, seed)
    if options.only != "decoder":
        train_unet(latents, text, tokenizer, minutes["unet"], folder, device, seed,
                   lambda unet: export(assemble(vae, unet, text, tokenizer), options.weights))  # fmt: skip
    if options.only:
        return
    report(StableDiffusionPipeline.from_pretrained(options.weights, torch_dtype=torch.float32, local_files_only=True))


if __name__ == "__main__":
    main()
