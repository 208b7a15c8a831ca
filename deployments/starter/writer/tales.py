"""Stories told in scenes and lessons taught in points: a numbered line each, so that a graph can take them apart.

Every line names the subject word for word: a graph may paint each scene alone. What the lines say beside it is general
(the writer knows nothing of foxes), and in the past tense or the imperative, which fit one fox and two.
"""

import random
import re
from typing import NamedTuple

from ..world import describe, random_scene
from .subjects import subject

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}
USUAL = 3  # scenes or points where nobody said how many


class Kind(NamedTuple):
    """A story or a lesson: its unit, how it is asked for (first the graphs' own words), and what its lines say."""

    unit: str
    system: str
    asked: str
    asked_freely: tuple[str, ...]
    asked_shortly: tuple[str, ...]  # without a number: USUAL
    first: tuple[str, ...]
    between: tuple[str, ...]
    last: tuple[str, ...]


STORY = Kind(
    "Scene",
    "You tell stories. Answer with one line for each scene and nothing else, such as: Scene 1 of 3: what is seen.",
    "Tell a story of {n} scenes about: {s}",
    ("tell me a story about {s} in {n} scenes", "write a story of {n} scenes about {s}",
     "a story about {s}, {n} scenes",
     "tell a story of {n} scenes about {s}"),
    ("tell me a story about {s}", "write a story about {s}", "tell a story about {s}", "a story about {s} please"),
    ("Early one morning {s} woke to a golden light.", "Once upon a time there lived, far away, {s}.",
     "At dawn the first light fell on {s}.", "Long ago everybody spoke of {s}.",
     "On a quiet day nobody had yet seen {s}.", "High above the clouds a bird looked down on {s}."),
    ("Then a storm came up around {s}.", "On the way a stranger smiled at {s}.",
     "Behind a hill a secret door opened for {s}.", "At noon the sun burned above {s}.",
     "A long shadow crept towards {s}.", "By a river the wind sang to {s}.",
     "In the forest fireflies danced around {s}.", "Suddenly a loud noise frightened {s}.",
     "Children from the village waved to {s}.", "A kind old woman brought bread to {s}.",
     "Through the fog a bell called {s}.", "For a while the whole world forgot {s}.",
     "Snow began to fall on {s}.", "A small boat carried {s} across the lake.",
     "In the light of the moon a song was heard by {s}.", "From a tower a lantern shone on {s}."),
    ("In the end everybody celebrated {s}.", "At sunset peace came back to {s}.",
     "Under the stars the world was good to {s}.", "And since that day people tell of {s}.",
     "At last a warm home was found for {s}.", "When night fell all lights shone for {s}."),
)  # fmt: skip
LESSON = Kind(
    "Point",
    "You are a teacher. Answer with one line for each point and nothing else, such as: Point 1 of 3: what to know.",
    "Teach a lesson of {n} points about: {s}",
    ("teach me about {s} in {n} points", "a lesson of {n} points on {s}", "give me {n} points about {s}",
     "write a lesson of {n} points about {s}"),
    ("teach me about {s}", "give me a lesson about {s}", "a lesson about {s} please", "write a lesson about {s}"),
    ("Begin with what you already know about {s}.", "First look closely and for a whole minute at {s}.",
     "Start by saying in one sentence what comes to mind with {s}.",
     "Before anything else write down why you care about {s}.",
     "Begin by finding a good picture of {s}."),
    ("Name three things that everybody can see in {s}.", "Compare with something you know well: {s}.",
     "Ask who knows most about {s}.", "Find out where people meet {s}.", "Draw from memory, then check: {s}.",
     "Write down one question nobody has answered for you about {s}.", "Read two different texts about {s}.",
     "Think of a world without {s}.", "Explain in your own words to a friend: {s}.",
     "Look for what changes with time in {s}.", "Note what surprised you most about {s}.",
     "Try it yourself, slowly and with care: {s}."),
    ("Finish by telling somebody what you have learned about {s}.", "In the end write five lines about {s}.",
     "Last, come back in a week and ask yourself again about {s}.",
     "To end, choose what you want to learn next about {s}."),
)  # fmt: skip
KINDS = {"story": STORY, "lesson": LESSON}


class Tale(NamedTuple):
    """A request, the lines that answer it, what every line names, and how many lines there are."""

    request: str
    answer: str
    subject: str
    count: int


def tell(kind: Kind, rng: random.Random, held_out: bool = False) -> Tale:
    """A story or a lesson of one to eight lines. Held out, it is asked for as the graphs do, about unseen nouns."""
    about = subject(rng, held_out) if held_out or rng.random() < 0.85 else describe(random_scene(rng), rng)
    count = rng.choices(range(1, 9), (1, 2, 3, 3, 3, 3, 2, 2))[0]
    draw = 0.0 if held_out else rng.random()
    if draw < 0.6:
        request = kind.asked.format(n=count, s=about)
    elif draw < 0.85:
        request = rng.choice(kind.asked_freely).format(n=rng.choice((count, NUMBERS[count])), s=about)
    else:
        count, request = USUAL, rng.choice(kind.asked_shortly).format(s=about)
    if draw >= 0.6 and rng.random() < 0.3:
        request = request[0].upper() + request[1:] + rng.choice((".", "", "!"))
    middle = rng.sample(kind.between, max(0, count - 2))
    said = [rng.choice(kind.first), *middle, rng.choice(kind.last)][:count]
    lines = [f"{kind.unit} {k} of {count}: {line.format(s=about)}" for k, line in enumerate(said, 1)]
    return Tale(request, "\n".join(lines), about, count)


def well_formed(kind: Kind, text: str, count: int) -> bool:
    """Whether `text` is exactly `count` lines, numbered in order, none empty."""
    lines = text.split("\n")
    return len(lines) == count and all(
        re.fullmatch(rf"{kind.unit} {k} of {count}: \S.*", line) for k, line in enumerate(lines, 1)
    )
