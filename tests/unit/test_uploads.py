"""Bodies that are too large, too slow or too many at once."""

import asyncio
from typing import Any

import pytest

from serve_app.errors import BodyTooLarge, BodyTooSlow, TooManyUploads
from serve_app.gateway import uploads
from serve_app.gateway.uploads import MOST_AT_ONCE, Uploads
from serve_app.identity import Identity

ANN, BOB = Identity("ann"), Identity("bob")


def arriving(*parts: bytes | float) -> Any:
    """A `receive` that gives each part, pauses for each number, and hangs after the last unless it ends the body."""
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        while waiting and isinstance(waiting[0], float):
            await asyncio.sleep(waiting.pop(0))  # type: ignore[arg-type]
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    return receive


async def test_a_body_within_its_bounds_comes_as_it_is() -> None:
    receive = Uploads(10).bounded(arriving(b"abc", 0.01, b"def"), ANN)
    assert [(await receive())["body"], (await receive())["body"]] == [b"abc", b"def"]


async def test_a_body_of_unknown_length_ends_at_the_limit() -> None:
    receive = Uploads(4).bounded(arriving(b"abc", b"def"), ANN)
    await receive()
    with pytest.raises(BodyTooLarge, match=r"gateway\.max_body_mb"):
        await receive()


async def test_a_body_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "GRACE_S", 0.05)
    receive = Uploads(100).bounded(arriving(b"abc", 10.0, b"def"), ANN)
    await receive()
    with pytest.raises(BodyTooSlow, match="3 bytes of the body"):
        await receive()


async def test_a_trickle_of_bytes_does_not_keep_a_body_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "GRACE_S", 0.1)
    receive = Uploads(10_000).bounded(arriving(*(part for _ in range(100) for part in (b"x", 0.01)), b""), ANN)
    with pytest.raises(BodyTooSlow):
        for _ in range(100):
            await receive()


async def test_a_client_that_leaves_later_is_awaited_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "GRACE_S", 0.02)
    receive = Uploads(10).bounded(arriving(b"abc"), ANN)
    await receive()
    with pytest.raises(TimeoutError):  # this test's own
        await asyncio.wait_for(receive(), 0.1)


async def test_unfinished_bodies_of_one_user_leave_room_for_others() -> None:
    bounds = Uploads(10)
    waiting = [asyncio.ensure_future(bounds.bounded(arriving(), ANN)()) for _ in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyUploads, match=str(MOST_AT_ONCE)):
        await bounds.bounded(arriving(b"abc"), ANN)()
    assert (await bounds.bounded(arriving(b"abc"), BOB)())["body"] == b"abc"
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert (await bounds.bounded(arriving(b"abc"), ANN)())["body"] == b"abc"
