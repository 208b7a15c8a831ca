"""Measure the writer: do a wish's words survive, and are questions answered from the right topic."""

import random
import time

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .data import picture, unanswerable
from .facts import TOPICS, UNKNOWN
from .tales import KINDS, tell, well_formed

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}

SAMPLES = (
    "who are you", "What can Medley do?", "does medley run on a laptop", "what happens to my job if the server crashes",
    "how do i get an api key", "can I use the OpenAI client with Medley?", "what is ray serve", "can you make a video",
    "what is a mask", "can it turn a photo into a painting", "can it write text", "hello", "thank you very much",
    "how are you today", "what is the capital of france", "Write a picture prompt for: a fox in the snow",
    "Write a picture prompt for: my grandmother drinking tea", "Tell a story of 3 scenes about: an old lighthouse",
    "Write a picture prompt for: a steam train crossing a bridge in winter", "teach me about volcanoes",
    "Write a picture prompt for: three small red stars on black Style: 3d render", "tell me a story about a dragon",
)  # fmt: skip


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    temperature: float = 0.0,
    max_tokens: int = 96,
) -> str:
    """The writer's next message; temperature 0 is greedy."""
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    ).to(model.device)
    inputs.pop("token_type_ids", None)
    how = (
        {"do_sample": True, "temperature": temperature, "top_p": 0.9}
        if temperature
        else {"do_sample": False, "temperature": None, "top_p": None}
    )
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=max_tokens, **how)
    return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def wishes_kept(
    model, tokenizer, count: int = 200, seed: str = "held out", temperature: float = 0.0
) -> dict[str, float]:
    """Shares of held-out wishes whose subject survives word for word, and of single subject words that do.

    Half are scenes in combinations never trained on, half have nouns never trained on.
    """
    rng, whole, words, total = random.Random(seed), 0, 0, 0
    for _ in range(count):
        request, _, subject = picture(rng, held_out=True)
        said = answer(model, tokenizer, [{"role": "user", "content": request}], temperature).lower()
        parts = subject.lower().replace(",", "").split()
        kept = sum(part in said.replace(",", "").split() for part in parts)
        whole, words, total = whole + (kept == len(parts)), words + kept, total + len(parts)
    return {"wishes with every subject word": whole / count, "subject words kept": words / total}


def questions_right(model, tokenizer, seed: str = "held out") -> dict[str, float]:
    """Share of questions answered from the right topic: each topic's unseen paraphrase, and 100 unanswerable ones."""
    rng = random.Random(seed)
    known = [
        answer(model, tokenizer, [{"role": "user", "content": q[-1]}]) in answers for q, answers in TOPICS.values()
    ]
    unknown = [
        answer(model, tokenizer, [{"role": "user", "content": unanswerable(rng)[0]}]) in UNKNOWN for _ in range(100)
    ]
    return {
        "unseen paraphrases answered": sum(known) / len(known),
        "unanswerable declined": sum(unknown) / len(unknown),
    }


def tales_told(model, tokenizer, count: int = 100, seed: str = "held out") -> dict[str, float]:
    """Of so many stories and as many lessons about unseen nouns: shares of well formed ones, and of lines that name
    their subject word for word. Asked for as the graphs ask, with their system message every other time."""
    found = dict[str, float]()
    for name, kind in KINDS.items():
        rng, formed, named, lines = random.Random(f"{seed}/{name}"), 0, 0, 0
        for number in range(count):
            tale = tell(kind, rng, held_out=True)
            system = [{"role": "system", "content": kind.system}] if number % 2 else []
            asked = [*system, {"role": "user", "content": tale.request}]
            text = answer(model, tokenizer, asked, max_tokens=60 * tale.count)
            formed += well_formed(kind, text, tale.count)
            named += sum(tale.subject in line for line in text.split("\n"))
            lines += tale.count
        found |= {f"{name} well formed": formed / count, f"{name} lines that name the subject": named / lines}
    return found


def speed(model, tokenizer, tokens: int = 200) -> float:
    """Tokens per second of one stream, this process's threads."""
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    start = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            inputs["input_ids"], attention_mask=inputs["attention_mask"], min_new_tokens=tokens, max_new_tokens=tokens
        )
    return tokens / (time.perf_counter() - start)


def report(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Print every measurement and fifteen sample answers; returns the measurements."""
    found = (
        wishes_kept(model, tokenizer)
        | questions_right(model, tokenizer)
        | tales_told(model, tokenizer)
        | {"tokens per second": speed(model, tokenizer)}
    )
    for name, value in found.items():
        print(f"{name}: {value:.3g}")
    for question in SAMPLES:
        print(f"  {question} -> {answer(model, tokenizer, [{'role': 'user', 'content': question}])}")
    return found
