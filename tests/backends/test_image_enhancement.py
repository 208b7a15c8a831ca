"""The contract of `ImageEnhancement`."""

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageOps
import pytest

from deployments import BACKENDS
from deployments.backend import STARTER
from deployments.capabilities import ImageEnhancement, lacking
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Image

from .harness import REMOTE, offering, other_options, reload_in_flight, seconds_to_stop, unloaded
from .pictures import disc, disc_mask, opened, overlap, written
from .vision_weights import write_knower, write_matter

pytestmark = pytest.mark.asyncio
NAMES = offering(ImageEnhancement)
UPSCALERS = [name for name in NAMES if "upscale" not in lacking(BACKENDS[name])]
RELIGHTERS = [name for name in NAMES if "relight" not in lacking(BACKENDS[name])]
STYLISTS = [name for name in NAMES if "stylize" not in lacking(BACKENDS[name])]
REMOVERS = [name for name in NAMES if "remove_background" not in lacking(BACKENDS[name])]
SCALES = (2, 4)


@pytest.fixture(params=UPSCALERS)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


@pytest.mark.parametrize("scale", SCALES)
async def test_what_was_reduced_comes_back_better_than_by_bicubic(model: Any, scale: int) -> None:
    pytest.importorskip(
        "cv2", reason="OpenCV, which draws the scenes, is not installed here: `make test` runs this test"
    )
    from deployments.starter.upscaler.data import reduced, scene
    from deployments.starter.upscaler.measure import bicubic, psnr

    large = scene(random.Random("contract"), held_out=True)
    small = reduced(large, scale)
    made = await model.upscale(written(PIL.Image.fromarray(small)), scale=scale)
    assert made.media_type == "image/png"
    assert psnr(np.asarray(opened(made)), large, scale) > psnr(bicubic(small, scale), large, scale) + 0.5


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 64), (65, 20), (130, 70), (500, 2)])
async def test_both_sides_grow_by_the_scale(model: Any, size: tuple[int, int], scale: int) -> None:
    made = opened(await model.upscale(written(PIL.Image.new("RGB", size, (200, 90, 30))), scale=scale))
    assert (made.mode, made.size) == ("RGB", (scale * size[0], scale * size[1]))
    assert np.abs(np.asarray(made, float) - (200, 90, 30)).max() < 12  # a plain colour stays one, to its edges


async def test_two_is_the_scale_unless_one_is_named(model: Any) -> None:
    assert await model.upscale(disc(size=(60, 40))) == await model.upscale(disc(size=(60, 40)), scale=2)


async def test_tiles_leave_no_seam(model: Any, fresh: Any) -> None:
    picture = disc(size=(150, 100), centre=(75, 50), radius=40)
    whole = await asyncio.to_thread(fresh, "swin2sr", tile=152)
    made, expected = [np.asarray(opened(await one.upscale(picture)), float) for one in (model, whole)]
    assert np.abs(made - expected).mean() < 1.5
    seam = np.abs(made - expected)[:, 126:130].mean()
    assert seam < 2.5


async def test_transparency_grows_too(model: Any) -> None:
    picture = opened(disc(size=(60, 40))).convert("RGBA")
    alpha = PIL.Image.linear_gradient("L").resize(picture.size)
    picture.putalpha(alpha)
    made = opened(await model.upscale(written(picture)))
    assert (made.mode, made.size) == ("RGBA", (120, 80))
    expected = alpha.resize((120, 80), PIL.Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(expected))


async def test_the_same_call_gives_the_same_picture_also_beside_others(model: Any) -> None:
    alone = await model.upscale(disc(size=(60, 40)))
    calls = (model.upscale(disc(size=(60, 40)), scale=SCALES[i % 2]) for i in range(4))
    beside = await asyncio.gather(*calls)
    assert beside[0] == beside[2] == alone != beside[1] == beside[3]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("scale", {"scale": 3}),
        ("scale", {"scale": 0}),
        ("scale", {"image": written(PIL.Image.new("L", (2600, 2600))), "scale": 2}),
        ("scale", {"image": written(PIL.Image.new("L", (1300, 1300))), "scale": 4}),
        ("image", {"image": Image(b"nothing", "image/png")}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.upscale(**{"image": disc(), **arguments})
    assert raised.value.field == field


@pytest.mark.parametrize("name", UPSCALERS)
async def test_cancelling_stops_the_work(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(name)
    assert await seconds_to_stop(model, model.upscale(disc(size=(800, 800)), scale=4), monkeypatch) < 2


@pytest.mark.parametrize("name", UPSCALERS)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = disc(size=(100, 80))
    expected = await load(name).upscale(small)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, **other_options(name, {"weights": str(STARTER / "upscaler/weights/x4")}))
    assert await reload_in_flight(model, lambda: model.upscale(small), other, monkeypatch) == expected
    assert opened(await model.upscale(small, scale=4)).size == (400, 320)
    if name in REMOTE:
        assert await model.upscale(small) != expected
    else:
        with pytest.raises(InvalidInput, match="one of 4"):
            await model.upscale(small)


@pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network", "another scale"])
async def test_what_is_no_network_leaves_the_old_in_use(fresh: Any, tmp_path: Path, content: str) -> None:
    import shutil

    from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

    if content == "pickle":
        (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    elif content == "damaged":
        shutil.copytree(STARTER / "upscaler/weights/x2", tmp_path, dirs_exist_ok=True)
        (tmp_path / "model.safetensors").write_bytes(b"not at all")
    elif content == "another network":
        shutil.copytree(STARTER / "upscaler/weights/x2", tmp_path, dirs_exist_ok=True)
        shutil.copy(
            STARTER / "painter/weights/unet/diffusion_pytorch_model.safetensors", tmp_path / "model.safetensors"
        )
    elif content == "another scale":
        config = Swin2SRConfig(embed_dim=12, depths=[1], num_heads=[1], upscale=3)
        Swin2SRForImageSuperResolution(config).save_pretrained(tmp_path)
    model = await asyncio.to_thread(fresh, "swin2sr")
    with pytest.raises(ModelUnavailable):
        await model.reconfigure(BACKENDS["swin2sr"].Options(weights=str(tmp_path)))
    assert opened(await model.upscale(disc(size=(20, 20)))).size == (40, 40)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(UPSCALERS)))
async def test_what_does_not_enlarge_says_so(name: str, load: Any) -> None:
    with pytest.raises(ModelUnavailable, match="does not enlarge"):
        await load(name).upscale(disc())


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(REMOVERS)))
async def test_what_does_not_remove_backgrounds_says_so(name: str, load: Any) -> None:
    with pytest.raises(ModelUnavailable, match="does not remove backgrounds"):
        await load(name).remove_background(disc())


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(RELIGHTERS)))
async def test_what_does_not_relight_says_so(name: str, load: Any) -> None:
    with pytest.raises(ModelUnavailable, match="does not relight"):
        await load(name).relight(disc(), disc_mask())


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(STYLISTS)))
async def test_what_does_not_stylize_says_so(name: str, load: Any) -> None:
    with pytest.raises(ModelUnavailable, match="does not stylize"):
        await load(name).stylize(disc(), disc())


def alpha_of(image: Image) -> np.ndarray:
    return np.asarray(opened(image).getchannel("A"))


class TestBackground:
    """Backgrounds removed, for the backends that can."""

    @pytest.fixture(params=REMOVERS)
    def model(self, request: pytest.FixtureRequest, load: Any) -> Any:
        return load(request.param)

    @pytest.mark.parametrize("shape", [{}, {"size": (1600, 1200), "centre": (900, 600), "radius": 330}])
    async def test_a_disc_stays_and_what_is_around_it_goes(self, model: Any, shape: dict[str, Any]) -> None:
        made = await model.remove_background(disc(**shape))
        assert made.media_type == "image/png"
        picture = opened(made)
        assert (picture.mode, picture.size) == ("RGBA", opened(disc(**shape)).size)
        alpha = alpha_of(made)
        assert overlap(written(PIL.Image.fromarray(alpha)), disc_mask(**shape)) > 0.97
        inside = alpha == 255
        assert (np.asarray(picture)[inside][:, :3] == np.asarray(opened(disc(**shape)))[inside]).all()

    async def test_the_edge_is_soft_and_free_of_the_backgrounds_colour(self, model: Any) -> None:
        large = PIL.Image.new("RGB", (1600, 1200), (20, 120, 20))
        PIL.ImageDraw.Draw(large).circle((800, 600), 400, fill=(220, 30, 30))
        made = np.asarray(opened(await model.remove_background(written(large.resize((400, 300))))), int)
        partly = (made[..., 3] > 80) & (made[..., 3] < 220)
        assert partly.sum() > 100
        red, green = made[partly][:, 0], made[partly][:, 1]
        assert np.median(red - green) > 150  # of 190 in the disc; half as much where both colours mix

    async def test_what_was_transparent_stays_so(self, model: Any) -> None:
        picture = opened(disc()).convert("RGBA")
        picture.paste((0, 0, 0, 0), (220, 0, 400, 300))
        alpha = alpha_of(await model.remove_background(written(picture)))
        assert not alpha[:, 220:].any()
        assert alpha[140, 180] == 255

    @pytest.mark.parametrize(
        "image",
        [
            Image(b"nothing", "image/png"),
            written(PIL.Image.new("RGB", (64, 48), "grey")),
            written(PIL.Image.new("RGB", (1, 1), "grey")),
        ],
    )
    async def test_a_picture_of_nothing_is_refused(self, model: Any, image: Image) -> None:
        with pytest.raises(InvalidInput) as raised:
            await model.remove_background(image)
        assert raised.value.field == "image"

    @pytest.mark.parametrize("size", [(3, 200), (500, 2)])
    async def test_odd_shapes_are_cut_or_refused(self, model: Any, size: tuple[int, int]) -> None:
        picture = PIL.Image.new("RGB", size, "green")
        picture.paste("red", (0, 0, size[0] // 2 + 1, size[1] // 2 + 1))
        try:
            assert opened(await model.remove_background(written(picture))).size == size
        except InvalidInput as error:
            assert error.field == "image"

    async def test_the_same_call_gives_the_same_picture_also_beside_others(self, model: Any) -> None:
        other = disc(centre=(150, 150))
        alone = await model.remove_background(disc())
        beside = await asyncio.gather(*(model.remove_background(disc() if i % 2 else other) for i in range(4)))
        assert beside[1] == beside[3] == alone
        assert beside[0] == beside[2] != alone

    async def test_cancelling_stops_the_work(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        large = disc(size=(2400, 1800), centre=(1200, 900), radius=600)
        assert await seconds_to_stop(model, model.remove_background(large), monkeypatch) < 2

    @pytest.mark.parametrize("name", REMOVERS)
    async def test_other_weights_do_not_disturb_a_call_in_flight(
        self, name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = await load(name).remove_background(disc())
        model = unloaded(name)
        await model.reconfigure(options_of(name))
        other = options_of(name, matting=str(write_matter(tmp_path)))
        assert await reload_in_flight(model, lambda: model.remove_background(disc()), other, monkeypatch) == expected
        assert await model.remove_background(disc()) != expected


class TestCutout:
    """What only this one promises, and how its networks are asked."""

    async def test_a_matter_decides_at_the_edge_and_nowhere_else(self, load: Any, fresh: Any, tmp_path: Path) -> None:
        matted = await asyncio.to_thread(fresh, "cutout", matting=str(write_matter(tmp_path)))
        hard, soft = [alpha_of(await one.remove_background(disc())) for one in (load("cutout"), matted)]
        y, x = np.mgrid[:300, :400]
        far = np.abs(np.hypot(x - 220, y - 140) - 80) > 12
        assert np.array_equal(hard[far], soft[far])
        assert (hard[~far] != soft[~far]).mean() > 0.2

    @pytest.mark.parametrize("size", [(64, 96), (50, 70)])
    async def test_the_alpha_is_the_matters_own(self, tmp_path: Path, size: tuple[int, int]) -> None:
        """Against transformers' model behind its own processor."""
        import torch
        from transformers import VitMatteForImageMatting, VitMatteImageProcessorPil

        from deployments.image_enhancement.matting import Matter
        from deployments.vision import preprocessing

        weights = write_matter(tmp_path)
        network: Any = VitMatteForImageMatting.from_pretrained(weights).eval()
        processor: Any = VitMatteImageProcessorPil.from_pretrained(weights)
        colours = np.asarray(opened(disc(size=size, centre=(30, 30), radius=20)))
        known = np.zeros(size[::-1], np.float32)
        known[10:50, 10:40], known[20:40, 20:30] = 0.5, 1
        trimap = PIL.Image.fromarray((known * 255).astype(np.uint8))
        with torch.inference_mode():
            inputs = processor(PIL.Image.fromarray(colours), trimap, return_tensors="pt")
            expected = network(**inputs).alphas[0, 0, : size[1], : size[0]].numpy()
        found = Matter(network, preprocessing(str(weights), None, True)[0], "cpu").alpha(colours, known)
        assert np.abs(found - expected).max() < 0.02  # the processor's trimap has 127 of 255 where ours has a half
        assert np.ptp(expected) > 0.1

    async def test_a_knower_gives_each_pixel_to_what_its_queries_speak_for(self, tmp_path: Path) -> None:
        """Against transformers' own semantic map of the same network, which names the likeliest kind of each pixel."""
        import torch
        from transformers import Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil

        from deployments.image_enhancement.subject import large_parts

        weights = write_knower(tmp_path, ("cat", "sky-other-merged"))
        knower = load_cutout(subject=str(weights)).knower
        picture = opened(disc(size=(64, 64), centre=(30, 30), radius=20))
        network: Any = Mask2FormerForUniversalSegmentation.from_pretrained(weights).eval()
        with torch.inference_mode():
            out = network(knower.preprocessing.signal(picture, (64, 64), "cpu"))
        processor: Any = Mask2FormerImageProcessorPil()
        kinds = processor.post_process_semantic_segmentation(out, [(64, 64)])[0].numpy()
        assert 0.05 < (kinds == 0).mean() < 0.95
        same = knower.where(picture) == large_parts(kinds == 0)
        assert same.mean() > 0.9  # edges lie apart by what is enlarged first, the queries' masks or their sum

    @pytest.mark.parametrize(
        ("size", "told", "seen"),
        [
            ((500, 300), {"height": 384, "width": 384}, (384, 384)),
            ((500, 300), {"shortest_edge": 800, "longest_edge": 1333}, (1344, 800)),
            ((300, 500), {"shortest_edge": 320, "longest_edge": 640}, (320, 544)),
            ((9000, 10), {"shortest_edge": 800, "longest_edge": 1333}, (1344, 32)),
        ],
    )
    async def test_a_knower_sees_what_its_processor_is_told(
        self, size: tuple[int, int], told: dict[str, int], seen: tuple[int, int]
    ) -> None:
        from deployments.image_enhancement.subject import seen_size

        assert seen_size(size, told) == seen

    async def test_where_the_knower_knows_nothing_the_colours_decide(
        self, load: Any, fresh: Any, tmp_path: Path
    ) -> None:
        expected = await load("cutout").remove_background(disc())
        for things in (["nothing but this"], ["cat", "nothing but this"]):  # no pixel a subject, or every one
            weights = write_knower(tmp_path / str(len(things)), ("nothing but this", "cat"))
            network = await asyncio.to_thread(fresh, "cutout", subject=str(weights), things=things)
            import torch

            predictor = network._engine.knower.network.class_predictor
            torch.nn.init.zeros_(predictor.weight)
            predictor.bias.data = torch.tensor([-20.0, 20.0, 0.0])
            assert await network.remove_background(disc()) == expected

    @pytest.mark.parametrize("kind", ["subject", "matting"])
    @pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network"])
    async def test_what_is_no_network_leaves_the_old_in_use(
        self, fresh: Any, tmp_path: Path, kind: str, content: str
    ) -> None:
        write: Any = {"subject": write_knower, "matting": write_matter}
        if content == "pickle":
            (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
        elif content == "damaged":
            (write[kind](tmp_path) / "model.safetensors").write_bytes(b"not at all")
        elif content == "another network":
            write[{"subject": "matting", "matting": "subject"}[kind]](tmp_path)
        model = await asyncio.to_thread(fresh, "cutout")
        with pytest.raises(ModelUnavailable):
            await model.reconfigure(BACKENDS["cutout"].Options(**{kind: str(tmp_path)}))
        assert opened(await model.remove_background(disc())).size == (400, 300)

    async def test_a_knower_without_things_is_refused(self, tmp_path: Path) -> None:
        weights = write_knower(tmp_path, ("sky", "sea"))
        with pytest.raises(ModelUnavailable, match="knows none of the things"):
            load_cutout(subject=str(weights))


def load_cutout(**options: Any) -> Any:
    from deployments.image_enhancement.cutout import Cutout, load

    return load(Cutout.Options(**options))


def ball(size: tuple[int, int] = (120, 100)) -> tuple[Image, Image]:
    """A grey picture, and the depth of a half ball in its middle: 16 bit."""
    y, x = np.mgrid[: size[1], : size[0]]
    height = np.sqrt((40**2 - (x - size[0] / 2 + 0.5) ** 2 - (y - size[1] / 2 + 0.5) ** 2).clip(0)) / 40
    depth = PIL.Image.fromarray((height * 65_535).astype(np.uint16))
    return written(PIL.Image.new("RGB", size, (128, 128, 128))), written(depth)


class TestRelight:
    """Pictures lit anew, for the backends that can."""

    @pytest.fixture(params=RELIGHTERS)
    def model(self, request: pytest.FixtureRequest, load: Any) -> Any:
        return load(request.param)

    @pytest.mark.parametrize(
        ("direction", "bright", "dark"),
        [
            ((-1, 0, 1), (35, 50), (85, 50)),
            ((1, 0, 1), (85, 50), (35, 50)),
            ((0, -1, 1), (60, 25), (60, 75)),
            ((0, 2, 1), (60, 75), (60, 25)),
        ],
    )
    async def test_what_faces_the_light_is_bright(
        self, model: Any, direction: tuple[float, float, float], bright: tuple[int, int], dark: tuple[int, int]
    ) -> None:
        made = opened(await model.relight(*ball(), direction=direction))
        assert (made.mode, made.size) == ("RGB", (120, 100))
        grey = np.asarray(made.convert("L"), int)
        assert grey[bright[::-1]] > grey[dark[::-1]] + 20

    async def test_no_strength_and_a_flat_thing_lit_from_the_front_stay_as_they_are(self, model: Any) -> None:
        flat = written(PIL.Image.new("L", (400, 300), 77))
        before = np.asarray(opened(disc()), int)
        for depth, more in ((disc_mask(), {"strength": 0}), (flat, {"strength": 1, "direction": (0, 0, 3)})):
            after = np.asarray(opened(await model.relight(disc(), depth, **more)), int)
            assert np.abs(after - before).max() <= 1

    async def test_a_surface_gets_light_by_lamberts_law(self, model: Any) -> None:
        """A grey of 188 is half the light of white; turned by 60 degrees from the light it has a quarter: 137."""
        picture, flat = written(PIL.Image.new("RGB", (40, 40), (188,) * 3)), written(PIL.Image.new("L", (40, 40), 9))
        made = opened(await model.relight(picture, flat, direction=(3**0.5, 0, 1), strength=1))
        assert np.abs(np.asarray(made, int) - 137).max() <= 1

    async def test_the_light_has_a_colour(self, model: Any) -> None:
        picture, flat = written(PIL.Image.new("RGB", (40, 40), (188,) * 3)), written(PIL.Image.new("L", (40, 40), 9))
        made = await model.relight(picture, flat, direction=(0, 0, 1), colour=(255, 0, 0), strength=1)
        assert opened(made).getpixel((20, 20)) == (188, 0, 0)

    async def test_all_16_bits_of_depth_count(self, model: Any) -> None:
        ramp = np.broadcast_to(np.arange(600, dtype=np.uint16) + 3000, (60, 600))  # two and a half steps of 8 bits
        picture = written(PIL.Image.new("RGB", (600, 60), (188,) * 3))
        made = opened(
            await model.relight(picture, written(PIL.Image.fromarray(ramp)), direction=(-1, 0, 0), strength=1)
        )
        light = np.asarray(made)[30, 100:500]
        assert light.min() > 0 and np.ptp(light) <= 1  # an even slope, an even light

    async def test_what_was_transparent_stays_so(self, model: Any) -> None:
        picture = opened(disc()).convert("RGBA")
        picture.putalpha(PIL.Image.linear_gradient("L").resize(picture.size))
        made = opened(await model.relight(written(picture), disc_mask()))
        assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(picture.getchannel("A")))

    @pytest.mark.parametrize(
        ("field", "arguments"),
        [
            ("image", {"image": Image(b"nothing", "image/png")}),
            ("depth", {"depth": Image(b"nothing", "image/png")}),
            ("depth", {"depth": disc_mask(size=(300, 400))}),
            ("direction", {"direction": (0, 0, 0)}),
            ("direction", {"direction": (1, 0, -1)}),
            ("direction", {"direction": (float("nan"), 0, 1)}),
            ("direction", {"direction": (1, 1)}),
            ("colour", {"colour": (256, 0, 0)}),
            ("colour", {"colour": (0, 0, -1)}),
            ("strength", {"strength": 1.1}),
            ("strength", {"strength": float("nan")}),
        ],
    )
    async def test_bad_input_names_its_field(self, model: Any, field: str, arguments: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput) as raised:
            await model.relight(**{"image": disc(), "depth": disc_mask(), **arguments})
        assert raised.value.field == field

    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (500, 2)])
    async def test_every_shape_is_lit(self, model: Any, size: tuple[int, int]) -> None:
        assert opened(await model.relight(disc(size=size), disc_mask(size=size))).size == size

    async def test_cancelling_stops_the_work(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        shape: dict[str, Any] = {"size": (2400, 1800), "centre": (1200, 900), "radius": 600}
        assert await seconds_to_stop(model, model.relight(disc(**shape), disc_mask(**shape)), monkeypatch) < 2

    @pytest.mark.parametrize("name", RELIGHTERS)
    async def test_other_options_do_not_disturb_a_call_in_flight(
        self, name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = await load(name).relight(*ball())
        model = unloaded(name)
        await model.reconfigure(options_of(name))
        other = options_of(name, relief=1)
        assert await reload_in_flight(model, lambda: model.relight(*ball()), other, monkeypatch) == expected
        assert await model.relight(*ball()) != expected


def gradient(black: str, white: str, size: tuple[int, int] = (90, 70)) -> Image:
    return written(PIL.ImageOps.colorize(PIL.Image.linear_gradient("L").resize(size), black, white))


class TestStylize:
    """Pictures that look as others do, for the backends that can."""

    @pytest.fixture(params=STYLISTS)
    def model(self, request: pytest.FixtureRequest, load: Any) -> Any:
        return load(request.param)

    async def test_mean_and_spread_of_the_colours_become_the_styles(self, model: Any) -> None:
        style = gradient("#604010", "#d0a060")
        made = opened(await model.stylize(gradient("#303050", "#7080a0", (120, 100)), style))
        assert (made.mode, made.size) == ("RGB", (120, 100))
        for measure in (np.mean, np.std):
            found, wanted = [measure(np.asarray(one, float), (0, 1)) for one in (made, opened(style))]
            assert np.abs(found - wanted).max() < 4

    async def test_a_picture_in_its_own_style_and_no_strength_leave_it_as_it_is(self, model: Any) -> None:
        before = np.asarray(opened(disc()), int)
        for style, strength in ((disc(), 1), (gradient("red", "blue"), 0)):
            after = np.asarray(opened(await model.stylize(disc(), style, strength=strength)), int)
            assert np.abs(after - before).max() <= 2

    async def test_half_the_strength_is_half_way(self, model: Any) -> None:
        plain, style = (
            written(PIL.Image.new("RGB", (9, 9), (90, 90, 90))),
            written(PIL.Image.new("RGB", (9, 9), (150,) * 3)),
        )
        grey = [
            int(np.asarray(opened(await model.stylize(plain, style, strength=part))).mean()) for part in (0, 0.5, 1)
        ]
        assert grey[0] == 90 and grey[2] == 150 and 110 < grey[1] < 130

    async def test_what_was_transparent_stays_so(self, model: Any) -> None:
        picture = opened(disc()).convert("RGBA")
        picture.putalpha(PIL.Image.linear_gradient("L").resize(picture.size))
        made = opened(await model.stylize(written(picture), gradient("red", "blue")))
        assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(picture.getchannel("A")))

    @pytest.mark.parametrize(
        ("field", "arguments"),
        [
            ("image", {"image": Image(b"nothing", "image/png")}),
            ("style", {"style": Image(b"nothing", "image/png")}),
            ("strength", {"strength": -0.1}),
            ("strength", {"strength": float("nan")}),
        ],
    )
    async def test_bad_input_names_its_field(self, model: Any, field: str, arguments: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput) as raised:
            await model.stylize(**{"image": disc(), "style": disc(), **arguments})
        assert raised.value.field == field

    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (500, 2)])
    async def test_every_shape_gets_a_style_and_is_one(self, model: Any, size: tuple[int, int]) -> None:
        assert opened(await model.stylize(disc(size=size), disc())).size == size
        assert opened(await model.stylize(disc(), disc(size=size))).size == (400, 300)

    async def test_cancelling_stops_the_work(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        shape: dict[str, Any] = {"size": (2400, 1800), "centre": (1200, 900), "radius": 600}
        assert await seconds_to_stop(model, model.stylize(disc(**shape), disc()), monkeypatch) < 2

    @pytest.mark.parametrize("name", STYLISTS)
    async def test_other_options_do_not_disturb_a_call_in_flight(
        self, name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        style = gradient("red", "blue", (300, 200))
        expected = await load(name).stylize(disc(), style)
        model = unloaded(name)
        await model.reconfigure(options_of(name))
        other = options_of(name, longest_side=16)
        assert await reload_in_flight(model, lambda: model.stylize(disc(), style), other, monkeypatch) == expected
        assert await model.stylize(disc(), style) != expected
