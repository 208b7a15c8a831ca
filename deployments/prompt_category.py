"""The category of a text, by its words: what a picture shows, or what a language model shall do. No network, so it
costs nothing and says the same each time.
"""

import re
from typing import Literal, get_args

Task = Literal[
    "small_talk", "medley", "picture_prompt", "story", "lesson", "code", "mathematics", "translation", "structured"
]
Subject = Literal[
    "portrait", "animal", "landscape", "architecture", "product", "food", "logo", "illustration", "abstract"
]
Category = Literal[Subject, Task, "general"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
TASKS: tuple[Task, ...] = get_args(Task)

# Beginnings of words (an asterisk) and whole words, those that hardly stand for anything else. `a_b` are two words.
WORDS: dict[Category, str] = {
    "portrait": "portrait* face faces headshot selfie woman man girl boy person people grandmother child bride",
    "animal": "animal* dog dogs cat cats horse* bird birds lion tiger fox wolf fish puppy kitten elephant* owl bear",
    "landscape": "landscape* mountain* sea ocean beach forest* field* valley river lake sunset sunrise desert sky",
    "architecture": "architect* building* house* skyscraper* interior* facade cathedral castle bridge* city street*",
    "product": "product* packshot bottle* watch sneaker* shoe* handbag* perfume advertis* catalog* mockup* packaging",
    "food": "food dish dishes meal* cake* bread pizza* soup fruit* coffee dessert* breakfast restaurant burger*",
    "logo": "logo* icon icons emblem* badge* monogram* brand branding typograph* lettering wordmark*",
    "illustration": "illustrat* cartoon* comic* manga anime sketch* drawing* watercolo* storybook vector painting*",
    "abstract": "abstract* geometr* fractal* pattern* circle* square* triangle* gradient* texture* shapes",
    "code": "code coding python javascript function* bug bugs compile* sql regex program* algorithm* script api",
    "mathematics": "math* equation* integral* derivative* theorem* prove proof calculate* algebra* probabilit* sum",
    "translation": "translat* french german spanish italian chinese japanese arabic russian english",
    "story": "story stories tale tales novel* chapter* poem* fairy narrat* plot character*",
    "lesson": "lesson lessons",
    "picture_prompt": "picture_prompt* image_prompt*",
    "medley": "medley* api_key* ray_serve webhook* who_are_you what_are_you what_can_you your_name about_yourself",
}
GREETINGS = "hello hi hey there good day morning evening how are you today thanks thank very much bye"
SMALL_TALK = frozenset(re.findall(r"\w+", GREETINGS))
_PATTERNS = {
    category: re.compile(r"\b(?:" + words.replace(" ", "|").replace("_", r"\s+").replace("*", r"\w*") + r")\b", re.I)
    for category, words in WORDS.items()
}


def category_of(text: str) -> Category:
    """The category most of whose words are in the text; of equals the one whose word comes first; else `general`."""
    return _best(text, tuple(WORDS))


def task_of(text: str) -> Category:
    """The same of what a text asks a language model to do: a story about a dog is a story, and no animal."""
    if (words := re.findall(r"\w+", text.lower())) and SMALL_TALK.issuperset(words):
        return "small_talk"
    return _best(text, tuple(task for task in TASKS if task in WORDS))


def _best(text: str, categories: tuple[Category, ...]) -> Category:
    best: tuple[int, int] = (0, 0)  # how many words, and how near the beginning the first is
    found: Category = "general"
    for category in categories:
        places = [match.start() for match in _PATTERNS[category].finditer(text)]
        if places and (len(places), -places[0]) > best:
            best, found = (len(places), -places[0]), category
    return found
