"""The contract of `Reranking`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS
from deployments.capabilities import Ranking, Reranking
from deployments.errors import InvalidInput, ModelUnavailable

from .encoder_weights import write_encoder, write_ranker
from .harness import PULLED, need, offering, reload_in_flight, seconds_to_stop, unloaded

pytestmark = pytest.mark.asyncio
NAMES = offering(Reranking)
QUERY, DOCUMENTS = "who barks?", ["Cats purr.", "A dog barks.", "né 😀 日本", "Cats purr."]
WRITERS = {"bi_encoder": write_encoder, "cross_encoder": write_ranker}


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


async def test_every_document_has_a_place_and_a_score_best_first(model: Any) -> None:
    found = await model.rank(QUERY, DOCUMENTS)
    assert isinstance(found, Ranking)
    assert sorted(one.index for one in found.results) == [0, 1, 2, 3]
    scores = [one.score for one in found.results]
    assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
    by_place = {one.index: one.score for one in found.results}
    assert by_place[0] == pytest.approx(by_place[3], abs=1e-5)
    for place, document in enumerate(DOCUMENTS):
        (alone,) = (await model.rank(QUERY, [document])).results
        assert alone.score == pytest.approx(by_place[place], abs=1e-4)
    assert found.prompt_tokens >= 5


async def test_the_query_decides(model: Any) -> None:
    first, second = [await model.rank(query, DOCUMENTS) for query in (QUERY, "something else entirely")]
    assert [one.score for one in first.results] != pytest.approx([one.score for one in second.results], abs=1e-3)


async def test_calls_side_by_side_do_not_mix(model: Any) -> None:
    alone = await model.rank(QUERY, DOCUMENTS)
    beside = await asyncio.gather(*(model.rank(QUERY if n % 2 else "other", DOCUMENTS) for n in range(4)))
    for one in beside[1::2]:
        assert [found.score for found in one.results] == pytest.approx(
            [found.score for found in alone.results], abs=1e-4
        )


@pytest.mark.parametrize(
    ("field", "query", "documents"),
    [
        ("documents", "x", []),
        ("documents", "x", ["x"] * 1001),
        ("documents.1", "x", ["x", " "]),
        ("query", "", ["x"]),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, query: str, documents: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await model.rank(query, documents)
    assert refused.value.field == field


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = ["quite a long text " * 3000] * 40
    assert await seconds_to_stop(load(name), load(name).rank(QUERY, documents), monkeypatch) < 1.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await load(name).rank(QUERY, DOCUMENTS)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, weights=str(WRITERS[name](tmp_path, seed=1)))
    assert await reload_in_flight(model, lambda: model.rank(QUERY, DOCUMENTS), other, monkeypatch) == before
    assert await model.rank(QUERY, DOCUMENTS) != before


class TestCrossEncoder:
    """What only this backend promises."""

    async def test_the_best_piece_of_a_long_document_counts(self, load: Any) -> None:
        model = load("cross_encoder")
        pieces = ["a" * 51, "b" * 51]
        scores = {one.index: one.score for one in (await model.rank(QUERY, [*pieces, "".join(pieces)])).results}
        assert scores[2] == pytest.approx(max(scores[0], scores[1]), abs=1e-4)

    async def test_a_query_without_room_for_a_document_is_refused(self, load: Any) -> None:
        with pytest.raises(InvalidInput, match="query: makes 60 tokens; this model reads 64 with a document"):
            await load("cross_encoder").rank("x" * 60, ["y"])

    async def test_a_classifier_of_kinds_is_no_ranking(self, options_of: Any, tmp_path: Path) -> None:
        options = options_of("cross_encoder", weights=str(write_ranker(tmp_path, outputs=3)))
        with pytest.raises(ModelUnavailable, match="has 3 outputs"):
            await unloaded("cross_encoder").reconfigure(options)

    async def test_an_encoder_without_a_head_is_no_ranking(self, options_of: Any, tmp_path: Path) -> None:
        options = options_of("cross_encoder", weights=str(write_encoder(tmp_path)))
        with pytest.raises(ModelUnavailable, match="lacks 2 of its weights, such as classifier"):
            await unloaded("cross_encoder").reconfigure(options)


async def test_real_weights_find_the_answer() -> None:
    need("minilm")
    model = unloaded("bi_encoder")
    await model.reconfigure(BACKENDS["bi_encoder"].Options(weights=PULLED["minilm"]))
    documents = ["Paris is the capital of France.", "A dog barks at the postman.", "Bread is made of flour."]
    assert (await model.rank("Which animal makes noise?", documents)).results[0].index == 1
