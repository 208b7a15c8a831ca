"""The contract of `TextToImage` for each family of painters that diffusers loads, and what only some of them do."""

import asyncio
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from deployments.errors import InvalidInput, ModelUnavailable, PromptTooLong
from deployments.pixels import write_picture
from deployments.progress import followed_by
from deployments.text_to_image.context import readers_of, tokenizers_of
from deployments.text_to_image.pipelines import _pipeline

from . import test_text_to_image as contract
from .harness import need_module, seconds_to_stop
from .painters import write_adapter, write_flux, write_qwen_image, write_sdxl
from .test_text_to_image import alike, opened, picture, size

pytestmark = pytest.mark.asyncio
FAMILIES: dict[str, Callable[[Path], Path]] = {"sdxl": write_sdxl, "flux": write_flux, "qwen_image": write_qwen_image}
SQUARE: dict[str, Any] = {"width": 64, "height": 64, "guidance": 3.0, "dtype": "float32"}

# The tests of the contract itself, with the `model` of this file.
test_a_picture_is_a_png_of_the_asked_size = contract.test_a_picture_is_a_png_of_the_asked_size
test_the_seed_decides_the_picture_also_beside_other_calls = (
    contract.test_the_seed_decides_the_picture_also_beside_other_calls
)
test_every_argument_makes_a_difference = contract.test_every_argument_makes_a_difference
test_without_a_seed_pictures_differ = contract.test_without_a_seed_pictures_differ
test_bad_input_names_its_field = contract.test_bad_input_names_its_field


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`folder(family)`: that of its tiny weights."""
    return cache(lambda family: FAMILIES[family](tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="module")
def of_family(folder: Any, fresh: Any) -> Callable[[str], Any]:
    """`of_family(family)`: the backend with such weights, loaded once."""
    return cache(lambda family: fresh("diffusers", weights=str(folder(family)), **SQUARE))


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, of_family: Any) -> Any:
    return of_family(request.param)


class TestEditing(contract.TestEditing):
    @pytest.fixture(params=FAMILIES)
    def model(self, request: pytest.FixtureRequest, of_family: Any) -> Any:
        return of_family(request.param)

    async def test_little_strength_keeps_more_of_the_picture(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Weights that learned nothing do not keep a picture, but less strength is fewer steps away from it."""
        sizes, steps = batches(model, monkeypatch), list[int]()
        for strength in (0.2, 1.0):
            await model.edit(picture(64, 64), "a dog", strength=strength, steps=10, guidance=1, seed=1)
            steps.append(len(sizes))
            sizes.clear()
        assert steps == [2, 10]

    @pytest.mark.parametrize("task", ["generate", "edit"])
    @pytest.mark.parametrize("name", FAMILIES)
    async def test_cancelling_stops_it(
        self, name: str, task: str, fresh: Any, folder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large = {"width": 512, "height": 512}  # to take a while
        model = fresh("diffusers", weights=str(folder(name)), max_side=512, **large)
        call = getattr(model, task)(prompt="a dog", steps=100, **({"image": picture()} if task == "edit" else {}))
        assert await seconds_to_stop(model, call, monkeypatch) < 0.5

    async def test_it_is_painted_in_the_shape_of_the_picture(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        vae, decoded = model._engine.pipeline("edit").make.vae, list[tuple[int, int]]()
        decode = vae.decode
        monkeypatch.setattr(vae, "decode", lambda z, *a, **k: decoded.append(tuple(z.shape[-2:])) or decode(z, *a, **k))
        usual = model._engine.size[0] // vae_factor(model)
        await model.edit(picture(128, 64), "a dog", seed=1)
        await model.edit(picture(64, 128), "a dog", seed=1)
        assert decoded == [(usual // 2, usual), (usual, usual // 2)]

    async def test_edits_that_wait_are_painted_together_each_its_own(
        self, model: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        texts = ("a dog", "a much longer text of a red dog in the fog", "fog")
        calls = [(picture(64 + number, 64 + number), text, number) for number, text in enumerate(texts)]
        alone = [opened(await model.edit(image, text, seed=seed)) for image, text, seed in calls]
        sizes = batches(model, monkeypatch)
        beside = await asyncio.gather(*(model.edit(image, text, seed=seed) for image, text, seed in calls))
        assert all(alike(one, opened(other)) for one, other in zip(alone, beside, strict=True))
        assert max(sizes) > 1


def vae_factor(model: Any) -> int:
    return model._engine.pipeline("edit").make.vae_scale_factor


def network(model: Any, task: str = "generate") -> Any:
    made = model._engine.pipeline(task).make
    return getattr(made, "unet", None) or made.transformer


def batches(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on, how many pictures the network that denoises is given at once."""
    part, seen = network(model), list[int]()
    forward = part.forward

    def noted(*args: Any, **named: Any) -> Any:
        seen.append(len(args[0] if args else named["hidden_states"]))
        return forward(*args, **named)

    monkeypatch.setattr(part, "forward", noted)
    return seen


async def test_edits_and_inpaints_with_one_copy_of_its_weights(model: Any) -> None:
    assert {id(network(model, task)) for task in ("generate", "edit", "inpaint")} == {id(network(model))}


async def test_texts_of_different_lengths_are_painted_together_each_its_own(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        "dog",
        "a much longer text of a red dog in the fog, which fills more of what the encoder reads",
        "fog",
        "a",
    ]
    alone = [opened(await model.generate(text, seed=1)) for text in texts]
    assert not alike(alone[0], alone[1])  # the text shows
    sizes = batches(model, monkeypatch)
    beside = await asyncio.gather(*(model.generate(text, seed=1) for text in texts))
    assert all(alike(one, opened(other)) for one, other in zip(alone, beside, strict=True))
    assert max(sizes) > 1


# Tokens of a text, without the marks around it (of this T5 there are none), and two texts that are a token each.
READ = [("sdxl", 75, "a ", "d "), ("flux", 512, "dog ", "red "), ("qwen_image", 512, "a", "d")]


@pytest.mark.parametrize(("family", "reads", "one", "other"), READ)
async def test_a_text_is_read_to_its_end_or_refused(
    of_family: Any, family: str, reads: int, one: str, other: str
) -> None:
    model, last = of_family(family), reads // 4
    fit = [one * (reads - last) + end * last for end in (one, other)]
    painted = [opened(await model.generate(text, seed=1, steps=1)) for text in fit]
    assert (painted[0] != painted[1]).any()  # the end of the text shows
    longer, said = fit[0] + other, f"has {reads + 1} tokens; this model reads {reads}$"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("generate", {"prompt": longer}),
        ("generate", {"prompt": "dog", "negative_prompt": longer}),
        ("edit", {"prompt": longer, "image": picture(64, 64)}),
    ]
    for task, call in calls:
        with pytest.raises(PromptTooLong, match=said) as raised:
            await getattr(model, task)(**call)
        assert raised.value.field == ("negative_prompt" if "negative_prompt" in call else "prompt")


async def test_what_is_read_is_known_of_some_pipelines_only(of_family: Any) -> None:
    pipeline = of_family("sdxl")._engine.pipeline("generate").make
    clip = (tokenizers_of(pipeline) or [None])[0]
    assert clip is not pipeline.tokenizer  # that one paints, in another thread

    class Endless:
        model_max_length = 10**30

        def num_special_tokens_to_add(self) -> int:
            return 1

    class Told:
        def __call__(self, prompt: str, max_sequence_length: int = 20) -> None: ...

    class Untold:
        def __call__(self, prompt: str) -> None: ...

    assert [reader.most for reader in readers_of(Told(), [clip, Endless()])] == [75, 19]
    assert readers_of(Untold(), [clip, Endless()]) == ()
    assert readers_of(Told(), None) == ()


async def test_the_smallest_picture_is_painted(model: Any) -> None:
    least = model._engine.step
    assert size(await model.generate("a red dog", width=least, height=least)) == (least, least)
    with pytest.raises(InvalidInput, match=f"multiple of {least}"):
        await model.generate("a red dog", width=least // 2)


async def test_it_tells_how_far_it_is(model: Any) -> None:
    told = list[float]()
    with followed_by(told.append):
        await model.generate("a red dog", steps=4)
    assert told == [0.25, 0.5, 0.75, 1.0]


async def test_slices_change_next_to_nothing(fresh: Any, model: Any) -> None:
    savings = ["attention_slicing", "vae_slicing"]
    saved = fresh("diffusers", weights=model._engine.options.weights, savings=savings, **SQUARE)
    assert alike(*[opened(await one.generate("a red dog", seed=1)) for one in (saved, model)])


async def test_smaller_numbers_change_little(fresh: Any, model: Any) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed here: `make test` runs this test")
    small = fresh("diffusers", weights=model._engine.options.weights, quantization="torchao_int8", **SQUARE)
    kinds = {type(part.weight).__name__ for part in network(small).modules() if type(part).__name__ == "Linear"}
    assert kinds == {"Int8Tensor"}
    made = [opened(await one.generate("a red dog", seed=1)).astype(int) for one in (small, model)]
    assert 0 < abs(made[0] - made[1]).mean() < 10


async def test_each_call_names_the_adapter_it_wants(fresh: Any, model: Any, tmp_path: Path) -> None:
    weights = model._engine.options.weights
    adapters = {"ink": {"weights": str(write_adapter(tmp_path, weights))}}
    adapted = fresh("diffusers", weights=weights, adapters=adapters, **SQUARE)
    calls = (adapted.generate("a red dog", seed=1, adapter=name) for name in (None, "ink", None, "ink"))
    none, ink, none_again, ink_again = map(opened, await asyncio.gather(*calls))
    plain = opened(await model.generate("a red dog", seed=1))
    assert alike(none, plain) and alike(none_again, plain) and alike(ink, ink_again)
    assert not alike(ink, plain)


async def test_large_pictures_are_decoded_in_tiles(model: Any, fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiled = fresh("diffusers", weights=model._engine.options.weights, savings=["vae_tiling"], max_side=512, **SQUARE)
    decoder, decoded = tiled._engine.pipeline("generate").make.vae.decoder, list[Any]()
    whole = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda z, *a, **k: decoded.append(z.shape) or whole(z, *a, **k))
    assert size(await tiled.generate("a red dog", width=512, height=512, steps=1)) == (512, 512)
    assert len(decoded) > 1


class TestGuidance:
    """What guides differs from family to family, and callers need not know."""

    async def test_the_argument_that_guides_is_found(self) -> None:
        from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
        from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
        from diffusers.pipelines.qwenimage21.pipeline_qwenimage21 import QwenImage21Pipeline
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

        found = {kind: _pipeline(kind) for kind in (StableDiffusionPipeline, FluxPipeline)}
        assert {pipeline.guidance for pipeline in found.values()} == {"guidance_scale"}
        assert found[StableDiffusionPipeline].avoidance is None
        assert found[FluxPipeline].avoidance == "true_cfg_scale"
        assert {_pipeline(kind).guidance for kind in (QwenImagePipeline, QwenImage21Pipeline)} == {"true_cfg_scale"}

    @pytest.mark.parametrize(("guidance", "looks"), [(3.0, 2), (1.0, 1)])
    async def test_qwen_image_is_guided_without_a_negative_prompt_too(
        self, of_family: Any, monkeypatch: pytest.MonkeyPatch, guidance: float, looks: int
    ) -> None:
        model = of_family("qwen_image")
        sizes = batches(model, monkeypatch)
        await model.generate("a red dog", steps=3, guidance=guidance)
        assert len(sizes) == 3 * looks

    @pytest.mark.parametrize("task", ["generate", "edit"])
    async def test_flux_reads_a_negative_prompt(self, folder: Any, fresh: Any, of_family: Any, task: str) -> None:
        given = {"image": picture(64, 64)} if task == "edit" else {}
        model, keener = of_family("flux"), fresh("diffusers", weights=str(folder("flux")), avoidance=6.0, **SQUARE)
        calls: list[dict[str, Any]] = [{}, {"negative_prompt": "fog"}]
        plain, avoided = [await getattr(model, task)(prompt="a dog", seed=1, **given, **call) for call in calls]
        more = await getattr(keener, task)(prompt="a dog", seed=1, negative_prompt="fog", **given)
        assert len({plain.data, avoided.data, more.data}) == 3


class TestMadeToEdit:
    """Weights that look at a picture beside the prompt, instead of painting over it."""

    async def check(self, weights: Path, fresh: Any) -> None:
        model = fresh("diffusers", weights=str(weights), max_side=256, **SQUARE)
        red, white = (write_picture(PIL.Image.new("RGB", (96, 64), colour)) for colour in ((200, 30, 30), "white"))
        told = list[float]()
        with followed_by(told.append):
            of_red = await model.edit(red, "a red dog", seed=1, steps=1)
        assert told == [1.0]
        assert size(of_red) == (96, 64)
        others = [
            await model.edit(white, "a red dog", seed=1, steps=1),
            await model.edit(red, "fog", seed=1, steps=1),
            await model.edit(red, "a red dog", seed=2, steps=1),
            await model.edit(red, "a red dog", seed=1, steps=1, guidance=6.0),
            await model.edit(red, "a red dog", seed=1, steps=1, negative_prompt="fog"),
        ]
        assert len({image.data for image in (of_red, *others)}) == 1 + len(others)
        assert await model.edit(red, "a red dog", seed=1, steps=1) == of_red
        with pytest.raises(InvalidInput) as raised:
            await model.edit(red, "a red dog", strength=0.5)
        assert raised.value.field == "strength"
        with pytest.raises(ModelUnavailable, match="does not inpaint"):
            await model.inpaint(red, red, "a dog")

    async def test_flux_kontext(self, tmp_path: Path, fresh: Any) -> None:
        await self.check(write_flux(tmp_path, kontext=True), fresh)

    @pytest.mark.parametrize("pipeline", ["QwenImageEditPipeline", "QwenImageEditPlusPipeline"])
    async def test_qwen_image_edit_with_torchvision(self, pipeline: Any, tmp_path: Path, fresh: Any) -> None:
        need_module("torchvision")
        await self.check(write_qwen_image(tmp_path, pipeline), fresh)

    @pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
    async def test_qwen_image_edit_names_what_it_lacks(self, tmp_path: Path, fresh: Any) -> None:
        with pytest.raises(ModelUnavailable, match="torchvision is not installed here; the extra `gpu`"):
            fresh("diffusers", weights=str(write_qwen_image(tmp_path, "QwenImageEditPipeline")))
