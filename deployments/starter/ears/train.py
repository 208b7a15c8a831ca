"""Count a trigram language model of what people say to the starter profile. Seeded; takes some seconds.

    python -m deployments.starter.ears.train

Writes ears/weights/domain.lm (ARPA) and domain.dict (those words' lines of PocketSphinx's own dictionary, so that a
decoder for the domain loads in a tenth of a second instead of five).
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from .sentences import sentence

WEIGHTS = Path(__file__).parent / "weights"
SENTENCES = 60_000
DISCOUNT = 0.5  # taken off every count, for what was never seen (absolute discounting, Ney et al. 1994)
RARE_WORD = 5  # sentences with words drawn less often are left out: invented nouns that happen to be words
RARE_TRIGRAM = 2  # trigrams seen less often are left to the bigrams: half the file, nothing lost on unseen wishes

Gram = tuple[str, ...]


def dictionary() -> dict[str, list[str]]:
    """PocketSphinx's US English dictionary: every word's lines, one for each way to say it."""
    import pocketsphinx

    lines = defaultdict(list)
    for line in Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_text().splitlines():
        lines[line.split()[0].split("(")[0]].append(line)
    return lines


def counted(sentences: Iterable[list[str]]) -> list[Counter[Gram]]:
    """How often each run of one, two and three words occurs; sentences begin with <s> and end with </s>."""
    counts: list[Counter[Gram]] = [Counter(), Counter(), Counter()]
    for said in sentences:
        marked = ["<s>", *said, "</s>"]
        for order, counter in enumerate(counts, 1):
            counter.update(tuple(marked[at : at + order]) for at in range(len(marked) - order + 1))
    counts[2] = Counter({gram: count for gram, count in counts[2].items() if count >= RARE_TRIGRAM})
    return counts


def probabilities(counts: list[Counter[Gram]]) -> tuple[list[dict[Gram, float]], dict[Gram, float]]:
    """Each gram's probability given the words before its last, per order, and each history's back-off weight."""
    total = sum(count for gram, count in counts[0].items() if gram != ("<s>",))
    known = [{gram: count / total for gram, count in counts[0].items() if gram != ("<s>",)}]
    back_off: dict[Gram, float] = {}
    for order in (1, 2):
        known.append({gram: (count - DISCOUNT) / counts[order - 1][gram[:-1]] for gram, count in counts[order].items()})
        taken, lower = Counter(), Counter()
        for gram, probability in known[order].items():
            taken[gram[:-1]] += probability
            lower[gram[:-1]] += known[order - 1][gram[1:]]
        for history in taken:
            back_off[history] = max(1e-7, 1 - taken[history]) / max(1e-7, 1 - lower[history])
    return known, back_off


def arpa(counts: list[Counter[Gram]]) -> str:
    """The model as an ARPA file: base-10 logarithms of probabilities and of back-off weights."""
    known, back_off = probabilities(counts)
    known[0]["<s>",] = 1e-99
    lines = ["\\data\\", *(f"ngram {order}={len(grams)}" for order, grams in enumerate(known, 1))]
    for order, grams in enumerate(known, 1):
        lines += ["", f"\\{order}-grams:"]
        for gram, probability in sorted(grams.items()):
            weight = f"\t{math.log10(back_off.get(gram, 1)):.3f}" if order < 3 else ""
            lines.append(f"{math.log10(probability):.3f}\t{' '.join(gram)}{weight}")
    return "\n".join([*lines, "", "\\end\\", ""])


def main() -> None:
    """Build, write, and say what was left out."""
    spoken, rng = dictionary(), random.Random("ears")
    drawn = [sentence(rng) for _ in range(SENTENCES)]
    often = {word for word, count in Counter(word for said in drawn for word in said).items() if count >= RARE_WORD}
    kept = [said for said in drawn if often.issuperset(said) and spoken.keys() >= set(said)]
    missing = Counter(word for said in drawn for word in said if word not in spoken)
    counts = counted(kept)
    WEIGHTS.mkdir(exist_ok=True)
    (WEIGHTS / "domain.lm").write_text(arpa(counts))
    vocabulary = sorted({word for said in kept for word in said})
    (WEIGHTS / "domain.dict").write_text("".join(f"{line}\n" for word in vocabulary for line in spoken[word]))
    print(f"{len(kept)} of {SENTENCES} sentences, {len(vocabulary)} words, {[len(grams) for grams in counts]} grams")
    print("not in the dictionary, most frequent first:", *[word for word, _ in missing.most_common(40)])


if __name__ == "__main__":
    main()
