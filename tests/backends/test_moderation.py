"""The contract of `Moderation`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployments.capabilities import Judgements, Moderation
from deployments.errors import InvalidInput, ModelUnavailable

from .encoder_weights import write_encoder, write_judge
from .harness import offering, reload_in_flight, seconds_to_stop, unloaded

pytestmark = pytest.mark.asyncio
NAMES = offering(Moderation)
TEXTS = ["I will help you.", "I will hurt you.", "né 😀 日本", "I will help you."]


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


async def test_every_text_is_judged_in_its_place(model: Any) -> None:
    found = await model.moderate(TEXTS)
    assert isinstance(found, Judgements)
    assert len(found.results) == 4 and found.prompt_tokens >= 4
    assert found.results[0].scores == pytest.approx(found.results[3].scores, abs=1e-5)
    assert found.results[0].scores != pytest.approx(found.results[1].scores, abs=1e-3)
    for text, judged in zip(TEXTS, found.results, strict=True):
        (alone,) = (await model.moderate([text])).results
        assert alone.scores == pytest.approx(judged.scores, abs=1e-4)
        assert set(judged.categories) <= set(judged.scores) and judged.flagged == bool(judged.categories)
        assert all(0 <= score <= 1 for score in judged.scores.values())


async def test_nothing_hides_in_a_long_text(model: Any) -> None:
    harm = (await model.moderate(["b" * 62])).results[0].scores
    long = (await model.moderate(["b" * 62 + "a" * 62 * 9])).results[0].scores
    assert all(long[name] >= harm[name] - 1e-4 for name in harm)


async def test_calls_side_by_side_do_not_mix(model: Any) -> None:
    alone = await model.moderate(TEXTS)
    beside = await asyncio.gather(*(model.moderate(TEXTS if n % 2 else ["x"] * 3) for n in range(4)))
    for one in beside[1::2]:
        assert [found.scores for found in one.results] == [
            pytest.approx(found.scores, abs=1e-4) for found in alone.results
        ]


@pytest.mark.parametrize(("field", "texts"), [("texts", []), ("texts", ["x"] * 2049), ("texts.1", ["x", " "])])
async def test_bad_input_names_its_field(model: Any, field: str, texts: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await model.moderate(texts)
    assert refused.value.field == field


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["quite a long text " * 3000] * 40
    assert await seconds_to_stop(load(name), load(name).moderate(texts), monkeypatch) < 1.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await load(name).moderate(TEXTS)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, weights=str(write_judge(tmp_path, seed=1)))
    assert await reload_in_flight(model, lambda: model.moderate(TEXTS), other, monkeypatch) == before
    assert await model.moderate(TEXTS) != before


class TestTextClassifier:
    """What only this backend promises."""

    async def test_thresholds_decide_what_is_flagged(self, options_of: Any) -> None:
        model = unloaded("text_classifier")
        await model.reconfigure(options_of("text_classifier"))
        (usual,) = (await model.moderate(TEXTS[:1])).results
        lowest = min(usual.scores.values())
        await model.reconfigure(options_of("text_classifier", threshold=lowest))
        (flagged,) = (await model.moderate(TEXTS[:1])).results
        assert sorted(flagged.categories) == sorted(usual.scores)
        assert [flagged.scores[name] for name in flagged.categories] == sorted(flagged.scores.values(), reverse=True)
        never = dict.fromkeys(usual.scores, 1.0) | {"threat": lowest / 2}
        await model.reconfigure(options_of("text_classifier", thresholds=never))
        assert (await model.moderate(TEXTS[:1])).results[0].categories == ["threat"]

    async def test_labels_get_other_names_and_the_harmless_is_left_out(self, options_of: Any) -> None:
        model = unloaded("text_classifier")
        names = {"threat": "violence", "insult": "harassment"}
        await model.reconfigure(options_of("text_classifier", categories=names))
        assert set((await model.moderate(["x"])).results[0].scores) == set(names.values())

    async def test_of_labels_that_exclude_each_other_the_scores_are_one_together(
        self, options_of: Any, tmp_path: Path
    ) -> None:
        model = unloaded("text_classifier")
        weights = write_judge(tmp_path, kind="single_label_classification")
        await model.reconfigure(options_of("text_classifier", weights=str(weights)))
        assert sum((await model.moderate(["x"])).results[0].scores.values()) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"categories": {"thraet": "violence"}}, "has no label 'thraet'; there are: harmless, threat, insult"),
            ({"thresholds": {"violence": 0.3}}, "has no category 'violence'; there are: harmless, threat, insult"),
        ],
    )
    async def test_what_the_weights_do_not_know_is_refused(self, options_of: Any, options: Any, reason: str) -> None:
        with pytest.raises(ModelUnavailable, match=reason):
            await unloaded("text_classifier").reconfigure(options_of("text_classifier", **options))

    async def test_an_encoder_without_a_head_is_no_judge(self, options_of: Any, tmp_path: Path) -> None:
        options = options_of("text_classifier", weights=str(write_encoder(tmp_path)))
        with pytest.raises(ModelUnavailable, match="lacks 2 of its weights, such as classifier"):
            await unloaded("text_classifier").reconfigure(options)
