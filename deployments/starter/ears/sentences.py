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
        "the train to the north leaves in ten minutes",
        "my father never learned how to swim",
        "the store on the corner sells fresh fruit and flowers",
        "we watched a long movie about the war last night",
        "the teacher asked the class to open their books",
        "his car broke down in the middle of the highway",
        "they have lived in the same apartment for thirty years",
        "the weather was warmer than anybody expected",
        "she wrote a letter to her cousin in australia",
        "the hospital needs more nurses and doctors",
        "nobody answered the phone when i called you",
        "the old bridge across the river was repaired in june",
        "you can leave your coat and bag in the hall",
        "the market opened higher this morning after the news",
        "he drinks two cups of tea before going to work",
        "our neighbors are building a new garage",
        "the boy fell off his bicycle and hurt his knee",
        "a group of tourists stood in front of the cathedral",
        "the director of the museum answered all our questions",
        "it takes about an hour to drive to the coast",
        "most of the money was spent on new machines",
        "the farmers are worried about the dry summer",
        "her husband works for a large insurance company",
        "i have not seen my best friend since christmas",
        "the judge decided that the man was not guilty",
        "they played cards until late in the evening",
        "please put the dishes back in the cupboard",
        "the results of the election will be known tomorrow",
        "the soup was too hot so we waited a little",
        "students from many countries study at this university",
        "the airport was closed because of the fog",
        "he promised to pay the money back by friday",
        "the baby cried for most of the night",
        "we are going to paint the bedroom next week",
        "could i speak to somebody about my bill",
        "the cat jumped onto the table and knocked over a glass",
        "there were more than two hundred people at the wedding",
        "the river rose by three feet after the storm",
        "i think we should ask your mother first",
        "the ship will reach the harbor before noon",
        "what time does the library close on saturday",
        "do you remember the name of that restaurant",
        "where did you put the keys to the garage",
        "why was the meeting cancelled at the last minute",
        "who is going to take care of the garden",
        "the lights went out and everybody was silent",
        "my grandfather told us stories about his childhood",
        "the engine makes a strange noise when it is cold",
        "people in the city use the bus more than before",
        "he opened the door and walked slowly into the room",
        "the new manager wants to change everything",
        "she bought a pair of black shoes and a blue dress",
        "the white house refused to comment on the report",
        "the green party won three more seats",
        "there is a small red car parked outside",
        "he kicked the ball over the fence into the yard",
        "they met on a sunday afternoon in the park",
        "the square was full of people waiting for the singer",
        "the star of the show signed our programs",
        "a thick yellow fog covered the whole valley",
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
