"""Files that take long to open hold up nothing but other files."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from deployments.media import Image, MediaLimits
from serve_app.gateway import parsing_pool

from .fakes import PICTURE, picture_bytes
from .services import Served


async def test_a_function_runs_with_its_arguments_in_the_caller_s_context() -> None:
    caller = contextvars.ContextVar[str]("caller")
    caller.set("bob")

    def told(number: int, *, more: int) -> tuple[int, int, str]:
        return number, more, caller.get()

    assert await parsing_pool.in_parsing_pool(told, 1, more=2) == (1, 2, "bob")
    with pytest.raises(ZeroDivisionError):
        await parsing_pool.in_parsing_pool(lambda: 1 // 0)


async def test_slow_uploads_do_not_stop_the_answers_of_files(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served.client() as client:
        kept = await client.post("/api/v1/artifacts", files={"file": ("a.png", PICTURE.data)})
        assert kept.status_code == 201
        go, begun = threading.Event(), threading.Event()
        real = Image.checked.__func__  # type: ignore[attr-defined]

        def slow(cls: Any, data: bytes, limits: MediaLimits) -> Any:
            begun.set()
            assert go.wait(30)
            return real(cls, data, limits)

        monkeypatch.setattr(Image, "checked", classmethod(slow))
        files = {"file": ("b.png", picture_bytes(size=(9, 9)), "image/png")}
        uploads = [asyncio.create_task(client.post("/api/v1/artifacts", files=files)) for _ in range(40)]
        try:
            assert await asyncio.to_thread(begun.wait, 10)
            async with asyncio.timeout(10):
                answer = await client.get(f"/api/v1/artifacts/{kept.json()['id']}")
            assert answer.content == PICTURE.data
        finally:
            go.set()
        assert {upload.status_code for upload in await asyncio.gather(*uploads)} == {201}
