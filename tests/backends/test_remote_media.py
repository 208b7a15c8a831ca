"""Hugging Face and Freepik: what they are sent, what their answers mean, and where their pictures may come from."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from deployments import audio
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.text_to_image.freepik import MODELS, nearest_shape

from .harness import connected
from .media_provider import hugging_face, new_freepik
from .pictures import disc, opened, written
from .provider import BROKEN, HALF, KEY, MALFORMED, Answer, LocalProvider, status

SILENCE = audio.encode(np.zeros(1600, np.float32), 16_000)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[LocalProvider, LocalProvider]]:
    started = LocalProvider(hugging_face), new_freepik()
    yield started
    for server in started:
        server.close()


@pytest.fixture
def hub(servers: tuple[LocalProvider, LocalProvider]) -> LocalProvider:
    return _afresh(servers[0])


@pytest.fixture
def freepik(servers: tuple[LocalProvider, LocalProvider]) -> LocalProvider:
    return _afresh(servers[1])


def _afresh(server: LocalProvider) -> LocalProvider:
    server.faults.clear()
    server.asked.clear()
    return server


async def hosted(task: str, hub: LocalProvider, **options: Any) -> Any:
    return await connected(f"hugging_face_{task}", hub, "/models", **options)


async def tasked(task: str, freepik: LocalProvider, **options: Any) -> Any:
    return await connected(f"freepik_{task}", freepik, "/ai", **options)


class TestHuggingFace:
    """Hugging Face's protocol."""

    async def test_a_model_that_is_not_served_is_unavailable(self, hub: LocalProvider) -> None:
        painter = await hosted("text_to_image", hub, model="local/missing")
        with pytest.raises(ModelUnavailable, match="not supported by provider"):
            await painter.generate("a red dog")

    async def test_what_paints_from_a_text_alone_leaves_the_rest_to_other_models(self, hub: LocalProvider) -> None:
        painter = await hosted("text_to_image", hub)
        for call in (painter.edit(disc(), "a dog"), painter.inpaint(disc(), disc(), "a dog"), painter.vary(disc())):
            with pytest.raises(ModelUnavailable, match="from a text alone"):
                await call
        assert hub.asked == []

    async def test_a_model_that_is_loading_is_asked_again(self, hub: LocalProvider) -> None:
        hub.faults += [Answer.of({"error": "Model is loading", "estimated_time": 20.0}, 503)]
        painter = await hosted("text_to_image", hub, width=64, height=64)
        await painter.generate("a red dog", seed=2**40 + 1)
        path = "/models/black-forest-labs/FLUX.1-schnell"
        assert [asked.path for asked in hub.asked] == [path, path]
        sent = {"inputs": "a red dog", "parameters": {"width": 64, "height": 64, "seed": 1}}
        assert hub.asked[1].json == sent
        assert hub.asked[1].headers["authorization"] == f"Bearer {KEY}"

    async def test_an_endpoint_of_ones_own_is_its_address(self, hub: LocalProvider) -> None:
        painter = await hosted("text_to_image", hub, model=None, base_url=f"{hub.url}/mine/it")
        await painter.generate("a red dog", width=64, height=64)
        assert hub.asked[0].path == "/mine/it"

    @pytest.mark.parametrize("body", [b"", b"no picture", b"\x89PNG\r\n\x1a\n half of one"])
    async def test_what_is_no_picture_is_the_providers_fault(self, hub: LocalProvider, body: bytes) -> None:
        hub.faults += [Answer(body)]
        painter = await hosted("text_to_image", hub)
        with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1 sent a picture that"):
            await painter.generate("a red dog")

    async def test_a_picture_of_another_shape_is_cut_and_not_squeezed(self, hub: LocalProvider) -> None:
        hub.faults += [Answer(written(opened(disc((200, 100), (100, 50), 40)), "WEBP", lossless=True).data)]
        painter = await hosted("text_to_image", hub)
        made_picture = opened(await painter.generate("a red dog", width=64, height=64))
        red = np.asarray(made_picture.convert("RGB"), int)
        is_red = red[..., 0] > red[..., 1]
        assert made_picture.size == (64, 64)
        assert is_red.any(axis=0).sum() == pytest.approx(is_red.any(axis=1).sum(), abs=3)  # a disc still

    async def test_the_refusal_of_a_parameter_names_ours(self, hub: LocalProvider) -> None:
        hub.faults += [Answer.of({"error": {"message": "at most 4", "param": "num_inference_steps"}}, 422)]
        painter = await hosted("text_to_image", hub)
        with pytest.raises(InvalidInput, match="steps: was refused"):
            await painter.generate("a red dog", steps=5)

    async def test_times_are_asked_for_and_may_be_open(self, hub: LocalProvider) -> None:
        chunks = [{"text": " hello", "timestamp": [0.02, 0.05]}, {"text": " there", "timestamp": [0.05, None]}]
        hub.faults += [Answer.of({"text": " hello there", "chunks": chunks})]
        heard = await (await hosted("speech_to_text", hub)).transcribe(SILENCE)
        assert hub.asked[0].json["parameters"] == {"return_timestamps": True}
        assert [(segment.start, segment.end) for segment in heard.segments] == [(0.02, 0.05), (0.05, 0.1)]

    async def test_only_english_is_translated(self, hub: LocalProvider) -> None:
        ears = await hosted("speech_to_text", hub, languages=["de", "en"])
        with pytest.raises(InvalidInput, match="translate: is nothing"):
            await ears.transcribe(SILENCE, translate=True)
        assert (await ears.transcribe(SILENCE, translate=True, language="en")).language == "en"

    async def test_a_model_that_times_no_words_says_so(self, hub: LocalProvider) -> None:
        invalid = {"message": "CTC only", "param": "return_timestamps"}
        hub.faults += [Answer.of({"error": invalid}, 400)]
        with pytest.raises(InvalidInput, match="word_times: was refused"):
            await (await hosted("speech_to_text", hub)).transcribe(SILENCE, word_times=True)
        assert hub.asked[0].json["parameters"] == {"return_timestamps": "word"}

    async def test_without_times_the_whole_recording_is_one_segment(self, hub: LocalProvider) -> None:
        hub.faults += [Answer.of({"text": " hello there"})]
        ears = await hosted("speech_to_text", hub, timestamps=False, languages=["de", "en-US"])
        heard = await ears.transcribe(SILENCE)
        assert "parameters" not in hub.asked[0].json
        assert (heard.text, heard.language) == ("hello there", "de")
        assert [(segment.start, segment.end) for segment in heard.segments] == [(0, 0.1)]

    @pytest.mark.parametrize(("asked", "told"), [("de-AT", "de"), ("EN_us", "en-US"), ("en", None), ("fr", None)])
    async def test_languages_are_those_of_the_profile(self, hub: LocalProvider, asked: str, told: str | None) -> None:
        ears = await hosted("speech_to_text", hub, languages=["de", "en-US"])
        expected = contextlib.nullcontext() if told else pytest.raises(InvalidInput, match="understands de, en-US")
        with expected:
            assert (await ears.transcribe(SILENCE, language=asked)).language == told

    async def test_what_is_no_speech_is_the_providers_fault(self, hub: LocalProvider) -> None:
        hub.faults += [Answer(b"no sound")]
        with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1 sent speech that cannot be decoded"):
            await (await hosted("text_to_speech", hub)).synthesize("hello")


def task(status: str, *generated: str, **more: Any) -> Answer:
    return Answer.of({"data": {"task_id": "t-1", "status": status, "generated": generated, **more}})


class TestFreepik:
    """Freepik's tasks."""

    @pytest.mark.parametrize("model", MODELS)
    async def test_every_model_paints_the_asked_size(self, freepik: LocalProvider, model: str) -> None:
        painter = await tasked("text_to_image", freepik, model=model, poll_s=0.01)
        image = await painter.generate("a red dog", width=128, height=72)
        assert opened(image).size == (128, 72)
        sent = freepik.asked[0]
        assert sent.path == f"/ai/{MODELS[model].path}"
        assert sent.headers["x-freepik-api-key"] == KEY
        shape = sent.json.get("aspect_ratio") or sent.json["image"]["size"]
        assert shape == "widescreen_16_9"
        assert ("seed" in sent.json) == ("seed" in MODELS[model].limits.takes)
        assert (sent.json.get("resolution") == "2k") == (model == "mystic")

    @pytest.mark.parametrize(
        ("model", "arguments"),
        [("mystic", {"seed": 1}), ("imagen3", {"negative_prompt": "fog"}), ("flux-dev", {"guidance": 1.0})],
    )
    async def test_what_a_model_has_no_word_for_is_refused(
        self, freepik: LocalProvider, model: str, arguments: dict[str, Any]
    ) -> None:
        painter = await tasked("text_to_image", freepik, model=model)
        with pytest.raises(InvalidInput, match="nothing this model takes") as refused:
            await painter.generate("a red dog", **arguments)
        assert refused.value.field in arguments
        assert freepik.asked == []

    async def test_a_seed_is_brought_into_freepiks_range(self, freepik: LocalProvider) -> None:
        painter = await tasked("text_to_image", freepik, model="flux-dev", poll_s=0.01)
        first, again = [await painter.generate("a red dog", width=64, height=64, seed=2**32 - 1) for _ in range(2)]
        assert first == again
        assert 1 <= freepik.asked[0].json["seed"] < 2**32

    @pytest.mark.parametrize(
        ("width", "height", "shape"),
        [(1024, 1024, "square_1_1"), (64, 512, "social_story_9_16"), (1000, 560, "widescreen_16_9")],
    )
    def test_the_nearest_shape_is_painted(self, width: int, height: int, shape: str) -> None:
        assert nearest_shape(MODELS["imagen3"].shapes, width, height) == shape

    async def test_the_picture_is_fetched_without_the_key(self, freepik: LocalProvider) -> None:
        painter = await tasked("text_to_image", freepik, poll_s=0.01)
        await painter.generate("a red dog", width=64, height=64)
        assert freepik.asked[-1].path.startswith("/pictures/")
        assert KEY not in str(freepik.asked[-1].headers)

    async def test_a_picture_that_comes_in_halves_is_fetched_again(self, freepik: LocalProvider) -> None:
        painter = await tasked("text_to_image", freepik, poll_s=0.01)
        await painter.generate("a red dog", width=64, height=64)
        picture = freepik.asked[-1].path
        freepik.faults += [task("COMPLETED", freepik.url + picture), HALF, status(503)]
        assert opened(await painter.generate("a red dog", width=64, height=64)).size == (64, 64)
        assert [asked.path for asked in freepik.asked[-3:]] == [picture] * 3

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/latest/meta-data",
            "https://169.254.169.254/latest/meta-data",
            "https://127.0.0.1:1/",
            "https://[::1]/",
            "https://10.0.0.1/",
            "https://localhost/",
            "http://example.com/picture.png",
            "file:///etc/passwd",
            "",
        ],
    )
    async def test_a_picture_is_fetched_from_public_addresses_only(self, freepik: LocalProvider, url: str) -> None:
        freepik.faults += [task("COMPLETED", url)]
        with pytest.raises(ModelUnavailable, match="names a picture whose address"):
            await (await tasked("text_to_image", freepik)).generate("a red dog")

    @pytest.mark.parametrize("model", ["mystic", "classic-fast"])
    @pytest.mark.parametrize("fault", [BROKEN, HALF, MALFORMED, status(500), status(503, retry_after="0"), status(408)])
    async def test_what_is_billed_is_not_asked_for_twice(
        self, freepik: LocalProvider, fault: Answer | str, model: str
    ) -> None:
        before = freepik.answer.created
        freepik.faults += [fault]
        painter = await tasked("text_to_image", freepik, model=model, retries=5, poll_s=0.01)
        with pytest.raises(ModelUnavailable, match="not retried, as it may have begun"):
            await painter.generate("a red dog", width=64, height=64)
        assert [asked.method for asked in freepik.asked] == ["POST"]
        assert freepik.answer.created == before + (model == "mystic" and fault in (BROKEN, HALF))

    async def test_the_upscaler_too_is_asked_once(self, freepik: LocalProvider) -> None:
        before = freepik.answer.created
        freepik.faults += [BROKEN]
        enhancer = await tasked("image_enhancement", freepik, poll_s=0.01)
        with pytest.raises(ModelUnavailable, match="500: out of order; not retried"):
            await enhancer.upscale(written(PIL.Image.new("RGB", (160, 160), "red")))
        assert freepik.answer.created == before + 1

    async def test_a_task_that_surely_was_not_created_is_asked_for_again(
        self, freepik: LocalProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = freepik.answer.created
        painter = await tasked("text_to_image", freepik, retries=3, poll_s=0.01)
        client = painter._connection._client
        unreachable, stream = [httpx.ConnectError("refused"), httpx.ConnectTimeout("no answer")], client.stream

        def reached(*request: Any, **content: Any) -> Any:
            if unreachable:
                raise unreachable.pop()
            return stream(*request, **content)

        monkeypatch.setattr(client, "stream", reached)
        freepik.faults += [status(429)]
        assert opened(await painter.generate("a red dog", width=64, height=64)).size == (64, 64)
        assert not unreachable
        assert [asked.method for asked in freepik.asked[:3]] == ["POST", "POST", "GET"]
        assert freepik.answer.created == before + 1

    async def test_the_status_of_a_task_is_asked_for_again(self, freepik: LocalProvider) -> None:
        before = freepik.answer.created
        freepik.faults += [task("CREATED"), status(500), HALF, task("FAILED")]
        painter = await tasked("text_to_image", freepik, retries=3, poll_s=0.01)
        with pytest.raises(ModelUnavailable, match="could not do the task"):
            await painter.generate("a red dog", width=64, height=64)
        assert freepik.answer.created == before

    async def test_a_redirect_to_another_place_is_not_followed(self, freepik: LocalProvider) -> None:
        moved = status(302, location="http://169.254.169.254/")
        freepik.faults += [task("COMPLETED", f"{freepik.url}/pictures/x"), *[moved] * 3]
        with pytest.raises(ModelUnavailable, match="is answered with 302"):
            await (await tasked("text_to_image", freepik)).generate("a red dog")

    async def test_a_task_that_fails_is_unavailable(self, freepik: LocalProvider) -> None:
        freepik.faults += [task("CREATED"), task("FAILED")]
        with pytest.raises(ModelUnavailable, match="could not do the task"):
            await (await tasked("text_to_image", freepik, poll_s=0.01)).generate("a red dog")

    async def test_a_task_that_takes_too_long_is_given_up(self, freepik: LocalProvider) -> None:
        freepik.faults += [task("IN_PROGRESS")] * 99
        painter = await tasked("text_to_image", freepik, poll_s=0.02, longest_task_s=0.2)
        with pytest.raises(ModelUnavailable, match=r"was not done within 0\.2 s"):
            await painter.generate("a red dog")

    async def test_a_picture_taken_for_unsafe_is_refused(self, freepik: LocalProvider) -> None:
        freepik.faults += [task("COMPLETED", "https://example.com", has_nsfw=[True])]
        with pytest.raises(InvalidInput, match="prompt: led to a picture"):
            await (await tasked("text_to_image", freepik)).generate("a red dog")

    @pytest.mark.parametrize("id", ["../../account", "", "a b"])
    async def test_a_task_of_an_odd_name_is_not_asked_for(self, freepik: LocalProvider, id: str) -> None:
        freepik.faults += [Answer.of({"data": {"task_id": id, "status": "CREATED"}})] * 3
        with pytest.raises(ModelUnavailable, match="protocol"):
            await (await tasked("text_to_image", freepik)).generate("a red dog")
        assert {asked.method for asked in freepik.asked} == {"POST"}

    async def test_a_refused_prompt_is_told_with_freepiks_reason(self, freepik: LocalProvider) -> None:
        with pytest.raises(InvalidInput, match=r"prompt: was refused.*must have 3 characters"):
            await (await tasked("text_to_image", freepik)).generate("ab")

    async def test_the_creative_upscaler_is_asked_its_way(self, freepik: LocalProvider) -> None:
        enhancer = await tasked("image_enhancement", freepik, mode="creative", creativity=3, poll_s=0.01)
        large = await enhancer.upscale(written(PIL.Image.new("RGB", (200, 180), "red")), scale=4)
        sent = {name: value for name, value in freepik.asked[0].json.items() if name != "image"}
        assert freepik.asked[0].path == "/ai/image-upscaler"
        assert sent == {"scale_factor": "4x", "creativity": 3}
        assert opened(large).size == (800, 720)

    async def test_a_result_of_another_size_is_brought_to_the_promised_one(self, freepik: LocalProvider) -> None:
        enhancer = await tasked("image_enhancement", freepik, poll_s=0.01)
        plain = written(PIL.Image.new("RGB", (200, 160), "red"))
        await enhancer.upscale(plain)
        picture = freepik.asked[-1].path
        freepik.faults += [task("COMPLETED", freepik.url + picture)]
        assert opened(await enhancer.upscale(plain, scale=4)).size == (800, 640)

    async def test_a_strip_whose_surroundings_would_be_huge_is_refused(self, freepik: LocalProvider) -> None:
        enhancer = await tasked("image_enhancement", freepik)
        with pytest.raises(InvalidInput, match="image: has"):
            await enhancer.upscale(written(PIL.Image.new("L", (12_000, 10))))
        assert freepik.asked == []

    async def test_a_cancelled_call_asks_no_more(self, freepik: LocalProvider) -> None:
        freepik.faults += [task("IN_PROGRESS")] * 99
        painter = await tasked("text_to_image", freepik, poll_s=0.02)
        call = asyncio.create_task(painter.generate("a red dog"))
        while len(freepik.asked) < 3:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.1)
        seen = len(freepik.asked)
        await asyncio.sleep(0.2)
        assert len(freepik.asked) == seen
