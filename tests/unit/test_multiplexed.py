"""Models that share a replica take turns in memory; what is unloaded is gone, and what fails harms no other."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.capabilities import Message
from deployments.errors import MedleyError, ModelUnavailable, OutOfMemory
from deployments.progress import Progress
from serve_app.replicas import multiplexed as module

from .multiplexing import Watched, asking, made, said

pytestmark = pytest.mark.usefixtures("in_serve")
SHARERS = {"b": {"says": "bee"}, "c": {"says": "sea"}}


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Watched]]:
    monkeypatch.setattr(Watched, "happened", [])
    monkeypatch.setattr(Watched, "refuses", {})
    yield Watched


async def test_they_take_turns_and_the_old_one_is_gone_before_the_next_is_loaded() -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    assert Watched.happened == ["+host"]  # at the start, and nobody else
    assert [await said(replica, name) for name in ("host", "", "b", "b", "host", "c")] == [
        "host",
        "host",  # a call that names nobody is for the host
        "bee",
        "bee",
        "host",
        "sea",
    ]
    assert Watched.happened == ["+host", "-host", "+bee", "-bee", "+host", "-host", "+sea"]


async def test_the_least_recently_used_goes_first_and_the_host_is_counted() -> None:
    replica = made(Watched, SHARERS, max_loaded=2)
    await replica.reconfigure({"says": "host"})
    for name in ("b", "host", "c", "b"):
        await said(replica, name)
    assert Watched.happened == ["+host", "+bee", "-bee", "+sea", "-host", "+bee"]


async def test_calls_in_a_model_end_before_it_is_unloaded_and_no_other_is_loaded_beside_it() -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    long = asyncio.create_task(said(replica, "host", "wait"))
    await asyncio.sleep(0.05)
    other = asyncio.create_task(said(replica, "b"))
    again = asyncio.create_task(said(replica, "host"))
    await asyncio.sleep(0.2)
    assert Watched.happened == ["+host", "host begins"] and not other.done()
    with asking("host"):
        loaded = replica._in_memory["host"]
    loaded.backend.go_on.set()
    del loaded
    assert await asyncio.gather(long, other, again) == ["host", "bee", "host"]
    assert Watched.happened == ["+host", "host begins", "host ends", "-host", "+bee", "-bee", "+host"]


async def test_calls_that_wait_for_a_model_are_served_together_and_a_failed_load_is_tried_once_for_all() -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    Watched.refuses["sea"] = ModelUnavailable("no weights")
    long = asyncio.create_task(said(replica, "host", "wait"))
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(said(replica, name)) for name in ("b", "c", "host") * 4]
    await asyncio.sleep(0.05)
    replica._in_memory["host"].backend.go_on.set()
    answers = await asyncio.gather(long, *waiting, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["host", *("bee", "cannot be loaded: no weights", "host") * 4]
    assert Watched.happened.count("+bee") == 1 and Watched.happened.count("+host") <= 2


async def test_a_stream_in_a_model_ends_before_it_is_unloaded() -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    items = replica.stream([Message(role="user", content="hello")])
    first = await anext(items)
    other = asyncio.create_task(said(replica, "b"))
    await asyncio.sleep(0.1)
    assert not other.done()
    assert first.text + "".join([item.text async for item in items]) == "host"
    assert await other == "bee"
    # one that is left by its caller holds nothing either
    with asking("b"):
        items = replica.stream([Message(role="user", content="hello")])
    await anext(items)
    await items.aclose()
    assert await asyncio.wait_for(said(replica, "host"), 5) == "host"


async def test_a_call_that_is_followed_is_for_the_model_it_names() -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    with asking("c"):
        told = [one async for one in replica.followed("chat", (), [Message(role="user", content="hello")])]
    assert [one.text for one in told if not isinstance(one, Progress)] == ["sea"]


async def test_a_failed_load_is_the_error_of_that_call_and_not_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    Watched.refuses["bee"] = ModelUnavailable("no weights")
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match=r"^cannot be loaded: no weights$"):
            await said(replica, "b")
        assert await said(replica, "host") == "host"
        replica.check_health()
    assert Watched.happened.count("+host") == 2  # turned out by the first try, and by no second one
    Watched.refuses.clear()
    monkeypatch.setattr(module, "COOLDOWN_S", 0.0)
    replica._failed.clear()
    assert await said(replica, "b") == "bee"
    Watched.refuses["sea"] = OutOfMemory("full")
    with pytest.raises(OutOfMemory, match="full"):
        await said(replica, "c")
    Watched.refuses["sea"] = ZeroDivisionError("odd")
    with pytest.raises(ModelUnavailable, match="odd"):
        await said(replica, "c")
    Watched.refuses.clear()
    assert await said(replica, "c") == "sea"


async def test_a_host_that_cannot_be_loaded_does_not_start_and_keeps_its_old_options_later() -> None:
    replica = made(Watched, SHARERS)
    Watched.refuses["bad"] = ModelUnavailable("no weights")
    with pytest.raises(MedleyError, match="no weights"):
        await replica.reconfigure({"says": "bad"})
    await replica.reconfigure({"says": "host"})
    with pytest.raises(MedleyError, match="no weights"):
        await replica.reconfigure({"says": "bad"})
    assert await said(replica, "host") == "host"
    await said(replica, "b")
    with pytest.raises(MedleyError, match="no weights"):  # and where it was out of memory
        await replica.reconfigure({"says": "bad"})
    assert await said(replica, "host") == "host"


async def test_a_changed_host_is_loaded_in_place_and_the_others_are_left() -> None:
    replica = made(Watched, SHARERS, max_loaded=2)
    await replica.reconfigure({"says": "host"})
    await said(replica, "b")
    await replica.reconfigure({"says": "new"})
    assert Watched.happened == ["+host", "+bee", "+new"]
    assert [await said(replica, name) for name in ("b", "host")] == ["bee", "new"]


async def test_a_revision_is_the_asked_model_s_and_loads_nothing() -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    found = {}
    for name in ("host", "b", "c"):
        with asking(name):
            found[name] = await replica.revision()
    assert len(set(found.values())) == 3 and Watched.happened == ["+host"]
    await said(replica, "b")
    with asking("b"):
        assert await replica.revision() == found["b"]
    await replica.reconfigure({"says": "new"})
    with asking("host"):
        assert await replica.revision() != found["host"]


async def test_a_caller_that_leaves_while_a_model_is_loaded_breaks_nothing() -> None:
    replica = made(Watched, SHARERS)
    await replica.reconfigure({"says": "host"})
    long = asyncio.create_task(said(replica, "host", "wait"))
    await asyncio.sleep(0.05)
    leaves = asyncio.create_task(said(replica, "b"))
    await asyncio.sleep(0.05)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    other = asyncio.create_task(said(replica, "c"))
    await asyncio.sleep(0.2)
    assert Watched.happened == ["+host", "host begins"]  # nobody is loaded beside the call that goes on
    replica._in_memory["host"].backend.go_on.set()
    assert await asyncio.gather(long, other) == ["host", "sea"]


async def test_a_failed_call_holds_nothing_and_a_sick_model_is_told() -> None:
    replica = made(Watched, {"b": {"says": "sick"}})
    await replica.reconfigure({"says": "host"})
    with pytest.raises(MedleyError, match="failed as asked"):
        await said(replica, "host", "fail")
    replica.check_health()
    assert await said(replica, "b") == "sick"
    assert Watched.happened == ["+host", "-host", "+sick"]
    with pytest.raises(ModelUnavailable, match="sick"):
        replica.check_health()
    with pytest.raises(ModelUnavailable, match="x is not served by the replicas of host"):
        await said(replica, "x")


@pytest.mark.slow
def test_memory_of_real_weights_comes_back(tmp_path: Path) -> None:
    """Resident memory of a process of its own, with a small host and two sharers of some 100 MB."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.resident", str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    print(figures)
    size, base, rows = figures["weights_mb"], figures["host_mb"], figures["rounds"]
    assert size > 80 and len(rows) == 3
    for row in rows:
        assert row["a_mb"] - base > 0.8 * size
        assert row["b_mb"] - base < 1.4 * size  # b has displaced a, not joined it
        assert row["host_again_mb"] - base < 0.25 * size
    assert rows[-1]["highest_mb"] - base < 1.8 * size  # never both
