"""A model that keeps failing rests, is tried once after its rest, and never leaves a caller without an answer."""

from typing import NamedTuple

import pytest

from serve_app.models.circuit_breaker import COOLDOWN_S, FAILURES, CircuitBreaker


class Model(NamedTuple):
    name: str


ONE, TWO, THREE = models = (Model("one"), Model("two"), Model("three"))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock=clock)


def fail(breaker: CircuitBreaker, model: Model, times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.failed(model.name, "chat")


def test_while_all_is_well_the_candidates_stay_as_they_are(breaker: CircuitBreaker) -> None:
    breaker.answered("one", "chat")
    assert breaker.order(models, "chat") is models


def test_the_third_failure_in_a_row_puts_a_model_last(breaker: CircuitBreaker) -> None:
    fail(breaker, ONE, FAILURES - 1)
    assert breaker.order(models, "chat") == (ONE, TWO, THREE)
    breaker.failed("one", "chat")
    assert breaker.order(models, "chat") == (TWO, THREE, ONE)


def test_an_answer_between_failures_begins_the_count_again(breaker: CircuitBreaker) -> None:
    fail(breaker, ONE, FAILURES - 1)
    breaker.answered("one", "chat")
    fail(breaker, ONE, FAILURES - 1)
    assert breaker.order(models, "chat") == models


def test_failures_of_another_model_are_its_own(breaker: CircuitBreaker) -> None:
    for model in (ONE, TWO, ONE, TWO, TWO):
        breaker.failed(model.name, "chat")
    assert breaker.order(models, "chat") == (ONE, THREE, TWO)


def test_a_model_that_lacks_one_method_is_still_asked_first_for_another(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURES):
        breaker.failed("one", "edit")
    assert breaker.order(models, "edit") == (TWO, THREE, ONE)
    assert breaker.order(models, "generate") == models
    breaker.answered("one", "generate")
    assert breaker.order(models, "edit") == (TWO, THREE, ONE)


def test_a_model_alone_is_asked_however_it_failed(breaker: CircuitBreaker) -> None:
    fail(breaker, ONE)
    assert breaker.order((ONE,), "chat") == (ONE,)


def test_models_that_all_rest_are_asked_in_their_order(breaker: CircuitBreaker) -> None:
    for model in models:
        fail(breaker, model)
    assert breaker.order(models, "chat") == models


def test_after_the_rest_one_call_asks_it_first(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, ONE)
    clock.now += COOLDOWN_S - 0.1
    assert breaker.order(models, "chat")[0] is TWO
    clock.now += 0.2
    assert [breaker.order(models, "chat")[0] for _ in range(3)] == [ONE, TWO, TWO]


def test_a_probe_that_fails_is_another_rest(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, ONE)
    clock.now += COOLDOWN_S
    assert breaker.order(models, "chat")[0] is ONE
    clock.now += 5
    breaker.failed("one", "chat")
    clock.now += COOLDOWN_S - 1
    assert breaker.order(models, "chat")[0] is TWO
    clock.now += 1
    assert breaker.order(models, "chat")[0] is ONE


def test_a_probe_that_answers_ends_the_rest(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, ONE)
    clock.now += COOLDOWN_S
    breaker.order(models, "chat")
    breaker.answered("one", "chat")
    assert [breaker.order(models, "chat") for _ in range(3)] == [models] * 3


def test_a_probe_that_nobody_told_the_end_of_is_followed_by_another(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, ONE)
    for _ in range(2):
        clock.now += COOLDOWN_S
        assert breaker.order(models, "chat")[0] is ONE


def test_a_later_model_takes_its_place_again_without_a_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, TWO)
    clock.now += COOLDOWN_S
    assert [breaker.order(models, "chat") for _ in range(2)] == [models] * 2
