"""What people say to the starter profile: sentences to learn from, and others, kept apart, to choose and to measure."""

import random
import re

from ..phrases import ask
from ..world import random_scene, wish
from ..writer.data import unanswerable, varied
from ..writer.facts import TOPICS
from ..writer.subjects import subject

TOPIC_NAMES = tuple(TOPICS)


def words(text: str) -> list[str]:
    """Lower-case words as a recogniser says them: "A red circle, please!" is a, red, circle, please."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).split()


def sentence(rng: random.Random) -> list[str]:
    """One sentence to learn from: a wish of the little world, of any other thing, a question, or small talk."""
    draw = rng.random()
    if draw < 0.45:
        return words(wish(random_scene(rng), rng))
    if draw < 0.80:
        questions, _ = TOPICS[rng.choice(TOPIC_NAMES)]
        return words(varied(rng.choice(questions[:-1]), rng))
    if draw < 0.92:
        return words(ask(subject(rng, held_out=rng.random() < 0.05), rng))
    return words(unanswerable(rng)[0])


def unseen(kind: str, known: frozenset[str], wishes: int) -> list[str]:
    """Wishes, most of held-out scenes, then held-out wordings of every other topic; `kind` is "choose" or "measure".

    Those with a word outside `known` are left out.
    """
    rng, said = random.Random(f"ears {kind}"), []
    while len(said) < wishes:
        text = words(wish(random_scene(rng, held_out=rng.random() < 0.85), rng))
        if known.issuperset(text):
            said.append(" ".join(text))
    topics = TOPIC_NAMES[0 if kind == "choose" else 1 :: 2]
    wordings = [words(TOPICS[topic][0][-1]) for topic in topics]
    return said + [" ".join(wording) for wording in wordings if known.issuperset(wording)]


# Ordinary speech, none of it about pictures or Medley: to choose the margin, and to measure.
ORDINARY = {
    "choose": (
        "my brother works in a bank near the station", "they decided to sell the old farm last summer",
        "the company reported higher profits this quarter", "she has been learning to play chess with her uncle",
        "we missed the bus because the alarm did not ring", "the doctor told him to rest for a few days",
        "most students finish their homework before dinner", "there was a long line outside the post office",
        "the government will announce the budget on thursday", "he forgot his umbrella on the train again",
        "the kitchen smells of fresh bread and coffee", "nobody knew where the noise was coming from",
        "i want to visit my grandmother in the spring", "could you please close the window before you leave",
        "the police are looking for two witnesses", "our team lost the final by a single point",
        "can i have a glass of water with some ice", "please call me when you arrive at the airport",
        "how do you get to the museum from here", "the big dog was sleeping in front of the house",
    ),
    "measure": (
        "the meeting has been moved to next tuesday", "he spent the whole afternoon reading the newspaper",
        "scientists have found water under the surface of the planet", "my sister is getting married in september",
        "the price of oil fell again on monday", "it was raining so hard that we stayed at home",
        "the children were playing football behind the school", "you should take an earlier flight to chicago",
        "the bank refused to lend them any more money", "a large number of people came to the concert",
        "she asked me whether i had seen her keys", "the president will speak to the nation tonight",
        "we need to buy some milk and a loaf of bread", "there is nothing interesting on television this evening",
        "the road to the village is closed because of snow", "how long have you been waiting for the train",
        "i would like to speak to the manager please", "can you help me carry this table up the stairs",
        "what did you have for breakfast this morning", "the new law protects workers and their families",
    ),
}  # fmt: skip
