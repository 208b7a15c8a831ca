"""Measure the ears on eSpeak's voices: word error of PocketSphinx as it comes, with the backend's noise floor, and with
the domain too, on the domain's own and on ordinary sentences.

python -m deployments.starter.ears.measure            # the tables of the README, three to eight minutes
python -m deployments.starter.ears.measure --choose   # what each margin would do, on other sentences and voices
python -m deployments.starter.ears.measure --sample   # which voice and speed of the sample sentences is heard best
"""

import argparse
import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from ... import audio
from ...speech_to_text import pocketsphinx as ears
from ...speech_to_text.word_error import word_errors
from ...text_to_speech.espeak import ESpeak
from .sentences import ORDINARY, unseen

WEIGHTS = Path(__file__).parent / "weights"
SURE = ears.DOMAIN_SURE
VOICES = {
    "choose": (
        "en-us+f3",
        "en-gb+m4",
        "en-us+m2",
        "en-us+m7",
        "en-us+f4",
        "en-us+m1",
        "en-us+f2",
        "en-gb+m1",
    ),
    "measure": ("en-us", "en-us+f2", "en-gb", "en-us+m3"),
}
WISHES = {"choose": 80, "measure": 90}
MARGINS = (0.0, 0.4, 0.8, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 2.0, 2.1, 2.2)  # of sureness
SAMPLE = ("a red circle on a blue background", "what can you do")  # serve_app/cli/demo.py
SAMPLE_VOICES = (
    "en-us",
    "en-us+f2",
    "en-us+f3",
    "en-us+f4",
    "en-us+f5",
    "en-us+Annie",
    "en-us+m3",
    "en-gb",
    "en-gb+f2",
)
SPEEDS = (0.8, 0.9, 1.0)


class Trial(NamedTuple):
    """One sentence as the three decoders heard it, utterance by utterance, and the seconds they took."""

    text: str
    voice: str
    seconds: float
    stock: str  # what PocketSphinx hears as it comes: the general decoder without the noise floor
    heard: list[tuple[ears._Heard, ears._Heard, ears._Heard]]  # general, the domain's first and second reading
    general_took: float
    domain_took: float

    def said(self, margin: float) -> str:
        """What the backend answers if it has to be so sure of the domain."""
        return " ".join((heard[1] if ears.sureness(*heard) > margin else heard[0]).text for heard in self.heard)


def error_rate(trials: Iterable[Trial], margin: float | None) -> float:
    """Word errors per word said: 0 is perfect, 1 is nothing right.

    A `margin` of infinity is the general model alone, None the same without the noise floor.
    """
    said = list(trials)
    heard = [trial.stock if margin is None else trial.said(margin) for trial in said]
    errors = sum(word_errors(trial.text, text) for trial, text in zip(said, heard, strict=True))
    return errors / sum(len(trial.text.split()) for trial in said)


def chosen(trials: Iterable[Trial], margin: float) -> float:
    """Share of utterances for which the domain was taken."""
    sure = [ears.sureness(*heard) for trial in trials for heard in trial.heard]
    return sum(one > margin for one in sure) / len(sure)


class Bench:
    """eSpeak beside the three decoders."""

    def __init__(self) -> None:
        pool = ears._Pool(ears.PocketSphinx.Options(domain="starter/ears"))
        made = pool._new()
        assert made.domain
        self.decoders = (made.general, *made.domain)
        self.mouth = ESpeak()
        asyncio.run(self.mouth.reconfigure(ESpeak.Options()))

    def trial(self, text: str, voice: str, speed: float = 1.0) -> Trial:
        spoken = asyncio.run(self.mouth.synthesize(text, voice=voice, speed=speed))
        samples = audio.decode(spoken, ears.RATE, dtype="int16")
        stock, heard, took = [], [], [0.0, 0.0]
        for start, end in ears._utterances(samples):
            stock.append(ears._decode(self.decoders[0], samples[start:end]).text)
            readings, filled = [], ears.with_floor(samples[start:end])
            for index, decoder in enumerate(self.decoders):
                begun = time.process_time()
                readings.append(ears._decode(decoder, filled))
                took[index > 0] += time.process_time() - begun
            heard.append(tuple(readings))
        return Trial(text, voice, len(samples) / ears.RATE, " ".join(stock), heard, *took)


def trials(bench: Bench, kind: str) -> tuple[list[Trial], list[Trial]]:
    """Sentences of the domain, and ordinary ones; voices take turns. `kind` is "choose" or "measure"."""
    known = frozenset(line.split()[0] for line in (WEIGHTS / "domain.dict").read_text().splitlines())
    own, voices = unseen(kind, known, WISHES[kind]), VOICES[kind]

    def spoken(texts: Sequence[str], what: str) -> list[Trial]:
        numbered = track(enumerate(texts), what, total=len(texts), console=Console(stderr=True))
        return [bench.trial(text, voices[index % len(voices)]) for index, text in numbered]

    return spoken(own, "wishes and questions"), spoken(ORDINARY[kind], "ordinary sentences")


def report(own: list[Trial], ordinary: list[Trial]) -> None:
    """Word error per voice, share of the domain, and seconds of computing per second of speech."""
    print("| | sentences | word error, stock | with the noise floor | with the domain too | domain taken |")
    print("|---|---|---|---|---|---|")
    for name, group in (("wishes and questions", own), ("ordinary sentences", ordinary)):
        for voice in (*VOICES["measure"], "all"):
            part = [trial for trial in group if voice in (trial.voice, "all")]
            rates = " | ".join(f"{error_rate(part, margin):.3f}" for margin in (None, float("inf"), SURE))
            print(f"| {name}, {voice} | {len(part)} | {rates} | {chosen(part, SURE):.2f} |")
    seconds = sum(trial.seconds for trial in own + ordinary)
    general = sum(trial.general_took for trial in own + ordinary) / seconds
    domain = sum(trial.domain_took for trial in own + ordinary) / seconds
    print(f"real-time factor: general {general:.2f}, domain besides {domain:.2f}")


def choose(own: list[Trial], ordinary: list[Trial]) -> None:
    """What each margin would do."""
    print("| margin | own: word error | domain taken | ordinary: word error | domain taken |\n|---|---|---|---|---|")
    for margin in (*MARGINS, float("inf")):
        cells = [f"{rate(group, margin):.3f}" for group in (own, ordinary) for rate in (error_rate, chosen)]
        print(f"| {margin} | {' | '.join(cells)} |")


def sample(bench: Bench) -> None:
    """The sample's two sentences by voice and speed: word errors, and what was heard where that was wrong."""
    for voice in SAMPLE_VOICES:
        for speed in SPEEDS:
            heard = [bench.trial(text, voice, speed).said(SURE) for text in SAMPLE]
            errors = sum(word_errors(text, said) for text, said in zip(SAMPLE, heard, strict=True))
            print(f"{voice} at {speed}: {errors} errors", *(["|", *heard] if errors else []), flush=True)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--sample", action="store_true")
    args, bench = parser.parse_args(), Bench()
    if args.sample:
        sample(bench)
    elif args.choose:
        choose(*trials(bench, "choose"))
    else:
        report(*trials(bench, "measure"))


if __name__ == "__main__":
    main()
