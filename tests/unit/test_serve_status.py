"""Serve's status has one reader, which asks the controller once for all who look."""

import asyncio
import threading
import time

import pytest

from deployments.errors import ModelUnavailable
from serve_app.errors import StatusUnavailable
from serve_app.models import serve_status, startup_failures
from serve_app.models.serve_status import DeploymentStatus, ServeStatus, from_controller, from_details

DEAD = DeploymentStatus("m1", "UNHEALTHY", 0, "Traceback\n  File x\nOSError: no weights\n", "REPLICA_STARTUP_FAILED")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the controller was asked; it takes a moment to answer."""
    times: list[float] = []

    def controller() -> dict[str, DeploymentStatus]:
        times.append(time.monotonic())
        time.sleep(0.05)
        return {"m1": DEAD}

    monkeypatch.setattr(serve_status, "from_controller", controller)
    return times


async def test_who_looks_at_the_same_time_shares_one_question(asked: list[float]) -> None:
    status = ServeStatus()
    found = await asyncio.gather(*(status.read() for _ in range(10)))
    assert all(one == {"m1": DEAD} for one in found)
    assert len(asked) == 1
    await status.read()
    assert len(asked) == 1  # kept for a moment


async def test_who_leaves_does_not_take_the_answer_from_the_others(asked: list[float]) -> None:
    status = ServeStatus()
    leaving, staying = asyncio.create_task(status.read()), asyncio.create_task(status.read())
    await asyncio.sleep(0.01)
    leaving.cancel()
    assert (await staying)["m1"] is DEAD
    assert len(asked) == 1


async def test_a_question_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OSError("the controller restarts"), {"m1": DEAD}]

    def controller() -> dict[str, DeploymentStatus]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(serve_status, "from_controller", controller)
    status = ServeStatus()
    with pytest.raises(StatusUnavailable, match="controller does not answer"):
        await status.read()
    assert await status.read() == {"m1": DEAD}


async def test_a_controller_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def controller() -> dict[str, DeploymentStatus]:
        released.wait(10)
        return {}

    monkeypatch.setattr(serve_status, "from_controller", controller)
    monkeypatch.setattr(serve_status, "READ_TIMEOUT_S", 0.05)
    status = ServeStatus()
    for _ in range(3):
        with pytest.raises(StatusUnavailable):
            await status.read()
    released.set()


@pytest.mark.parametrize(
    ("word", "replicas", "serves"),
    [
        ("HEALTHY", 0, True),  # scaled to zero
        ("UPSCALING", 0, True),  # the first replica starts
        ("DOWNSCALING", 1, True),
        ("UPDATING", 1, True),
        ("UPDATING", 0, False),  # before the first start
        ("UNHEALTHY", 1, False),
        ("DEPLOY_FAILED", 0, False),
    ],
)
def test_scaling_is_not_a_failure(word: str, replicas: int, serves: bool) -> None:
    assert DeploymentStatus("m1", word, replicas, "").serves == serves


async def test_a_call_to_a_model_that_serve_has_given_up_ends_with_the_reason(
    asked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup_failures, "POLL_S", 0.01)
    monkeypatch.setattr(startup_failures, "STATUS", ServeStatus())
    with pytest.raises(ModelUnavailable, match="cannot be started: OSError: no weights"):
        await startup_failures.unless_it_cannot_start("m1", asyncio.Event().wait())


def test_both_of_serves_accounts_are_read_alike() -> None:
    assert from_controller() == {}  # no Ray in this process
    details = {
        "applications": {
            "medley": {
                "deployments": {
                    "m1": {
                        "status": "UNHEALTHY",
                        "replicas": [{"state": "STARTING"}],
                        "message": DEAD.message,
                        "status_trigger": "REPLICA_STARTUP_FAILED",
                    }
                }
            }
        }
    }
    assert from_details(details) == [DEAD]
    assert (DEAD.given_up, DEAD.reason) == (True, "OSError: no weights")
    assert from_details({}) == []
