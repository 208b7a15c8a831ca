"""Generated chats the writer learns from: picture prompts, stories, lessons, questions, small talk, and not knowing."""

import random
from typing import NamedTuple

from ..phrases import STYLE, ask, expand
from ..world import describe, random_scene
from .facts import TOPICS, UNANSWERABLE, UNKNOWN
from .subjects import ADJECTIVES, made_up, noun, subject
from .tales import KINDS, tell

REQUEST = "Write a picture prompt for: "
SYSTEMS = (
    "You are a helpful assistant.", "You write prompts for a picture generator.", "You are Medley's writer.",
    "Answer briefly.", "You turn wishes into picture prompts. Answer with the prompt only.", "Be kind and short.",
    "You are an assistant that improves prompts for an image model.",
)  # fmt: skip
STYLE_EXTRA = ("soft", "bold", "dark", "vintage", "dreamy", "baroque", "cubist", "minimal", "retro", "gothic", "modern")


def picture(rng: random.Random, held_out: bool = False) -> tuple[str, str, str]:
    """A request, its picture prompt, and the subject inside both. Half the subjects are scenes, half anything else."""
    scene = rng.random() < 0.5
    thing = describe(random_scene(rng, held_out), rng) if scene else subject(rng, held_out)
    said = ask(thing, rng)
    if rng.random() < 0.3:  # people write capitals and full stops, speech recognition does not
        said = said[0].upper() + said[1:] + rng.choice((".", "", "!"))
    style = None
    request = REQUEST + said
    if rng.random() < 0.35:
        style = rng.choice(STYLE) if rng.random() < 0.6 else f"{rng.choice(STYLE_EXTRA)} {rng.choice(STYLE)}"
        if rng.random() < 0.15:
            style = made_up(rng)
        request += f" Style: {style}" + rng.choice(("", "", "."))
    kept = (
        thing[0].upper() + thing[1:]
        if said[: len(thing)] != thing and said.startswith(thing[0].upper() + thing[1:])
        else thing
    )
    return request, f"{kept}, {expand(rng, style)}", kept


def varied(text: str, rng: random.Random) -> str:
    """The same question as different people type or say it."""
    draw = rng.random()
    if draw < 0.15:
        text = (
            rng.choice(("please ", "hey ", "can you tell me ", "tell me ", "so ", "i want to know ", "hello ", "um "))
            + text
        )
    if rng.random() < 0.45:
        text = text[0].upper() + text[1:].replace(" i ", " I ").replace("medley", "Medley").replace("openai", "OpenAI")
        text = text.replace("api", "API").replace("gpu", "GPU")
    return text + rng.choice(("", "", "?", "?", ".", "!", " please"))


def slipped(text: str, rng: random.Random) -> str:
    """Sometimes one letter lost, doubled or swapped: typing is not perfect."""
    if rng.random() > 0.1 or len(text) < 8:
        return text
    at = rng.randrange(2, len(text) - 1)
    return text[:at] + rng.choice(("", text[at] * 2, text[at + 1 : at + 2] + text[at])) + text[at + 1 :]


def question(rng: random.Random) -> tuple[str, str]:
    """A question about Medley or small talk, and an answer; the last question of each topic is never asked here."""
    questions, answers = TOPICS[rng.choice(list(TOPICS))]
    return slipped(varied(rng.choice(questions[:-1]), rng), rng), rng.choice(answers)


def unanswerable(rng: random.Random) -> tuple[str, str]:
    """A question, a remark or noise the writer has no answer to, and its plain "I don't know"."""
    form = rng.choice(UNANSWERABLE)
    text = form.format(n=noun(rng), m=noun(rng), N=made_up(rng) if rng.random() < 0.8 else noun(rng),
                       a=rng.choice(ADJECTIVES),
                       y=rng.randint(1000, 2030), x=rng.randint(1, 99), z=rng.randint(1, 99))  # fmt: skip
    return varied(text, rng), rng.choice(UNKNOWN)


class Turn(NamedTuple):
    """One user message, its answer, and what the answer has to copy from it ("" for nothing)."""

    asked: str
    answered: str
    copied: str = ""


def turn(rng: random.Random, tales: float) -> Turn:
    """Prompts are two thirds of what is no story or lesson, because copying is what takes longest to learn."""
    if rng.random() < tales:
        tale = tell(KINDS[rng.choice(list(KINDS))], rng)
        return Turn(tale.request, tale.answer, tale.subject)
    draw = rng.random()
    if draw < 0.64:
        return Turn(*picture(rng))
    return Turn(*question(rng)) if draw < 0.88 else Turn(*unanswerable(rng))


def chat(rng: random.Random, tales: float = 0.15) -> tuple[str | None, list[Turn]]:
    """A system message or none, and one to three turns; `tales`: the share of stories and lessons among them."""
    turns = [turn(rng, tales) for _ in range(rng.choices((1, 2, 3), (0.7, 0.2, 0.1))[0])]
    systems = [*SYSTEMS, *(kind.system for kind in KINDS.values() if turns[0].asked.startswith(kind.asked[:8]))]
    return (rng.choice((*SYSTEMS, *systems[len(SYSTEMS) :] * 10)) if rng.random() < 0.35 else None), turns
