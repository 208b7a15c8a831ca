"""Figures of the starter's models whose weights are pulled: SmolLM2, Kokoro, MiniLM, PP-OCR."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .. import audio
from ..capabilities import Message
from ..embeddings.sentence_transformers import SentenceTransformers
from ..errors import ModelUnavailable
from ..language.llama_cpp import LlamaCpp
from ..pixels import write_picture
from ..speech_to_text.moonshine import Moonshine
from ..speech_to_text.word_error import word_errors, words
from ..text_recognition.pp_ocr import PPOCR
from ..text_to_speech.kokoro import Kokoro
from .everyday_questions import QUESTIONS
from .figures import Row, at_least, at_most, info

TOKENS, ROUNDS, TEXTS = 64, 5, 256
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Please turn on the light in the kitchen before dinner.",
    "The weather will be fine on the weekend.",
    "The train to Paris leaves at a quarter past nine.",
    "I would like a cup of coffee with a little milk.",
    "We are going to visit our friends in the mountains.",
    "Could you tell me the way to the nearest station?",
    "It has been raining since yesterday afternoon.",
    "The children are playing in the garden.",
    "My brother works as a teacher in a small village.",
)


def smollm2() -> list[Row]:
    """Forty everyday questions through Medley and by llama.cpp alone, and tokens per second of one stream of each."""
    return asyncio.run(_measured(_smollm2))


def kokoro() -> list[Row]:
    """Word errors that Moonshine makes of Kokoro's voices, and how long a sentence takes."""
    return asyncio.run(_measured(_kokoro))


def minilm() -> list[Row]:
    """Texts per second in batches, beside the library alone."""
    return asyncio.run(_measured(_minilm))


def pp_ocr() -> list[Row]:
    """Characters right of a page of sentences in letters of 36 to 15 pixels, and how long it takes."""
    return asyncio.run(_measured(_pp_ocr))


async def _measured(rows: Callable[[], Awaitable[list[Row]]]) -> list[Row]:
    try:
        return await rows()
    except ModelUnavailable as error:
        return [info(f"not measured: {error}", 0, "")]


async def _smollm2() -> list[Row]:
    model = LlamaCpp()
    await model.reconfigure(LlamaCpp.Options(weights="smollm2/135m-instruct", system="", parallel=1))
    alone = model._ready()[0]._server  # the engine without Medley
    equal = 0
    for question in QUESTIONS:
        ours = await model.chat([Message(role="user", content=question)], temperature=0, max_tokens=TOKENS)
        theirs = await asyncio.to_thread(_alone, alone, question)
        equal += ours.text == theirs["choices"][0]["message"]["content"]
    ratios, rates = list[float](), list[float]()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        reply = await model.chat([Message(role="user", content=QUESTIONS[14])], temperature=0, max_tokens=TOKENS)
        between = time.perf_counter()
        await asyncio.to_thread(_alone, alone, QUESTIONS[14])
        ratios.append((time.perf_counter() - between) / (between - began))
        rates.append(reply.completion_tokens / (between - began))
    return [
        at_least("smollm2: greedy answers equal to those of llama.cpp alone", equal, len(QUESTIONS), "of 40"),
        at_least("smollm2: one stream, to llama.cpp alone", statistics.median(ratios), 0.9, "ratio"),
        at_least("smollm2: one stream", statistics.median(rates), 20, "tokens/s"),
    ]


def _alone(server: Any, question: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": question}]
    body = {"messages": messages, "temperature": 0, "max_tokens": TOKENS, "cache_prompt": False}
    return server.handle_chat_completions(body)


async def _kokoro() -> list[Row]:
    model, ears = Kokoro(), Moonshine()
    await model.reconfigure(Kokoro.Options(weights="kokoro/v1.0-int8"))
    await ears.reconfigure(Moonshine.Options(weights="moonshine/tiny-en", threads=2))
    said, rows, firsts = words(" ".join(SENTENCES)), list[Row](), list[float]()
    for voice in await model.voices():
        heard, took, sounds = list[str](), 0.0, 0.0
        for sentence in SENTENCES:
            began = time.perf_counter()
            spoken = await model.synthesize(sentence, voice=voice.name)
            firsts.append(time.perf_counter() - began)
            took, sounds = took + firsts[-1], sounds + len(audio.decode(spoken, 16_000)) / 16_000
            heard.append((await ears.transcribe(spoken)).text)
        errors = word_errors(said, words(" ".join(heard))) / len(said.split())
        rows += [
            at_most(f"kokoro: word errors of Moonshine, {voice.name}", errors, 0.03, "share"),
            info(f"kokoro: time to speak, to the sound's length, {voice.name}", took / sounds, "ratio"),
        ]
    return [*rows, info("kokoro: a sentence, median", statistics.median(firsts), "s")]


async def _minilm() -> list[Row]:
    model = SentenceTransformers()
    await model.reconfigure(SentenceTransformers.Options(weights="minilm/l6-v2"))
    library = model._ready().model
    texts = [f"{QUESTIONS[n % len(QUESTIONS)]} {QUESTIONS[n * 7 % len(QUESTIONS)]} {n}" for n in range(TEXTS)]
    ratios = list[float]()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await model.embed(texts)
        between = time.perf_counter()
        await asyncio.to_thread(library.encode, texts, batch_size=32, show_progress_bar=False)
        ratios.append((time.perf_counter() - between) / (between - began))
    return [at_least("minilm: 256 texts in batches, to the library alone", statistics.median(ratios), 0.9, "ratio")]


async def _pp_ocr() -> list[Row]:
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    model = PPOCR()
    await model.reconfigure(PPOCR.Options(weights="pp-ocr/v6-small"))
    page, y = Image.new("RGB", (1100, 800), "white"), 30
    for number, sentence in enumerate(SENTENCES):
        size = 36 - 21 * number // (len(SENTENCES) - 1)
        ImageDraw.Draw(page).text((40, y), sentence, fill="black", font=ImageFont.load_default(size))
        y += 2 * size + 16
    turned = page.rotate(5, Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    kinds = {"as it is": page, "turned by 5 degrees and blurred": turned.filter(ImageFilter.GaussianBlur(0.8))}
    rows, said = list[Row](), "".join("".join(SENTENCES).split())
    for kind, picture in kinds.items():
        began = time.perf_counter()
        read = await model.read(write_picture(picture))
        took = time.perf_counter() - began
        lines = sorted(read.lines, key=lambda line: line.corners[3][1])  # of a turned page the left ends tell the order
        wrong = word_errors(" ".join(said), " ".join("".join("".join(line.text for line in lines).split())))
        rows += [
            at_least(f"pp_ocr: characters of a page, {kind}", 1 - wrong / len(said), 0.98, "share"),
            info(f"pp_ocr: a page, {kind}", took, "s"),
        ]
    return rows
