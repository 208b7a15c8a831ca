"""The contract of `TextToImage`."""

import asyncio
import io
import random
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments.capabilities import TextToImage
from deployments.errors import InvalidInput, ModelUnavailable, OutOfMemory, PromptTooLong
from deployments.media import Image, MediaLimits
from deployments.pixels import write_picture
from deployments.progress import followed_by
from deployments.starter.world import Scene, describe, judge, random_scene, render

from .harness import able, offering, reload_in_flight, seconds_to_stop, taken, unloaded

pytestmark = pytest.mark.asyncio
NAMES = offering(TextToImage)
EDITORS = able(TextToImage, "edit")


def size(image: Image) -> tuple[int, int]:
    return PIL.Image.open(io.BytesIO(image.data)).size


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


async def test_a_picture_is_a_png_of_the_asked_size(model: Any) -> None:
    image = await model.generate("a red dog", width=128, height=64, seed=1)
    assert image.media_type == "image/png"
    assert Image.checked(image.data, MediaLimits()) == image
    assert size(image) == (128, 64)


async def test_the_seed_decides_the_picture_also_beside_other_calls(model: Any) -> None:
    alone = await model.generate("a red dog", seed=1)
    calls = (model.generate("a red dog", **taken(model, {"seed": 1 + i % 2, "steps": 3 + i % 2})) for i in range(4))
    beside = [opened(image) for image in await asyncio.gather(*calls)]
    assert alike(beside[0], beside[2])
    assert alike(beside[0], opened(alone))
    assert alike(beside[1], beside[3])
    assert not alike(beside[1], opened(alone))


async def test_every_argument_makes_a_difference(model: Any) -> None:
    changes: list[dict[str, Any]] = [{}, {"prompt": "a blue cat"}, {"seed": 2}, {"steps": 5}, {"guidance": 2.0}]
    changes.append({"negative_prompt": "fog"})
    changes = [change for change in changes if taken(model, change) == change]
    pictures = [await model.generate(**{"prompt": "a red dog", "seed": 1, **change}) for change in changes]
    assert len({picture.data for picture in pictures}) == len(changes)


async def test_without_a_seed_pictures_differ(model: Any) -> None:
    assert await model.generate("a red dog") != await model.generate("a red dog")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", " "),
        ("prompt", "x" * 100_000),
        ("negative_prompt", "x" * 100_000),
        ("width", 0),
        ("width", 65),
        ("width", -64),
        ("height", 1_000_000),
        ("height", float("nan")),
        ("steps", 0),
        ("steps", 100_000),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("guidance", -1),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.generate(**{"prompt": "a red dog", field: value})
    assert raised.value.field == field


async def test_cancelling_stops_the_painting(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    call = model.generate("a red dog, slowly", width=256, height=256, **taken(model, {"steps": 100}))
    assert await seconds_to_stop(model, call, monkeypatch) < 0.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_options_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await load(name).generate("a red dog", seed=1)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, width=128, height=128)
    assert await reload_in_flight(model, lambda: model.generate("a red dog", seed=1), other, monkeypatch) == expected
    assert size(await model.generate("a red dog", seed=1)) == (128, 128)


def opened(image: Image) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(image.data)).convert("RGB"))


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """The same but for rounding, which depends on how many pictures are painted together."""
    return bool(np.abs(one.astype(int) - other.astype(int)).max() <= 2)


def picture(width: int = 120, height: int = 80) -> Image:
    """A red box on grey."""
    made = PIL.Image.new("RGB", (width, height), "lightgrey")
    made.paste((200, 30, 30), (width // 4, height // 4, width // 2, height // 2))
    return write_picture(made)


def box_mask(width: int = 120, height: int = 80) -> Image:
    made = PIL.Image.new("L", (width, height))
    made.paste(255, (width // 4, height // 4, width // 2, height // 2))
    return write_picture(made)


class TestEditing:
    """Painting over pictures, for the backends that can."""

    @pytest.fixture(params=EDITORS)
    def model(self, request: pytest.FixtureRequest, load: Any) -> Any:
        return load(request.param)

    async def test_the_result_has_the_pictures_size_and_the_seed_decides_it(self, model: Any) -> None:
        calls = {
            "edit": lambda **more: model.edit(picture(), "a blue box", **more),
            "inpaint": lambda **more: model.inpaint(picture(), box_mask(), "a blue box", **more),
            "vary": lambda **more: model.vary(picture(), **more),
        }
        for call in calls.values():
            first, again, other = await call(seed=1), await call(seed=1), await call(seed=2)
            assert size(first) == (120, 80)
            assert first == again != other

    async def test_what_the_mask_leaves_stays_to_the_last_bit(self, model: Any) -> None:
        before, after = opened(picture()), opened(await model.inpaint(picture(), box_mask(), "a dog", seed=1))
        covered = opened(box_mask()) > 0
        assert (before[~covered] == after[~covered]).all()
        assert (before[covered] != after[covered]).any()

    async def test_little_strength_keeps_more_of_the_picture(self, model: Any) -> None:
        before = opened(picture(64, 64)).astype(int)
        kept = [
            np.abs(opened(await model.edit(picture(64, 64), "a dog", strength=strength, steps=10, seed=1)) - before)
            for strength in (0.2, 1.0)
        ]
        assert kept[0].mean() < kept[1].mean()

    @pytest.mark.parametrize(
        ("task", "field", "value"),
        [
            ("edit", "prompt", " "),
            ("edit", "strength", 0),
            ("edit", "strength", 1.1),
            ("edit", "strength", float("nan")),
            ("edit", "strength", 0.01),  # no step left
            ("edit", "image", Image(b"nothing", "image/png")),
            ("inpaint", "mask", box_mask(64, 64)),
            ("inpaint", "mask", write_picture(PIL.Image.new("L", (120, 80)))),
            ("inpaint", "guidance", -1),
            ("vary", "steps", 0),
        ],
    )
    async def test_bad_input_names_its_field(self, model: Any, task: str, field: str, value: Any) -> None:
        given: dict[str, Any] = {"image": picture()}
        given |= {} if task == "vary" else {"prompt": "a dog"}
        given |= {"mask": box_mask()} if task == "inpaint" else {}
        with pytest.raises(InvalidInput) as raised:
            await getattr(model, task)(**{**given, field: value})
        assert raised.value.field == field

    async def test_pictures_of_odd_shapes_are_painted(self, model: Any) -> None:
        for sides in ((1, 1), (300, 7), (63, 65)):
            assert size(await model.edit(picture(*sides), "a dog", seed=1)) == sides

    @pytest.mark.parametrize("name", EDITORS)
    async def test_cancelling_stops_it(self, name: str, fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        model = fresh(name, width=256, height=256)  # large enough to take a while
        assert await seconds_to_stop(model, model.edit(picture(), "a dog", steps=100), monkeypatch) < 0.5


async def test_the_starter_changes_the_colour_it_is_asked_to_change(options_of: Any) -> None:
    model = unloaded("diffusers")
    starter = {"weights": "starter/painter", "steps": 20, "guidance": 5.0, "upscale_to": 256}
    await model.reconfigure(options_of("diffusers", **starter))
    scene = Scene("white", "square", "red", "large", "centre", 1, 5)
    before = write_picture(render(scene).resize((256, 256)))
    after = await model.edit(before, "a large blue square", seed=1)
    seen = judge(PIL.Image.open(io.BytesIO(after.data)).convert("RGB").resize((64, 64), PIL.Image.Resampling.BOX))
    assert (seen.colour, seen.shape, seen.background) == ("blue", "square", "white")


async def test_the_starter_reads_every_description_of_its_world_and_refuses_what_it_would_cut(options_of: Any) -> None:
    model = unloaded("diffusers")
    await model.reconfigure(options_of("diffusers", weights="starter/painter"))
    (reader,) = model._engine.pipeline("generate").readers
    dealt = random.Random(0)
    assert reader.most == 30
    assert all(reader.count(describe(random_scene(dealt), dealt)) <= reader.most for _ in range(500))
    with pytest.raises(PromptTooLong, match="prompt: has 31 tokens; this model reads 30"):
        await model.generate("a red circle " * 10 + "a")


class TestDiffusers:
    """What only the diffusers backend promises."""

    async def test_what_waits_is_painted_together(self, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        model = load("diffusers")
        alone = [opened(await model.generate("a red dog", seed=seed)) for seed in range(5)]
        batches, unet = list[int](), model._engine.pipeline("generate").make.unet
        forward = unet.forward
        monkeypatch.setattr(
            unet, "forward", lambda x, *more, **named: batches.append(len(x)) or forward(x, *more, **named)
        )
        beside = await asyncio.gather(*(model.generate("a red dog", seed=seed) for seed in range(5)))
        assert all(alike(one, opened(other)) for one, other in zip(alone, beside, strict=True))
        assert set(batches) == {2, 8} or set(batches) == {10}  # guidance paints each twice; the first may begin alone

    async def test_edits_of_pictures_of_one_size_are_painted_together_each_its_own(self, load: Any) -> None:
        model = load("diffusers")
        alone = [opened(await model.edit(picture(80 + 40 * (n % 2), 80), "a dog", seed=n)) for n in range(4)]
        beside = await asyncio.gather(*(model.edit(picture(80 + 40 * (n % 2), 80), "a dog", seed=n) for n in range(4)))
        assert all(alike(one, opened(other)) for one, other in zip(alone, beside, strict=True))

    async def test_it_tells_how_far_it_is(self, load: Any) -> None:
        told = list[float]()
        with followed_by(told.append):
            await load("diffusers").generate("a red dog", steps=4)
        assert told == [0.25, 0.5, 0.75, 1.0]

    async def test_where_the_device_is_full_a_batch_is_halved(
        self, fresh: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        model = fresh("diffusers")
        unet, sizes = model._engine.pipeline("generate").make.unet, list[int]()
        forward, kept, held = unet.forward, list[weakref.ref[Any]](), list[bool]()

        def small(x: Any, *more: Any, **named: Any) -> Any:
            sizes.append(len(x))
            held.extend(one() is not None for one in kept)
            kept.clear()
            if len(x) > 4:
                activations = x.clone()
                kept.append(weakref.ref(activations))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(x, *more, **named)

        monkeypatch.setattr(unet, "forward", small)
        for _ in range(2):
            assert len(await asyncio.gather(*(model.generate("a red dog", seed=seed) for seed in range(4)))) == 4
        assert max(sizes) > 4
        assert max(sizes[sizes.index(max(sizes)) + 1 :]) <= 4  # it has learned
        assert held == [False]  # nothing of what did not fit was there while the halves were painted

    async def test_a_small_picture_is_enlarged(self, load: Any, options_of: Any) -> None:
        model = unloaded("diffusers")
        await model.reconfigure(options_of("diffusers", upscale_to=256))
        large = await model.generate("a red dog", seed=1)
        assert size(large) == (256, 256)
        assert size(await model.generate("a red dog", width=128)) == (128, 256)
        with pytest.raises(InvalidInput, match="multiple of 32 from 32 to 256"):
            await model.generate("a red dog", width=72)
        small = await load("diffusers").generate("a red dog", seed=1)
        opened = [PIL.Image.open(io.BytesIO(image.data)).convert("RGB") for image in (small, large)]
        assert opened[0].resize((256, 256), PIL.Image.Resampling.LANCZOS).tobytes() == opened[1].tobytes()

    async def test_an_upscaler_enlarges_it_with_more_contrast_at_edges_than_lanczos(self, options_of: Any) -> None:
        sharpness = dict[str | None, float]()
        for upscaler in (None, "starter/upscaler"):
            model = unloaded("diffusers")
            await model.reconfigure(options_of("diffusers", upscale_to=256, upscaler=upscaler))
            large = await model.generate("a red circle on white", seed=1)
            assert size(large) == (256, 256)
            pixels = np.asarray(PIL.Image.open(io.BytesIO(large.data)).convert("L"), float)
            sharpness[upscaler] = float(np.percentile(np.abs(np.diff(pixels, axis=1)), 99.5))
        assert sharpness["starter/upscaler"] > 1.2 * sharpness[None]

    @pytest.mark.parametrize(
        "options",
        [
            {"width": 60},
            {"upscale_to": 100},
            {"upscale_to": 512, "upscaler": "starter/upscaler"},
            {"upscale_to": 256, "max_side": 128},
            {"weights": "starter/none"},
            {"savings": ["model_offload"], "device": "cpu"},
        ],
    )
    async def test_options_that_do_not_suit_the_weights_are_refused(self, options_of: Any, options: Any) -> None:
        with pytest.raises(ModelUnavailable):
            await unloaded("diffusers").reconfigure(options_of("diffusers", **options))

    async def test_savings_change_next_to_nothing_in_a_picture(self, load: Any, options_of: Any) -> None:
        model = unloaded("diffusers")
        await model.reconfigure(options_of("diffusers", savings=["attention_slicing", "vae_slicing"]))
        plain, saved = [
            opened(await one.generate("a red dog", seed=1)).astype(int) for one in (load("diffusers"), model)
        ]
        assert np.abs(plain - saved).max() <= 2

    async def test_tiles_are_decoded_one_by_one(self, options_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        model = unloaded("diffusers")
        await model.reconfigure(options_of("diffusers", savings=["vae_tiling"]))
        vae, decoded = model._engine.pipeline("generate").make.vae, list[tuple[int, ...]]()
        whole = vae.decoder.forward
        monkeypatch.setattr(vae.decoder, "forward", lambda z, *more: decoded.append(tuple(z.shape)) or whole(z, *more))
        await model.generate("a red dog", width=256, height=256, seed=1)
        assert len(decoded) > 1

    async def test_pickled_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        (tmp_path / "unet").mkdir()
        (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(ModelUnavailable, match="pickled"):
            await unloaded("diffusers").reconfigure(options_of("diffusers", weights=str(tmp_path)))

    async def test_one_pickled_part_among_safetensors_is_refused(
        self, options_of: Any, painter_weights: Path, tmp_path: Path
    ) -> None:
        import shutil

        import torch
        from safetensors.torch import load_file

        folder = tmp_path / "mixed"
        shutil.copytree(painter_weights, folder)
        part = folder / "unet" / "diffusion_pytorch_model.safetensors"
        torch.save(load_file(part), part.with_suffix(".bin"))
        part.unlink()
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            await unloaded("diffusers").reconfigure(options_of("diffusers", weights=str(folder)))

    async def test_a_full_device_is_out_of_memory(self, load: Any, monkeypatch: Any) -> None:
        import torch

        def full(*args: Any, **kwargs: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        model = load("diffusers")
        monkeypatch.setattr(model._engine.pipeline("generate").make.unet, "forward", full)
        with pytest.raises(OutOfMemory):
            await model.generate("a red dog")
