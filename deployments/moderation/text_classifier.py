"""Moderation by a network that was trained to tell kinds of harm apart."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from ..backend import Backend, Needs, in_thread, turn
from ..capabilities import Judgement, Judgements, Moderation
from ..errors import ModelUnavailable
from ..sequence_classifier import ClassifierOptions, SequenceClassifier, load_classifier
from ..texts import check_texts

SINGLE = "single_label_classification"  # transformers' word for labels of which a text has one


class TextClassifier(Backend, Moderation):
    """A classifier of texts in transformers' layout, such as unitary/toxic-bert or KoalaAI/Text-Moderation.

    Takes a folder or a hub name with safetensors; never pickles and never code that comes with weights. Its labels are
    the categories; `categories` gives them other names and leaves out those that mean no harm. Where the weights say
    that a text has one label, scores are the softmax of the outputs, else each is the sigmoid of its own. A text with
    more tokens than it reads at once is read in pieces, and has the highest score of any, so that nothing hides in a
    long text. What it finds is what it was trained on: try it on texts of your own before you rely on it.
    """

    class Options(ClassifierOptions):
        """Weights, what their labels mean, and from where on a text is flagged."""

        threshold: float = Field(0.5, gt=0, le=1, description="From this score on a text is flagged")
        thresholds: dict[str, float] = Field({}, description="The same of single categories")
        categories: dict[str, str] = Field(
            {}, description="The weights' labels with the names that callers see; by default all, by their own names"
        )

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=1)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another network beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, incomplete or pickled, or lack a label that is named.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def moderate(self, texts: list[str]) -> Judgements:
        engine = self._ready()
        check_texts(texts, "texts")
        return await in_thread(lambda cancelled: _judge(engine, texts, cancelled))

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("the moderation model is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """A loaded classifier, and what its outputs mean."""

    classifier: SequenceClassifier
    categories: Mapping[int, str]  # by output
    thresholds: Mapping[str, float]

    def judgement(self, scores: dict[str, float]) -> Judgement:
        beyond = [name for name in scores if scores[name] >= self.thresholds[name]]
        beyond.sort(key=lambda name: -scores[name])
        return Judgement(flagged=bool(beyond), categories=beyond, scores=scores)


def _judge(engine: _Engine, texts: list[str], cancelled: threading.Event) -> Judgements:
    classifier, read = engine.classifier, 0
    single = classifier.network.config.problem_type in (None, SINGLE) and classifier.network.config.num_labels > 1
    scores = [dict.fromkeys(engine.categories.values(), 0.0) for _ in texts]
    with turn(classifier.lock, cancelled.is_set):
        for piece, outputs in classifier.judged(texts, classifier.room(), cancelled):
            found = (outputs.softmax(0) if single else outputs.sigmoid()).tolist()
            known = scores[piece.text]
            known |= {name: max(known[name], found[output]) for output, name in engine.categories.items()}
            read += piece.tokens
    return Judgements(results=[engine.judgement(one) for one in scores], prompt_tokens=read)


def _load(options: TextClassifier.Options) -> _Engine:
    classifier = load_classifier(options)
    labels: dict[int, str] = classifier.network.config.id2label
    for label in options.categories:
        if label not in labels.values():
            raise ModelUnavailable(f"{options.weights} has no label {label!r}; there are: {', '.join(labels.values())}")
    named = options.categories or {label: label for label in labels.values()}
    categories = {output: named[label] for output, label in labels.items() if label in named}
    for category in options.thresholds:
        if category not in categories.values():
            known = ", ".join(categories.values())
            raise ModelUnavailable(f"{options.weights} has no category {category!r}; there are: {known}")
    thresholds = {name: options.thresholds.get(name, options.threshold) for name in categories.values()}
    return _Engine(classifier, categories, thresholds)
