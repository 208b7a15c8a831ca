"""The words around a subject: how people ask for a picture, and what a picture prompt adds to it.

Shared by the writer (which learns to add these words) and the painter (which learns not to be misled by them), so
that what one says the other has seen. Nothing here names a colour, a shape or a background of the little world.
"""

import random

LEADS = (
    "", "", "", "", "paint me ", "paint ", "draw ", "draw me ", "please paint ", "i want ", "i would like ", "show me ",
    "can you paint ", "could you draw ", "make a picture of ", "a picture of ", "make me ", "i'd like to see ",
    "give me ", "please draw me ", "create ", "generate an image of ", "let me see ", "how about ", "imagine ",
    "i wish for ", "an image of ", "can i have ", "paint a picture of ", "please make ", "we need ",
)  # fmt: skip
TAILS = ("", "", "", "", "", "", " please", ", please", " for me", " if you can", " thank you", " now", " for my wall")

LIGHT = (
    "soft light", "warm light", "gentle morning light", "low evening light", "dramatic light", "bright daylight",
    "diffuse light", "clear light", "studio light", "quiet light", "crisp light", "even light", "rim light",
)  # fmt: skip
COMPOSITION = (
    "centred composition", "balanced composition", "simple composition", "calm composition", "minimal composition",
    "clean composition", "wide composition", "close composition", "plenty of space around it", "strong composition",
    "symmetrical composition", "careful framing",
)  # fmt: skip
STYLE = (
    "oil painting", "watercolour", "flat illustration", "screen print", "gouache", "paper cut-out", "pastel drawing",
    "poster art", "ink and wash", "digital painting", "children's book illustration", "linocut", "acrylic painting",
    "pencil drawing", "3d render", "photograph", "comic book", "pixel art", "art deco", "impressionist painting",
)  # fmt: skip
DETAIL = ("highly detailed", "fine texture", "sharp focus", "clean edges", "subtle grain", "rich texture", "8k")


def ask(subject: str, rng: random.Random) -> str:
    """What a person says to get a picture of `subject`; the subject itself is kept word for word."""
    return rng.choice(LEADS) + subject + rng.choice(TAILS)


def expand(rng: random.Random, style: str | None = None) -> str:
    """Light, composition and style, comma separated, in that order: what the writer adds behind a subject."""
    parts = [rng.choice(LIGHT), rng.choice(COMPOSITION), style or rng.choice(STYLE)]
    if rng.random() < 0.25:
        parts.append(rng.choice(DETAIL))
    return ", ".join(parts)
