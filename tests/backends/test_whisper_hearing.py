"""How a recording is given to Whisper window by window, and what is made of its answers. The weights are tiny and
random, or there are none; test_whisper_real.py hears people."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from deployments import audio
from deployments.errors import ModelUnavailable
from deployments.media import Audio
from deployments.speech_to_text import together
from deployments.speech_to_text.together import Reader
from deployments.speech_to_text.whisper_hearing import after
from deployments.speech_to_text.whisper_passages import RATE, Heard, Passage, next_window, parts
from deployments.speech_to_text.whisper_text import Reading, Said, cut, silent, without_loop

from .harness import unloaded

TIME = 1000  # the token of 0.00 s in these tests; smaller ones are letters
WHOLE = 30 * RATE


def at(seconds: float) -> int:
    return TIME + round(seconds / 0.02)


def text_of(tokens: Sequence[int]) -> str:
    return "".join(chr(token) for token in tokens if token < TIME)


def spell(*parts: str | float) -> list[int]:
    """Tokens of texts and times."""
    return [
        token for part in parts for token in ([ord(letter) for letter in part] if isinstance(part, str) else [at(part)])
    ]


def read(*parts: str | float, seconds: float = 30) -> Reading:
    return cut(spell(*parts), TIME, seconds, text_of)


def timed(said: Sequence[Said]) -> list[tuple[float, float, str]]:
    return [(round(one.start, 2), round(one.end, 2), one.text) for one in said]


class TestText:
    """What Whisper's tokens say."""

    def test_it_is_cut_at_its_times(self) -> None:
        heard = read(0.0, " one", 2.0, 2.5, " two", 4.0)
        assert timed(heard.said) == [(0, 2, "one"), (2.5, 4, "two")]
        assert heard.resume is None and heard.end == 4

    def test_a_sentence_without_an_end_is_to_be_read_again_from_its_start(self) -> None:
        for unfinished, left in (("", None), (" tw", "tw")):
            heard = read(0.0, " one", 26.0, 26.0, unfinished)
            assert timed(heard.said) == [(0, 26, "one")]
            assert heard.resume == heard.end == 26
            assert (heard.unfinished and heard.unfinished.text) == left

    def test_without_a_last_time_it_lasts_as_long_as_the_sound(self) -> None:
        assert timed(read(1.0, " one", seconds=7).said) == [(1, 7, "one")]
        assert timed(read(1.0, " one", 9.0, seconds=7).said) == [(1, 7, "one")]
        assert timed(read(seconds=7).said) == []

    @pytest.mark.parametrize(
        ("unlikely", "nobody", "silence"), [(-1.2, 0.7, True), (-0.5, 0.7, False), (-2, 0.5, False)]
    )
    def test_it_is_silence_where_nobody_is_likely_and_the_text_is_not(
        self, unlikely: float, nobody: float, silence: bool
    ) -> None:
        assert silent(unlikely, nobody) == silence

    def test_a_loop_within_a_segment_is_cut(self) -> None:
        heard = without_loop(read(0.0, " and then" + " the next," * 40), text_of)
        assert [one.text for one in heard.said] == ["and then the next,"]
        assert text_of(heard.said[0].tokens).strip() == "and then the next,"
        assert heard.looped

    def test_a_loop_of_segments_is_cut(self) -> None:
        said = [part for second in range(1, 25) for part in (float(second), " and so on", second + 1.0)]
        heard = without_loop(read(0.0, " first of all", 1.0, *said), text_of)
        assert timed(heard.said) == [(0, 1, "first of all"), (1, 2, "and so on")]
        assert heard.looped and heard.end == 2

    @pytest.mark.parametrize(
        "text",
        [
            " no, no, no, no!",
            " It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
            "foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of light, it "
            "was the season of darkness, it was the spring of hope, it was the winter of despair",
        ],
    )
    def test_people_may_repeat_themselves(self, text: str) -> None:
        heard = read(0.0, text, 20.0)
        assert without_loop(heard, text_of) == heard


class TestPassages:
    """Which windows Whisper is given."""

    def test_it_goes_on_where_a_sentence_has_no_end(self) -> None:
        passage = Passage([(0, 40 * RATE)], WHOLE)
        assert passage.window == (0, WHOLE)
        passage.take(read(0.0, " one", 26.0, 26.0))
        assert passage.window == (26 * RATE, 40 * RATE)
        passage.take(read(0.0, " two", 14.0, seconds=14))
        assert passage.window is None
        assert timed([heard.said for heard in passage.heard]) == [(0, 26, "one"), (26, 40, "two")]

    def test_what_it_ends_long_before_is_read_and_what_is_quiet_is_not(self) -> None:
        for speech, window in ((28, (4 * RATE, 28 * RATE)), (5, None)):
            passage = Passage([(0, speech * RATE)], WHOLE)
            passage.take(read(0.0, " one", 4.0))
            assert passage.window == window

    def test_an_end_that_makes_no_progress_is_taken_as_it_is(self) -> None:
        passage = Passage([(0, 20 * RATE)], WHOLE)
        passage.take(read(0.0, " o", 0.5, 0.5, " ne", seconds=20))
        assert passage.window is None
        assert [heard.said.text for heard in passage.heard] == ["o", "ne"]

    def test_a_loop_has_one_more_try(self) -> None:
        passage = Passage([(0, 30 * RATE)], WHOLE)
        loop = without_loop(read(0.0, *[part for _ in range(40) for part in (" on and on", 3.0, 3.0)]), text_of)
        passage.take(loop)
        assert passage.window == (3 * RATE, 30 * RATE)
        passage.take(loop)
        assert passage.window is None

    def test_a_window_ends_at_a_long_pause_and_a_short_one_at_any(self) -> None:
        found = [(0, 2 * RATE), (3 * RATE, 4 * RATE), (10 * RATE, 12 * RATE), (13 * RATE, 16 * RATE)]
        assert next_window(found, 0, WHOLE) == (0, 4 * RATE)
        assert next_window(found, 4 * RATE, WHOLE) == (10 * RATE, 16 * RATE)
        assert next_window(found, 4 * RATE, 5 * RATE) == (10 * RATE, 12 * RATE)
        assert next_window(found, 16 * RATE - 100, WHOLE) is None

    def test_a_long_recording_is_cut_at_its_longest_pauses(self) -> None:
        pieces = [(second * RATE, second * RATE + RATE * 9 // 10) for second in range(200)]
        pieces[90] = (90 * RATE, 90 * RATE + RATE // 2)
        cuts = [(part[0][0] // RATE, part[-1][1] // RATE) for part in parts(pieces, 200 * RATE)]
        assert cuts == [(0, 90), (90, 200)]
        unbroken = [(second * RATE, (second + 29) * RATE) for second in range(0, 290, 29)]
        assert max(part[-1][1] - part[0][0] for part in parts(unbroken, 290 * RATE)) <= 120 * RATE

    def test_segments_begin_and_end_with_speech(self) -> None:
        passage = Passage([(2 * RATE, 4 * RATE), (8 * RATE, 10 * RATE)], WHOLE)
        passage.take(read(0.0, " one", 4.0, 4.5, " two", 12.0, seconds=8))
        assert timed([heard.said for heard in passage.heard]) == [(2, 4, "one"), (8, 10, "two")]

    def test_times_rise_whatever_overlaps(self) -> None:
        heard = [
            Heard(Said(17.4, 25.2, (), "one", [(17.4, 25.0, "one")]), Reading()),
            Heard(Said(18.9, 21.2, (), "two", [(18.9, 19.0, "two"), (0.1, 21.2, "words")]), Reading()),
        ]
        until, times = 0.0, list[float]()
        for one in heard:
            said = after(one.said, until)
            until = said.end
            within = [time for start, end, _ in said.words for time in (start, end)]
            assert within == sorted(within) and said.start <= within[0] and within[-1] <= said.end
            times += [said.start, said.end]
        assert times == sorted(times)


class Counting:
    """CTranslate2's Whisper, whose encoder's calls are counted."""

    def __init__(self, network: Any) -> None:
        self._network, self.encoded = network, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def encode(self, *asked: Any, **how: Any) -> Any:
        self.encoded += 1
        return self._network.encode(*asked, **how)


@pytest.fixture
async def speech(load: Any) -> Audio:
    return await load("espeak").synthesize("one two three four five")


@pytest.fixture
async def model(options_of: Any) -> Any:
    model = unloaded("faster_whisper")
    await model.reconfigure(options_of("faster_whisper"))
    return model


def counted(model: Any) -> Counting:
    counting = model._engine.reader.model.model = Counting(model._engine.reader.model.model)
    return counting


async def test_the_language_of_a_short_clip_costs_no_second_pass(model: Any, speech: Audio) -> None:
    counting = counted(model)
    heard = await model.transcribe(speech)
    assert counting.encoded == 1
    assert heard.language in ("en", "de")
    assert await model.transcribe(speech, language=heard.language) == heard


async def test_silence_is_not_read_at_all(model: Any) -> None:
    counting = counted(model)
    heard = await model.transcribe(audio.encode(np.zeros(48_000, np.float32), 16_000))
    assert (counting.encoded, heard.text, heard.language) == (0, "", "und")


async def test_what_whisper_takes_for_silence_is_not_said(
    model: Any, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await model.transcribe(speech)).text
    monkeypatch.setattr(together, "silent", lambda *sure: True)
    heard = await model.transcribe(speech)
    assert (heard.text, heard.language) == ("", "und")


async def test_a_default_language_is_that_of_who_names_none(options_of: Any, speech: Audio) -> None:
    model = unloaded("faster_whisper")
    await model.reconfigure(options_of("faster_whisper", language="de-AT"))
    assert (await model.transcribe(speech)).language == "de"
    assert (await model.transcribe(speech, language="en")).language == "en"


async def test_a_default_language_that_it_does_not_know_is_named(options_of: Any) -> None:
    with pytest.raises(ModelUnavailable, match="the option language is 'tlh'"):
        await unloaded("faster_whisper").reconfigure(options_of("faster_whisper", language="tlh"))


async def test_the_next_call_does_not_wait_for_the_batch_of_one_that_has_gone(
    model: Any, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end, real, calls = threading.Event(), threading.Event(), Reader._readings, list[Any]()

    def held(self: Reader, some: Any, encoded: Any) -> Any:
        calls.append(some)
        if len(calls) == 1:  # as long as CTranslate2 writes, which cannot be stopped
            begun.set()
            assert end.wait(60)
        return real(self, some, encoded)

    monkeypatch.setattr(Reader, "_readings", held)
    gone = asyncio.create_task(model.transcribe(speech))
    assert await asyncio.to_thread(begun.wait, 30)
    gone.cancel()
    try:
        async with asyncio.timeout(30):
            assert (await model.transcribe(speech)).segments
    finally:
        end.set()
    assert len(calls) == 2


async def test_sounds_of_a_caller_who_has_gone_are_not_encoded(model: Any, load: Any) -> None:
    long = await load("espeak").synthesize("one two three four five six seven eight nine ten. " * 80)
    counting = counted(model)
    slow = counting._network.encode

    def encode(*asked: Any, **how: Any) -> Any:
        time.sleep(0.3)
        return slow(*asked, **how)

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return encode if name == "encode" else getattr(network, name)

    network, counting._network = counting._network, Slow()
    task = asyncio.create_task(model.transcribe(long, language="en"))
    while not counting.encoded:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(1)
    assert counting.encoded <= 2
