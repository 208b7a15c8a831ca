"""Subjects outside the little world of shapes, so that the writer learns to copy a wish and not to know a list.

A third of the nouns are made up from syllables and a third drawn from a dictionary of a hundred thousand words: no
weight can remember them, so the only way to be right is to copy.
"""

import random
from functools import cache
from pathlib import Path

from ..phrases import COMPOSITION, LIGHT, STYLE

NOUNS = (  # noqa: SIM905
    "fox cat dog horse owl whale dragon rabbit bear tiger lion elephant penguin parrot turtle frog bee butterfly "
    "spider wolf deer swan duck goose sheep cow goat pig mouse squirrel hedgehog dolphin shark octopus crab lobster "
    "camel zebra giraffe monkey panda koala kangaroo eagle raven robin peacock flamingo snail snake lizard dinosaur "
    "unicorn robot knight wizard witch pirate king queen princess child girl boy woman man farmer baker dancer singer "
    "painter sailor astronaut soldier teacher doctor ghost angel mermaid giant fairy monk gardener fisherman clown "
    "acrobat castle tower house cottage church temple bridge windmill lighthouse barn palace hut city village town "
    "street market garden park forest wood jungle desert beach island river lake waterfall pond mountain hill valley "
    "canyon cave volcano glacier meadow harbour ocean sea sky cloud storm rainbow snow rain fog moon sun planet comet "
    "galaxy tree oak pine palm rose tulip sunflower daisy lily orchid cactus mushroom leaf apple pear orange banana "
    "lemon cherry grape melon peach pineapple tomato carrot pumpkin bread cake cheese egg soup tea coffee wine bottle "
    "cup bowl plate spoon knife table chair sofa bed lamp candle mirror clock window door key book letter map flag "
    "painting piano guitar violin drum trumpet car bus train tram truck bicycle motorcycle boat ship sailboat canoe "
    "submarine airplane helicopter rocket balloon kite umbrella hat coat dress shoe boot glove ring crown necklace "
    "sword shield bow anchor wheel gear machine engine computer telephone camera telescope microscope laptop bridge "
    "fountain statue bench fence gate wall roof staircase chimney ladder rope tent lantern fire campfire smoke ice "
    "stone crystal diamond feather shell pearl "
).split()
ADJECTIVES = (  # noqa: SIM905
    "old young small big tiny huge tall short wide narrow red green blue yellow purple orange pink brown grey white "
    "black golden silver bright dark happy sad sleepy angry brave shy lonely quiet loud wild calm wet dry frozen "
    "burning broken shiny dusty rusty wooden glass stone paper iron striped spotted fluffy hairy round flat strange "
    "magical ancient modern futuristic lovely ugly clever lazy hungry dancing flying sleeping running smiling jumping "
    "singing empty full "
).split()
RELATIONS = (
    "in the", "on the", "under the", "beside the", "near the", "in front of the", "behind the", "on a", "under a",
    "with a", "in a", "next to a", "over the", "between the", "above the", "inside a", "riding a", "holding a",
    "looking at a",
)  # fmt: skip
WHENS = (
    "at night",
    "in the rain",
    "in winter",
    "in spring",
    "at dawn",
    "at dusk",
    "in the fog",
    "in autumn",
    "by moonlight",
    "in summer",
)
_ONSETS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl sh st th tr ch qu sk sp wh kn".split()  # noqa: SIM905
_VOWELS = "a e i o u ai ea ee oo ou ar er or ay".split()  # noqa: SIM905
_CODAS = ["", "", "", *"n r l t s k m d p ck ng st nd sh th x ll".split()]  # noqa: SIM905
# never in training
TEST_NOUNS = frozenset(("owl", "lighthouse", "whale", "sailboat", "violin", "penguin", "cactus", "robot"))
ENDS = [noun for noun in NOUNS if noun not in TEST_NOUNS]
PARTS = [
    *ENDS,
    *ADJECTIVES,
    *sorted({word for phrase in (*LIGHT, *COMPOSITION, *STYLE) for word in phrase.split() if word.isalpha()}),
]


def made_up(rng: random.Random) -> str:
    """A word that is in no dictionary, of one to three syllables."""
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((1, 2, 2, 3)))
    )


def compound(rng: random.Random) -> str:
    """Two known words as one, such as "starbread": words that otherwise only stand alone are copied as parts too."""
    return rng.choice(PARTS) + rng.choice(ENDS)


@cache
def dictionary() -> list[str]:
    """Words of three to twelve letters from PocketSphinx's dictionary (CMUdict), without those kept from training."""
    import pocketsphinx

    lines = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_text().splitlines()
    words = {line.split()[0] for line in lines}
    held_out = TEST_NOUNS | {noun + "s" for noun in TEST_NOUNS}
    return sorted(w for w in words if w.isascii() and w.isalpha() and 3 <= len(w) <= 12 and w not in held_out)


def noun(rng: random.Random, held_out: bool = False) -> str:
    """A thing: of the list, of the dictionary, or invented; `held_out`: one kept from training."""
    if held_out:
        return rng.choice(sorted(TEST_NOUNS))
    draw = rng.random()
    if draw < 0.12 and (word := compound(rng)) not in TEST_NOUNS:
        return word
    if draw < 0.67:
        return made_up(rng) if draw < 0.36 else rng.choice(dictionary())
    while (word := rng.choice(NOUNS)) in TEST_NOUNS:
        pass
    return word


def subject(rng: random.Random, held_out: bool = False) -> str:
    """A thing with perhaps qualities, a place and a time: "an old fox under a bridge at dawn"."""

    def thing() -> str:
        words = [rng.choice(ADJECTIVES) for _ in range(rng.choice((0, 0, 1, 1, 1, 2)))]
        return " ".join([*words, noun(rng, held_out)])

    def with_article(words: str) -> str:
        return rng.choice(
            (("an " if words[0] in "aeiou" else "a ") + words,) * 4 + ("the " + words, words, "two " + words + "s")
        )

    text = with_article(thing())
    if rng.random() < 0.65:
        text += f" {rng.choice(RELATIONS)} {thing()}"
    if rng.random() < 0.12:
        text += f" and {with_article(thing())}"
    if rng.random() < 0.2:
        text += " " + rng.choice(WHENS)
    return text
