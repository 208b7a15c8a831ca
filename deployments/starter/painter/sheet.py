"""Paint the contact sheet of the README: these prompts, one seed, nothing chosen or left out.

python -m deployments.starter.painter.sheet
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import Swin2SRForImageSuperResolution

from ...backend import STARTER
from ..upscaler.model import enlarge
from .measure import paint

PROMPTS = (
    "a red circle on a blue background", "two yellow stars on black", "a small green triangle at the top",
    "three white balls on purple", "a huge orange square on the left, on white", "a tiny black star on yellow",
    "a purple disc on a green background on the right", "a blue background with a white triangle at the bottom",
    "three emerald boxes at the bottom on orange", "a pair of red triangles on white", "a large crimson star on azure",
    "a golden circle against a black background, soft light, centred composition, oil painting",
    "the sea", "snowy mountains", "a starry night", "a glowing sunset", "a meadow", "a city skyline",
    "please paint me a small violet circle", "one orange star near the top on purple", "a row of three blue circles",
    "a green square on red", "two black boxes on yellow at the top", "a fox in the snow",
)  # fmt: skip
COLUMNS, SIDE = 8, 128


def main() -> None:
    """Write sheet.png beside this file, row by row in the order of PROMPTS."""
    folder = STARTER / "painter" / "weights"
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    upscaler = Swin2SRForImageSuperResolution.from_pretrained(
        STARTER / "upscaler" / "weights" / "x2", dtype="float32"
    ).eval()
    painted = [np.asarray(picture) for picture in paint(pipeline, list(PROMPTS))]
    whole = Image.new("RGB", ((SIDE + 2) * COLUMNS, (SIDE + 2) * -(-len(painted) // COLUMNS)), "grey")
    for number, picture in enumerate(painted):
        at = (number % COLUMNS * (SIDE + 2) + 1, number // COLUMNS * (SIDE + 2) + 1)
        whole.paste(Image.fromarray(enlarge(upscaler, picture)), at)
    whole.save(Path(__file__).parent / "sheet.png", optimize=True)


if __name__ == "__main__":
    main()
