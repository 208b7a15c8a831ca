"""Freepik calls back over a real gateway: it is heard at once, what it says is not trusted, and it may be lost."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import ray

from deployments.callbacks import CALLBACK_PATH, SECRET_VARIABLE
from deployments.errors import ModelUnavailable
from deployments.progress import following
from deployments.provider_tasks import TaskCreated
from serve_app.config.schema import AppConfig
from serve_app.gateway.http_app import http_app
from serve_app.models import callback_board
from serve_app.models.callback_board import Board
from serve_app.models.registry import Models
from serve_app.storage.database import Database
from tests.unit.services import Keys, Served, Services

from .harness import connected
from .media_provider import CALLBACK_SECRET, Freepik, new_freepik
from .pictures import opened, written
from .provider import LocalProvider

SOON_S = 5.0  # much less than `NEVER`
NEVER = {"poll_s": 60, "longest_task_s": 30}  # a task that is not heard of is given up before it is looked at
OFTEN = {"poll_s": 0.05}
SQUARE = {"width": 64, "height": 64}


class Ears(Board):
    """A board that says what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    async def tell(self, task: str) -> None:
        self.heard.append(task)
        await super().tell(task)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Freepik, LocalProvider]]:
    freepik = Freepik()
    started = new_freepik(freepik)
    yield freepik, started
    started.close()


@pytest.fixture
def provider(server: tuple[Freepik, LocalProvider]) -> LocalProvider:
    server[1].asked.clear()
    return server[1]


@pytest.fixture
def freepik(server: tuple[Freepik, LocalProvider]) -> Freepik:
    freepik, fresh = server[0], Freepik()
    freepik.task_s, freepik.calls, freepik.lag_s, freepik.secret = fresh.task_s, 1, 0.0, CALLBACK_SECRET
    freepik.answered.clear()
    return freepik


@pytest.fixture
def ears() -> Ears:
    return Ears()


@asynccontextmanager
async def gateway(folder: Path, tell: callback_board.Tell) -> AsyncGenerator[str]:
    """The address of one that Freepik can call."""
    database = Database(f"sqlite:///{folder}/empty.db")
    database.upgrade()
    database.dispose()
    services = Services(folder, folder / "empty.db")
    config = AppConfig.model_validate({"models": [{"name": "painter", "backend": "freepik_text_to_image"}]})
    made = services.make(config, {}, Models([]))
    app = http_app(made.service, Keys({}), callback_secret=CALLBACK_SECRET, tell=tell)
    async with Served(made.service, app, made.worker).listening() as url:
        yield url
    await services.stop()


@pytest.fixture
async def base(ears: Ears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of a gateway that Freepik can call, and that tells `ears`."""
    monkeypatch.setenv(SECRET_VARIABLE, CALLBACK_SECRET)
    async with gateway(tmp_path, ears.tell) as url:
        yield url


async def tasked(
    task: str, provider: LocalProvider, ears: Board | callback_board.SharedBoard | None, **options: Any
) -> Any:
    backend = await connected(f"freepik_{task}", provider, "/ai", **options)
    backend.callbacks = ears
    return backend


def asked(provider: LocalProvider, method: str) -> list[Any]:
    return [one for one in provider.asked if one.method == method and "/pictures/" not in one.path]


async def until(answers: int, freepik: Freepik) -> None:
    async with asyncio.timeout(SOON_S):
        while len(freepik.answered) < answers:
            await asyncio.sleep(0.01)


async def test_a_callback_wakes_who_waits(provider: LocalProvider, freepik: Freepik, ears: Ears, base: str) -> None:
    painter = await tasked("text_to_image", provider, ears, webhook_base=f"{base}/", **NEVER)
    started = time.monotonic()
    assert opened(await painter.generate("a red dog", **SQUARE)).size == (64, 64)
    assert time.monotonic() - started < SOON_S
    (created,), looks = asked(provider, "POST"), asked(provider, "GET")
    assert created.json["webhook_url"] == base + CALLBACK_PATH
    assert len(looks) == 1
    await until(2, freepik)
    assert freepik.answered == [204, 204]
    assert ears.heard == [looks[0].path.split("/")[-1]]  # and not that it was in progress


async def test_who_waits_and_the_gateway_meet_at_an_actor_of_ray(
    provider: LocalProvider,
    freepik: Freepik,
    ray_of_its_own: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a running Medley, where they are in different processes. Without the actor it costs only time."""
    monkeypatch.setenv(SECRET_VARIABLE, CALLBACK_SECRET)
    board = callback_board.SharedBoard()
    async with gateway(tmp_path, callback_board.tell) as url:
        painter = await tasked("text_to_image", provider, board, webhook_base=url, **NEVER)
        assert opened(await painter.generate("a red dog", **SQUARE)).size == (64, 64)
        assert len(asked(provider, "GET")) == 1
        ray.kill(ray.get_actor(callback_board.NAME, callback_board.NAMESPACE))
        painter = await tasked("text_to_image", provider, board, webhook_base=url, **OFTEN)
        assert opened(await painter.generate("a red dog", **SQUARE)).size == (64, 64)


async def test_the_upscaler_is_woken_too(provider: LocalProvider, freepik: Freepik, ears: Ears, base: str) -> None:
    enhancer = await tasked("image_enhancement", provider, ears, webhook_base=base, **NEVER)
    large = await enhancer.upscale(written(PIL.Image.new("RGB", (160, 160), "red")))
    assert opened(large).size == (320, 320)
    assert len(asked(provider, "GET")) == 1


async def test_a_callback_that_is_lost_costs_only_time(
    provider: LocalProvider, freepik: Freepik, ears: Ears, base: str
) -> None:
    freepik.calls = 0
    painter = await tasked("text_to_image", provider, ears, webhook_base=base, **OFTEN)
    assert opened(await painter.generate("a red dog", **SQUARE)).size == (64, 64)
    assert ears.heard == []


async def test_a_doubled_callback_gives_one_result(
    provider: LocalProvider, freepik: Freepik, ears: Ears, base: str
) -> None:
    freepik.calls = 2
    before = freepik.created
    painter = await tasked("text_to_image", provider, ears, webhook_base=base, **NEVER)
    for number in (1, 2):
        assert opened(await painter.generate("a red dog", **SQUARE)).size == (64, 64)
        await until(4 * number, freepik)
    assert freepik.answered == [204] * 8
    assert freepik.created == before + 2
    assert len(asked(provider, "GET")) == 2


async def test_a_callback_that_comes_before_its_status_is_looked_after(
    provider: LocalProvider, freepik: Freepik, ears: Ears, base: str
) -> None:
    freepik.lag_s = 0.3
    painter = await tasked("text_to_image", provider, ears, webhook_base=base, poll_s=1)
    started = time.monotonic()
    await painter.generate("a red dog", **SQUARE)
    assert time.monotonic() - started < 3  # by looking as often as without callbacks, not after ten seconds
    assert len(asked(provider, "GET")) == 2


async def test_a_forged_callback_wakes_nobody(
    provider: LocalProvider, freepik: Freepik, ears: Ears, base: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    freepik.secret = "another"
    painter = await tasked("text_to_image", provider, ears, webhook_base=base, **OFTEN)
    assert opened(await painter.generate("a red dog", **SQUARE)).size == (64, 64)
    await until(2, freepik)
    assert freepik.answered == [401, 401]
    assert ears.heard == []
    assert CALLBACK_SECRET not in caplog.text


@pytest.mark.parametrize("deaf", [True, False])
async def test_without_both_ends_nothing_is_asked_for(
    deaf: bool, provider: LocalProvider, freepik: Freepik, ears: Ears, base: str
) -> None:
    options = {"webhook_base": base} if deaf else {}
    painter = await tasked("text_to_image", provider, None if deaf else ears, **options, **OFTEN)
    await painter.generate("a red dog", **SQUARE)
    assert "webhook_url" not in asked(provider, "POST")[0].json
    assert len(asked(provider, "GET")) == 2
    assert freepik.answered == []


async def test_without_the_secret_the_option_is_refused(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    with pytest.raises(ModelUnavailable, match=SECRET_VARIABLE):
        await tasked("text_to_image", provider, None, webhook_base="https://medley.example.com")


@pytest.mark.parametrize(
    "address", ["http://medley.example.com", "https://me:pw@example.com", "medley", "https://x/?a"]
)
async def test_freepik_is_not_told_an_address_that_it_should_not_use(
    address: str, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, CALLBACK_SECRET)
    with pytest.raises(ModelUnavailable, match="webhook_base") as refused:
        await tasked("text_to_image", provider, None, webhook_base=address)
    assert CALLBACK_SECRET not in str(refused.value)


async def test_a_repeated_call_takes_its_billed_task_up_again(freepik: Freepik, provider: LocalProvider) -> None:
    painter = await tasked("text_to_image", provider, None, **OFTEN)
    before = freepik.created
    told = [item async for item in following(painter.generate("a red boat", **SQUARE))]
    created = [item.task for item in told if isinstance(item, TaskCreated)]
    assert len(created) == freepik.created - before == 1
    again = [item async for item in following(painter.generate("a red boat", **SQUARE), created)]
    assert freepik.created - before == 1
    assert opened(again[-1]).size == (64, 64)
    await anext(following(painter.generate("a blue boat", **SQUARE), created))
    assert freepik.created - before == 2
