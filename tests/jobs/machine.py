"""The store as a Hypothesis state machine with crashes, beside a model of it that fits on a page."""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from sqlalchemy import func, select, update

from serve_app.accounts import ledger
from serve_app.errors import Conflict, InsufficientCredit
from serve_app.jobs import lease, next_jobs, queue
from serve_app.jobs.job import Claimed, Event, NewJob, Outcome, StepRecord
from serve_app.jobs.rows import step_records
from serve_app.storage import tables
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id

GRANTED = 40
TERMS = next_jobs.Terms(lease_s=1000, per_user=2, max_attempts=100)
USERS = st.sampled_from(["ann", "bob"])


@dataclass
class Expected:
    """What a job must be."""

    user: str
    price: int
    status: str = "queued"
    fence: int = 0
    steps: dict[str, str] = field(default_factory=dict[str, str])
    cancel: bool = False
    silent: bool = False  # its owner's lease has run out
    captured: int = 0


class StoreMachine(RuleBasedStateMachine):
    """Owners claim, commit, finish, hand over, fall silent and come back; users create, cancel and retry."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self._folder.name).resolve()}/m.db", threads=1)
        self.database.upgrade()
        self.jobs: dict[str, Expected] = {}
        for user in ("ann", "bob"):
            self.database.write_here(ledger.grant, user, GRANTED)

    def teardown(self) -> None:
        self.database.dispose()
        self._folder.cleanup()

    def twice(self, again: bool, work: object, *args: object, **kwargs: object) -> None:
        """Write; `again` is the answer lost and the write repeated, as `until_storage_answers` does."""
        for _ in range(1 + again):
            self.database.write_here(work, *args, **kwargs)  # type: ignore[arg-type]

    def live(self, claimed: Claimed) -> Expected | None:
        """The job, if this owner still has it."""
        job = self.jobs[claimed.job.id]
        return job if job.status == "running" and job.fence == claimed.job.fence else None

    @initialize()
    def begin(self) -> None:
        self.create("ann", 1, False)

    @rule(user=USERS, price=st.integers(0, 9), again=st.booleans())
    def create(self, user: str, price: int, again: bool) -> None:
        new = NewJob(new_id("job"), user, "steps", "{}", price=price)
        spent = sum(job.price for job in self.jobs.values() if job.user == user and job.status in ("queued", "running"))
        captured = sum(job.captured for job in self.jobs.values() if job.user == user)
        if price > GRANTED - spent - captured:
            try:
                self.database.write_here(queue.create, new)
            except InsufficientCredit:
                return
            raise AssertionError("admitted without credit")
        self.twice(again, queue.create, new)
        self.jobs[new.id] = Expected(user, price)

    @rule(target=held, most=st.integers(1, 3))
    def claim(self, most: int) -> object:
        before = {user: self.running(user) for user in ("ann", "bob")}
        claimed = self.database.write_here(lease.claim, new_id("owner"), TERMS, most)
        for one in claimed:
            job = self.jobs[one.job.id]
            fresh = job.status == "queued"
            assert fresh or (job.status == "running" and job.silent), job
            job.status, job.fence, job.silent = "running", job.fence + 1, False
            assert one.job.fence == job.fence
            assert {step.name: step.output for step in one.steps} == job.steps
            before[job.user] += fresh
            assert not fresh or before[job.user] <= TERMS.per_user
        for job_id, job in self.jobs.items():  # a job that was to be cancelled ended instead of being taken
            waits = job.status == "queued" or (job.status == "running" and job.silent)
            if waits and job.cancel and self.status_of(job_id) == "cancelled":
                job.status, job.fence, job.silent = "cancelled", job.fence + 1, False
        return multiple(*claimed)

    @rule(claimed=held, name=st.sampled_from(["a", "b", "c"]), again=st.booleans())
    def commit_step(self, claimed: Claimed, name: str, again: bool) -> None:
        job = self.live(claimed)
        record = StepRecord(name, name, "d", "m", 1, 0.0, 0.0, json.dumps(new_id("out")))
        told = [
            Event(
                claimed.job.id, claimed.next_seq + 100 * claimed.job.fence + len(job.steps if job else ()), "step", "{}"
            )
        ]
        try:
            self.twice(again, lease.commit_step, claimed.held, record, (), told)
        except lease.LeaseLost:
            assert job is None
            return
        assert job is not None, "a stale owner's write was taken"
        job.steps.setdefault(name, record.output)

    @rule(claimed=held, status=st.sampled_from(["succeeded", "failed", "cancelled"]), again=st.booleans())
    def finish(self, claimed: Claimed, status: str, again: bool) -> None:
        job = self.live(claimed)
        seq = claimed.next_seq + 10_000 * claimed.job.fence
        charged = self.jobs[claimed.job.id].price if status == "succeeded" else 0
        outcome = Outcome(status, {}, charged)  # type: ignore[arg-type]
        ended_so = self.jobs[claimed.job.id]
        try:
            self.twice(again, lease.finish, claimed.held, outcome, seq)
        except lease.LeaseLost:
            assert job is None
            return
        if job is None:  # said again what this very owner had said
            assert (ended_so.status, ended_so.fence) == (status, claimed.job.fence)
            return
        job.status, job.captured = status, job.captured + charged

    @rule(claimed=held, uncounted=st.booleans())
    def hand_over(self, claimed: Claimed, uncounted: bool) -> None:
        job = self.live(claimed)
        try:
            self.database.write_here(lease.requeue, claimed.held, 0.0, uncounted=uncounted)
        except lease.LeaseLost:
            assert job is None
            return
        assert job is not None, "a stale owner's write was taken"
        job.status, job.silent = "queued", False

    @rule(claimed=consumes(held))
    def forget(self, claimed: Claimed) -> None:
        """An owner dies: its lease runs out, and nobody speaks for it any more."""
        self.silence(claimed)

    @rule(claimed=held)
    def fall_silent(self, claimed: Claimed) -> None:
        """An owner is stopped past its lease; it may wake up and write."""
        self.silence(claimed)

    def silence(self, claimed: Claimed) -> None:
        job = self.live(claimed)
        if job is not None:
            job.silent = True
            late = update(tables.jobs).where(tables.jobs.c.id == claimed.job.id).values(lease_until=0.0)
            self.database.write_here(lambda connection: connection.execute(late))

    @rule(claimed=held)
    def renew(self, claimed: Claimed) -> None:
        job = self.live(claimed)
        renewed = self.database.write_here(lease.renew, [claimed.held], 1000.0)
        assert (claimed.held in renewed.lost) == (job is None)
        assert (claimed.held in renewed.cancelled) == (job is not None and job.cancel)
        if job is not None:
            job.silent = False

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id, job = self.any_job(data)
        self.database.write_here(queue.cancel, job.user, job_id, 60.0)
        if job.status == "queued":
            job.status = "cancelled"
        elif job.status == "running":
            job.cancel = True

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job_id, job = self.any_job(data)
        try:
            self.database.write_here(queue.retry, job.user, job_id)
        except Conflict:
            assert job.status not in ("failed", "cancelled")
        except InsufficientCredit:
            assert job.status in ("failed", "cancelled")
        else:
            assert job.status in ("failed", "cancelled")
            job.status, job.cancel, job.silent = "queued", False, False

    def any_job(self, data: st.DataObject) -> tuple[str, Expected]:
        ids = list(self.jobs)
        job_id = ids[data.draw(st.integers(0, len(ids) - 1))]
        return job_id, self.jobs[job_id]

    def running(self, user: str) -> int:
        return sum(job.status == "running" and job.user == user for job in self.jobs.values())

    def status_of(self, job_id: str) -> str:
        query = select(tables.jobs.c.status).where(tables.jobs.c.id == job_id)
        return self.database.read_here(lambda connection: connection.execute(query).scalar_one())

    @invariant()
    def the_database_is_what_it_must_be(self) -> None:
        rows = self.database.read_here(lambda connection: connection.execute(select(tables.jobs)).all())
        assert {row.id for row in rows} == set(self.jobs)
        for row in rows:
            job = self.jobs[row.id]
            assert (row.status, row.fence) == (job.status, job.fence), (row.status, job)
            steps = self.database.read_here(step_records, row.id)
            assert {step.name: step.output for step in steps} == job.steps
        told = select(tables.events.c.job_id, tables.events.c.seq)
        events = self.database.read_here(lambda connection: connection.execute(told).all())
        assert len(events) == len(set(events))

    @invariant()
    def the_ledger_is_exact(self) -> None:
        entries = tables.ledger
        for user in ("ann", "bob"):
            mine_of = select(entries.c.kind, func.sum(entries.c.amount)).where(entries.c.user_id == user)
            rows: Any = self.database.read_here(lambda c, q=mine_of: c.execute(q.group_by(entries.c.kind)).all())
            found: dict[str, int] = {kind: int(amount) for kind, amount in rows}
            reserved, captured, refunded = (found.get(kind, 0) for kind in ("reserve", "capture", "refund"))
            available = self.database.read_here(ledger.balance, user)
            assert available == GRANTED - reserved + refunded >= 0
            mine = [job for job in self.jobs.values() if job.user == user]
            assert captured == sum(job.captured for job in mine)
            held = sum(job.price for job in mine if job.status in ("queued", "running"))
            assert reserved - captured - refunded == held
