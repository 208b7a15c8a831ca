"""The state machine finds nothing wrong with the store, and finds what is wrong with a store that has a planted bug."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Integer, String, bindparam, func, update

from serve_app.jobs import lease
from serve_app.storage.compiled_statement import Statement
from serve_app.storage.tables import jobs
from tests.chaos.sizes import size

from .machine import StoreMachine

SETTINGS = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=False,
)


def test_the_store_is_what_the_model_says_whatever_happens() -> None:
    examples, steps = size(25, 400), 40
    run_state_machine_as_test(
        StoreMachine, settings=settings(SETTINGS, max_examples=examples, stateful_step_count=steps)
    )
    print(f"{examples} histories of up to {steps} actions with crashes: 0 differences")


def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fence is not checked where a step is committed: a stale owner writes."""
    careless = Statement(
        lambda _: (
            update(jobs)
            .where(jobs.c.id == bindparam("job_id", type_=String()), bindparam("held_fence", type_=Integer()) > 0)
            .values(progress=func.coalesce(bindparam("new_progress", type_=String()), jobs.c.progress))
        )
    )
    monkeypatch.setattr(lease, "HOLD", careless)
    wanted = settings(SETTINGS, max_examples=100, stateful_step_count=40)
    with pytest.raises(AssertionError, match="stale owner"):
        run_state_machine_as_test(StoreMachine, settings=wanted)
