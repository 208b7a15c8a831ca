"""The contract of `Embeddings`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments import BACKENDS
from deployments.capabilities import LONGEST_TEXT, MOST_TEXTS, Embeddings, Vectors
from deployments.errors import InvalidInput, ModelUnavailable

from .encoder_weights import LONGEST, SIZE, write_encoder
from .harness import PULLED, need, offering, other_options, reload_in_flight, seconds_to_stop, unloaded

pytestmark = pytest.mark.asyncio
NAMES = offering(Embeddings)
TEXTS = ["A cat.", "A kitten!", "né 😀 日本"]


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


async def test_each_text_has_a_vector_of_length_one_in_its_place(model: Any) -> None:
    found = await model.embed(TEXTS)
    assert isinstance(found, Vectors)
    vectors = np.array(found.vectors)
    assert vectors.shape[0] == len(TEXTS) and vectors.shape[1] > 1
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for place, text in enumerate(TEXTS):
        (alone,) = (await model.embed([text])).vectors
        assert np.allclose(alone, vectors[place], atol=1e-4)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)
    assert found.prompt_tokens >= len(TEXTS)


async def test_many_texts_keep_their_order_also_beside_other_calls(model: Any) -> None:
    texts = [f"{'x' * (n % 40)} number {n}" for n in range(100)]
    whole, *parts = await asyncio.gather(model.embed(texts), *(model.embed([texts[n]]) for n in (0, 57, 99)))
    for part, place in zip(parts, (0, 57, 99), strict=True):
        assert np.allclose(part.vectors[0], whole.vectors[place], atol=1e-4)


async def test_the_end_of_a_long_text_counts(model: Any) -> None:
    long = "word " * 4000
    plain, changed = (await model.embed([long, long + "quite another end! " * 400])).vectors
    assert float(np.dot(plain, changed)) < 0.99999


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("texts", {"texts": []}),
        ("texts", {"texts": ["x"] * (MOST_TEXTS + 1)}),
        ("texts.1", {"texts": ["x", ""]}),
        ("texts.0", {"texts": [" \n "]}),
        ("texts.0", {"texts": ["x" * (LONGEST_TEXT + 1)]}),
        ("dimensions", {"texts": ["x"], "dimensions": 1_000_000}),
        ("dimensions", {"texts": ["x"], "dimensions": 0}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await model.embed(**arguments)
    assert refused.value.field == field


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["quite a long text " * 3000] * 40
    assert await seconds_to_stop(load(name), load(name).embed(texts), monkeypatch) < 1.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await load(name).embed(TEXTS * 20)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, **other_options(name, {"weights": str(write_encoder(tmp_path, seed=1))}))
    during = await reload_in_flight(model, lambda: model.embed(TEXTS * 20), other, monkeypatch)
    assert np.allclose(during.vectors, before.vectors, atol=1e-4)
    assert not np.allclose((await model.embed(TEXTS)).vectors, before.vectors[:3], atol=1e-2)


class TestSentenceTransformers:
    """What only this backend promises."""

    async def test_the_vectors_are_the_librarys_own(self, load: Any, encoder_weights: Path) -> None:
        import sentence_transformers

        library = sentence_transformers.SentenceTransformer(str(encoder_weights), device="cpu")
        for purpose in (None, "query", "document"):
            prompt = {None: "", "query": "ask: ", "document": "say: "}[purpose]
            expected = library.encode(TEXTS, prompt=prompt or None)
            found = await load("sentence_transformers").embed(TEXTS, purpose=purpose)
            assert np.allclose(found.vectors, expected, atol=1e-5)

    async def test_a_long_text_is_the_mean_of_its_pieces(self, load: Any) -> None:
        model, room = load("sentence_transformers"), LONGEST - 2
        first, second, whole = (await model.embed(["a" * room, "b" * room, "a" * room + "b" * room])).vectors
        mean = np.array(first) + np.array(second)
        assert np.allclose(whole, mean / np.linalg.norm(mean), atol=1e-4)

    async def test_fewer_dimensions_are_for_weights_that_shorten(self, load: Any, fresh: Any) -> None:
        whole = np.array((await load("sentence_transformers").embed(TEXTS)).vectors)[:, :8]
        short = (await fresh("sentence_transformers", shortens=True).embed(TEXTS, dimensions=8)).vectors
        assert np.allclose(short, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)
        with pytest.raises(InvalidInput, match=f"dimensions: is 8; this model's vectors have {SIZE}"):
            await load("sentence_transformers").embed(TEXTS, dimensions=8)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"type": "os.system"}, "os.system"),
            ({"type": "own.Transformer"}, "own.Transformer"),
            ({"type": "sentence_transformers.models.Router"}, "Router"),
            ({"type": 3}, "damaged"),
        ],
        ids=["function", "own", "router", "number"],
    )
    async def test_code_that_weights_name_is_not_run(
        self, change: dict[str, Any], reason: str, options_of: Any, tmp_path: Path
    ) -> None:
        modules = json.loads((write_encoder(tmp_path) / "modules.json").read_text())
        (tmp_path / "modules.json").write_text(json.dumps([modules[0] | change, *modules[1:]]))
        with pytest.raises(ModelUnavailable, match=reason):
            await unloaded("sentence_transformers").reconfigure(
                options_of("sentence_transformers", weights=str(tmp_path))
            )

    async def test_pickled_and_damaged_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        weights = write_encoder(tmp_path) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:3000])
        options = options_of("sentence_transformers", weights=str(tmp_path))
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            await unloaded("sentence_transformers").reconfigure(options)
        weights.rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(ModelUnavailable, match="pickled"):
            await unloaded("sentence_transformers").reconfigure(options)

    async def test_real_weights_tell_what_is_alike(self) -> None:
        need("minilm")
        model = unloaded("sentence_transformers")
        await model.reconfigure(BACKENDS["sentence_transformers"].Options(weights=PULLED["minilm"]))
        cat, kitten, loan = np.array(
            (
                await model.embed(["The cat sleeps on the sofa.", "A kitten naps on a couch.", "Banks raise rates."])
            ).vectors
        )
        assert cat @ kitten > 0.6 > 0.2 > cat @ loan
