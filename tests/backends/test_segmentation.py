"""The contract of `Segmentation`."""

# pyright: reportMissingImports=false
import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments import BACKENDS
from deployments.capabilities import Segmentation
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Image

from .harness import UNTRAINED, able, need, offering, reload_in_flight, seconds_to_stop, unloaded
from .pictures import disc, disc_mask, opened, overlap, written
from .vision_weights import MEAN, STD, write_fastsam, write_sam2, write_sam2_video

pytestmark = pytest.mark.asyncio
NAMES = offering(Segmentation)
FINDERS = [name for name in NAMES if name not in UNTRAINED]
THOROUGH = able(Segmentation, "everything")
NAN = float("nan")


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


@pytest.fixture(params=FINDERS)
def finder(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


HINTS: dict[str, dict[str, Any]] = {
    "a point": {"points": [(220, 140)]},
    "points and ground": {"points": [(200, 120), (240, 160)], "background_points": [(20, 20), (380, 280)]},
    "a box": {"boxes": [(120, 40, 320, 240)]},
    "a rough mask": {"mask": disc_mask(radius=55)},
    "a box and a point": {"boxes": [(130, 50, 310, 230)], "points": [(220, 140)]},
}


@pytest.mark.parametrize("hint", HINTS)
async def test_a_disc_is_found(finder: Any, hint: str) -> None:
    mask = await finder.segment(disc(), **HINTS[hint])
    assert mask.media_type == "image/png"
    picture = opened(mask)
    assert (picture.mode, picture.size) == ("L", (400, 300))
    assert set(np.unique(np.asarray(picture))) == {0, 255}
    assert overlap(mask, disc_mask()) > 0.9


async def test_a_large_picture_gets_a_mask_of_its_size(finder: Any) -> None:
    shape: dict[str, Any] = {"size": (1600, 1200), "centre": (900, 600), "radius": 330}
    mask = await finder.segment(disc(**shape), boxes=[(500, 200, 1300, 1000)])
    assert opened(mask).size == (1600, 1200)
    assert overlap(mask, disc_mask(**shape)) > 0.97


async def test_two_boxes_find_two_things(finder: Any) -> None:
    both = PIL.Image.new("RGB", (800, 300))
    both.paste(opened(disc()), (0, 0))
    both.paste(opened(disc()), (400, 0))
    mask = await finder.segment(written(both), boxes=[(120, 40, 320, 240), (520, 40, 720, 240)])
    halves = [written(opened(mask).crop((x, 0, x + 400, 300))) for x in (0, 400)]
    assert all(overlap(half, disc_mask()) > 0.9 for half in halves)


async def test_coordinates_are_those_that_people_see(finder: Any) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # held sideways: shown turned by 90 degrees to the right
    stored = opened(disc()).transpose(PIL.Image.Transpose.ROTATE_90)
    mask = await finder.segment(written(stored, "JPEG", exif=exif, quality=95), points=[(220, 140)])
    assert opened(mask).size == (400, 300)
    assert overlap(mask, disc_mask()) > 0.9


async def test_the_same_call_gives_the_same_mask_also_beside_others(model: Any) -> None:
    alone = await model.segment(disc(), points=[(220, 140)])
    calls = (model.segment(disc(), points=[(220, 140)] if i % 2 else [(10, 10)]) for i in range(4))
    beside = await asyncio.gather(*calls)
    assert beside[1] == beside[3] == alone
    assert beside[0] == beside[2] != alone


@pytest.mark.parametrize(
    ("image", "hints"),
    [
        (PIL.Image.new("RGB", (64, 64), "grey"), {"mask": written(PIL.Image.new("L", (64, 64)))}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"boxes": [(0, 0, 64, 64)]}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"boxes": [(10, 10, 10.5, 10.5)]}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"points": [(63.9, 63.9)]}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"background_points": [(5, 5)]}),
        (PIL.Image.new("RGB", (1, 1), "grey"), {"points": [(0, 0)]}),
        (PIL.Image.new("RGB", (3000, 2), "grey"), {"boxes": [(10, 0, 2000, 2)]}),
        (PIL.Image.new("RGBA", (64, 64)), {"points": [(5, 5)], "background_points": [(5, 5)]}),
        (PIL.Image.new("L", (64, 64), 255), {"mask": written(PIL.Image.new("L", (64, 64), 255))}),
    ],
)
async def test_where_there_is_little_to_find_there_still_is_a_mask(model: Any, image: Any, hints: Any) -> None:
    mask = opened(await model.segment(written(image), **hints))
    assert (mask.mode, mask.size) == ("L", image.size)
    assert set(np.unique(np.asarray(mask))) <= {0, 255}


async def test_an_empty_hint_finds_nothing(model: Any) -> None:
    mask = await model.segment(disc(), mask=written(PIL.Image.new("L", (400, 300))))
    assert not np.asarray(opened(mask)).any()


@pytest.mark.parametrize(
    ("field", "hints"),
    [
        ("points", {}),
        ("points", {"points": [], "boxes": []}),
        ("points", {"points": [(400, 10)]}),
        ("points", {"points": [(10, -1)]}),
        ("points", {"points": [(NAN, 10)]}),
        ("points", {"points": [(1, 1)] * 10_000}),
        ("background_points", {"points": [(1, 1)], "background_points": [(1, 300)]}),
        ("boxes", {"boxes": [(0, 0, 401, 10)]}),
        ("boxes", {"boxes": [(10, 10, 10, 20)]}),
        ("boxes", {"boxes": [(20, 10, 10, 20)]}),
        ("boxes", {"boxes": [(0, 0, NAN, 10)]}),
        ("mask", {"mask": disc_mask(size=(300, 400))}),
        ("mask", {"mask": Image(b"nothing", "image/png")}),
        ("image", {"image": Image(b"nothing", "image/png"), "points": [(1, 1)]}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, hints: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.segment(**{"image": disc(), **hints})
    assert raised.value.field == field


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (400, 300)])
async def test_a_mask_is_black_and_white_and_of_the_pictures_size(model: Any, size: tuple[int, int]) -> None:
    mask = await model.segment(disc(size=size), points=[(0, 0)])
    assert mask.media_type == "image/png"
    assert (opened(mask).mode, opened(mask).size) == ("L", size)
    assert set(np.unique(np.asarray(opened(mask)))) <= {0, 255}


def noise() -> Image:
    return written(PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8)))


# A long call: options with which it is long, and the call.
LONG: dict[str, tuple[dict[str, Any], Callable[[Any], Coroutine[Any, Any, Any]]]] = {
    "fastsam": ({"side": 640, "sureness": 0, "overlap": 1}, lambda model: model.everything(noise(), limit=200)),
    "grabcut": ({"iterations": 20}, lambda model: model.segment(noise(), boxes=[(40, 40, 440, 440)])),
    "sam2": ({"grid": 64}, lambda model: model.everything(noise())),
}
OTHER: dict[str, Callable[[Path], dict[str, Any]]] = {  # options with which the same call finds something else
    "fastsam": lambda folder: {"weights": str(write_fastsam(folder, seed=1))},
    "grabcut": lambda folder: {"longest_side": 64},
    "sam2": lambda folder: {"weights": str(write_sam2(folder, seed=1))},
}


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, options_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    need(name)
    changes, call = LONG[name]
    model = unloaded(name)
    await model.reconfigure(options_of(name, **changes))
    assert await seconds_to_stop(model, call(model), monkeypatch) < 1.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_options_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = {"boxes": [(120, 40, 320, 240)]}
    expected = await load(name).segment(disc(), **hints)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, **OTHER[name](tmp_path))
    assert await reload_in_flight(model, lambda: model.segment(disc(), **hints), other, monkeypatch) == expected
    assert await model.segment(disc(), **hints) != expected


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(THOROUGH)))
async def test_what_finds_only_what_it_is_shown_says_so(name: str, load: Any) -> None:
    with pytest.raises(ModelUnavailable, match="does not segment everything"):
        await load(name).everything(disc())


class TestEverything:
    """Masks of all there is, for the backends that can."""

    @pytest.fixture(params=THOROUGH)
    def model(self, request: pytest.FixtureRequest, fresh: Any, tmp_path: Path) -> Any:
        """With the other options: the masks of SAM 2's other tiny weights differ from point to point."""
        need(request.param)
        return fresh(request.param, **OTHER[request.param](tmp_path))

    async def test_masks_are_as_segment_makes_them_no_two_alike_and_at_most_so_many(self, model: Any) -> None:
        masks = await model.everything(disc())
        assert len(masks) > 1
        for mask in masks:
            assert mask.media_type == "image/png"
            assert (opened(mask).mode, opened(mask).size) == ("L", (400, 300))
            assert set(np.unique(np.asarray(opened(mask)))) <= {0, 255}
        assert len({mask.data for mask in masks}) == len(masks)
        assert await model.everything(disc(), limit=1) == masks[:1]

    @pytest.mark.parametrize(
        ("field", "arguments"),
        [("limit", {"limit": 0}), ("limit", {"limit": 201}), ("image", {"image": Image(b"nothing", "image/png")})],
    )
    async def test_bad_input_names_its_field(self, model: Any, field: str, arguments: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput) as raised:
            await model.everything(**{"image": disc(), **arguments})
        assert raised.value.field == field


class TestSAM2:
    """What only SAM 2 promises: that the network sees picture and hints as it was trained to."""

    @pytest.mark.parametrize("size", [(64, 64), (100, 60)])
    async def test_the_mask_is_the_networks_own(self, load: Any, sam2_weights: Path, size: tuple[int, int]) -> None:
        """Against transformers' model, called as its documentation says, with the figures of SAM 2's processor."""
        import torch
        from transformers import Sam2Model

        picture = disc(size=size, centre=(40, 30), radius=15)
        small = opened(picture).resize((64, 64), PIL.Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
        pixels = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        network: Any = Sam2Model.from_pretrained(sam2_weights).eval()
        x, y = 64 / size[0], 64 / size[1]
        given: dict[str, Any] = {
            "input_points": torch.tensor([[[[40 * x, 30 * y], [3 * x, 5 * y]]]]),
            "input_labels": torch.tensor([[[1, 0]]], dtype=torch.int32),
            "input_boxes": torch.tensor([[[20 * x, 10 * y, 60 * x, 50 * y]]]),
        }
        with torch.inference_mode():
            logits = network(pixel_values=pixels, multimask_output=False, **given).pred_masks[0]
        expected = torch.nn.functional.interpolate(logits, size[::-1], mode="bilinear")[0, 0] > 0
        assert 0.01 < expected.float().mean() < 0.99
        hints = {"points": [(40, 30)], "background_points": [(3, 5)], "boxes": [(20, 10, 60, 50)]}
        found = np.asarray(opened(await load("sam2").segment(picture, **hints))) > 0
        assert (found == expected.numpy()).mean() > 0.999

    async def test_every_hint_counts(self, load: Any) -> None:
        model = load("sam2")
        everything: dict[str, Any] = {
            "points": [(220, 140)],
            "background_points": [(20, 20)],
            "boxes": [(120, 40, 320, 240)],
            "mask": disc_mask(radius=55),
        }
        whole = await model.segment(disc(), **everything)
        for hint in everything:
            rest = {name: value for name, value in everything.items() if name != hint}
            assert await model.segment(disc(), **rest) != whole, hint

    async def test_ground_alone_gives_the_rest(self, load: Any) -> None:
        model = load("sam2")
        thing, rest = [
            np.asarray(opened(await model.segment(disc(), **{hint: [(220, 140), (230, 140)]})))
            for hint in ("points", "background_points")
        ]
        assert np.array_equal(thing, 255 - rest)

    async def test_each_box_is_a_thing_with_the_points_in_it(self) -> None:
        from deployments.segmentation.hints import PixelHints
        from deployments.segmentation.sam2 import Prompt, prompts

        left, right = (0, 0, 10, 10), (20, 0, 30, 10)
        shown = PixelHints([(5, 5), (25, 5), (50, 50)], [(1, 1)], [left, right], None)
        assert prompts(shown) == [
            Prompt([(5, 5)], [(1, 1)], left),
            Prompt([(25, 5)], [(1, 1)], right),
            Prompt([(50, 50)], [(1, 1)]),
        ]

    async def test_a_mask_alone_gets_the_box_around_it(self) -> None:
        from deployments.segmentation.hints import PixelHints
        from deployments.segmentation.sam2 import prompts

        mask = np.zeros((20, 30), np.uint8)
        mask[4:9, 11:20] = 255
        assert [prompt.box for prompt in prompts(PixelHints([], [], [], mask))] == [(11, 4, 20, 9)]
        assert [prompt.box for prompt in prompts(PixelHints([(1, 1)], [], [], mask))] == [None]

    async def test_weights_of_a_video_model_find_the_same(self, fresh: Any, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        video, still = write_sam2_video(tmp_path / "video"), write_sam2(tmp_path / "still")
        known = load_file(still / "model.safetensors")
        tensors = {name: value for name, value in load_file(video / "model.safetensors").items() if name in known}
        assert len(tensors) == len(known)
        save_file(tensors, still / "model.safetensors", {"format": "pt"})
        masks = [
            await (await asyncio.to_thread(fresh, "sam2", weights=str(folder))).segment(disc(), points=[(220, 140)])
            for folder in (video, still)
        ]
        assert masks[0] == masks[1]

    async def test_without_a_processors_file_pictures_are_seen_with_imagenets_figures(
        self, load: Any, fresh: Any, tmp_path: Path
    ) -> None:
        (write_sam2(tmp_path) / "preprocessor_config.json").unlink()
        bare = await asyncio.to_thread(fresh, "sam2", weights=str(tmp_path))
        expected = await load("sam2").segment(disc(), points=[(220, 140)])
        assert await bare.segment(disc(), points=[(220, 140)]) == expected

    async def test_unsure_and_blurred_masks_are_no_things(self) -> None:
        import torch

        from deployments.segmentation.everything import Proposals

        found = Proposals(sureness=0.8, stability=0.9)
        sharp, blurred = torch.full((8, 8), -9.0), torch.full((8, 8), -0.5)
        sharp[2:5, 3:7] = 9
        blurred[2:5, 3:7] = 0.5
        found.add(torch.stack([sharp, sharp.flip(1), blurred, -sharp.abs()]), torch.tensor([0.9, 0.7, 0.9, 0.9]))
        assert torch.equal(found.surest(0.7, 10).float(), sharp[None])

    async def test_of_boxes_that_overlap_the_surest_stays(self) -> None:
        from deployments.segmentation.everything import suppressed

        boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 5], [20, 20, 30, 30]], float)
        scores = np.array([0.8, 0.9, 0.85, 0.1])
        assert suppressed(boxes, scores, 0.7, 10) == [1, 2, 3]
        assert suppressed(boxes, scores, 0.4, 10) == [1, 3]
        assert suppressed(boxes, scores, 1.0, 2) == [1, 2]

    @pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network", "bad figures"])
    async def test_what_is_no_sam_leaves_the_old_in_use(self, fresh: Any, tmp_path: Path, content: str) -> None:
        import shutil

        from deployments.backend import STARTER

        if content == "pickle":
            (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
        elif content == "damaged":
            (write_sam2(tmp_path) / "model.safetensors").write_bytes(b"not at all")
        elif content == "another network":
            shutil.copytree(STARTER / "restorer/weights", tmp_path, dirs_exist_ok=True)
        elif content == "bad figures":
            (write_sam2(tmp_path) / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
        model = await asyncio.to_thread(fresh, "sam2")
        with pytest.raises(ModelUnavailable):
            await model.reconfigure(BACKENDS["sam2"].Options(weights=str(tmp_path)))
        assert opened(await model.segment(disc(), points=[(1, 1)])).size == (400, 300)


class TestFastSAM:
    """What only FastSAM promises: masks that are the network's own, and of those the ones that are shown."""

    async def test_masks_are_the_networks_own(self, fresh: Any, fastsam_weights: Path) -> None:
        """Against ultralytics' own predictor, which looks at a square picture as it is."""
        from safetensors.torch import load_file
        from ultralytics.models.fastsam import FastSAMPredictor
        from ultralytics.nn.tasks import SegmentationModel, yaml_model_load

        network: Any = SegmentationModel(yaml_model_load("yolov8n-seg.yaml"), nc=1, verbose=False)
        network.load_state_dict(load_file(fastsam_weights / "model.safetensors"))
        network.names = {0: "thing"}
        asked = {"imgsz": 128, "conf": 0.5, "iou": 0.5, "retina_masks": True, "verbose": False, "save": False}
        predictor = FastSAMPredictor(overrides={**asked, "device": "cpu", "max_det": 50})
        picture = disc(size=(128, 128), centre=(60, 60), radius=30)
        found = predictor(np.asarray(opened(picture).convert("RGB"))[:, :, ::-1], model=network.eval())
        expected = found[0].masks.data[:5].numpy().astype(bool)
        fastsam = await asyncio.to_thread(fresh, "fastsam", sureness=0.5, overlap=0.5)
        masks = [np.asarray(opened(mask)) > 0 for mask in await fastsam.everything(picture, limit=50)]
        assert len(expected) == 5
        for mask in expected:
            assert max((mask & made).sum() / (mask | made).sum() for made in masks) > 0.95

    async def test_of_a_box_the_best_thing_is_taken_and_of_a_point_all_above_it(self) -> None:
        from deployments.segmentation.fastsam import _likeness, _meant
        from deployments.segmentation.sam2 import Prompt

        thing = np.zeros((20, 30), bool)
        thing[5:15, 10:20] = True
        assert _likeness(thing, Prompt([], [], (10, 5, 20, 15))) == 1
        assert _likeness(thing, Prompt([], [], (10, 5, 15, 15))) == 0.5
        assert _likeness(thing, Prompt([], [], (0, 0, 5, 5))) == 0
        assert _likeness(thing, Prompt([], [], None, thing.astype(np.uint8) * 255)) == 1
        assert _meant(thing, Prompt([(1, 1), (10.5, 5.5)], []))
        assert not _meant(thing, Prompt([(20, 5)], []))
        assert not _meant(thing, Prompt([(12, 7)], [(19, 14)]))

    async def test_pictures_are_framed_as_in_training(self) -> None:
        from deployments.segmentation.fastsam import Frame

        assert Frame.around((400, 300), 128) == Frame((400, 300), (128, 96), 0, 0, (128, 96))
        assert Frame.around((100, 60), 64) == Frame((100, 60), (64, 38), 0, 13, (64, 64))
        assert Frame.around((3000, 2), 64) == Frame((3000, 2), (64, 1), 0, 15, (64, 32))

    @pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network", "another size"])
    async def test_what_is_no_fastsam_leaves_the_old_in_use(self, fresh: Any, tmp_path: Path, content: str) -> None:
        import shutil

        from safetensors.torch import load_file, save_file

        from deployments.backend import STARTER

        model = await asyncio.to_thread(fresh, "fastsam")
        if content == "pickle":
            (tmp_path / "FastSAM-x.pt").write_bytes(b"pickle")
        elif content == "damaged":
            (write_fastsam(tmp_path) / "model.safetensors").write_bytes(b"not at all")
        elif content == "another network":
            shutil.copytree(STARTER / "restorer/weights", tmp_path, dirs_exist_ok=True)
        elif content == "another size":
            tensors = load_file(write_fastsam(tmp_path) / "model.safetensors")
            tensors["model.0.conv.weight"] = tensors["model.0.conv.weight"].repeat(2, 1, 1, 1)
            save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(ModelUnavailable):
            await model.reconfigure(BACKENDS["fastsam"].Options(weights=str(tmp_path)))
        assert opened(await model.segment(disc(), points=[(1, 1)])).size == (400, 300)
