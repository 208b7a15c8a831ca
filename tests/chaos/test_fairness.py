"""Who comes first, and how many of one user run at once, when several processes claim from one queue."""

import random

from serve_app.storage.database import Database
from tests.jobs.work import wish

from .fleet import Fleet, all_ended, create
from .sizes import size

PROCESSES = 3


async def test_higher_priorities_are_claimed_first(fleet: Fleet, database: Database, kind: str) -> None:
    count, rng = size(60, 600), random.Random(1)
    # The text of a job says its priority, so that the workers' book does.
    priorities = [rng.randint(-10, 10) for _ in range(count)]
    await create(
        database,
        [wish(user=f"user {n % 7}", text=f"{p} {n}", steps=1, priority=p) for n, p in enumerate(priorities)],
    )
    for _ in range(PROCESSES):
        fleet.start(step_s=0.05)
    await all_ended(database, 60 + count / 5)
    claims = [(line.pid, int(line.text.split()[0])) for line in fleet.lines("committed claim")]
    assert sorted(claimed for _, claimed in claims) == sorted(priorities)
    assert len({pid for pid, _ in claims}) > 1
    for process in {pid for pid, _ in claims}:
        own = [claimed for pid, claimed in claims if pid == process]
        assert own == sorted(own, reverse=True)
    # Between processes a line may be written after one of a later claim, by no more than the others had in hand.
    order = [claimed for _, claimed in claims]
    late = [(a, b) for at, a in enumerate(order) for b in order[at + PROCESSES :] if b > a]
    assert not late
    print(f"\n{kind}: {count} jobs of 21 priorities over {PROCESSES} processes: 0 claimed before a higher one")


async def test_no_user_runs_more_than_their_share(fleet: Fleet, database: Database, kind: str) -> None:
    count, limit = size(20, 200), 2
    users = ("ann", "ben")
    await create(database, [wish(user=user, text=f"{user} {n}", steps=2) for n in range(count) for user in users])
    for _ in range(PROCESSES):
        fleet.start(step_s=0.03, slots=4, config={"per_user": limit})
    await all_ended(database, 60 + count / 2)
    most: dict[str, int] = dict.fromkeys(users, 0)
    running: dict[str, int] = dict.fromkeys(users, 0)
    steps = [line for line in fleet.lines() if line.what in ("start", "end")]
    for line in sorted(steps, key=lambda line: (line.at, line.what == "start")):
        user = line.text.split()[0]
        running[user] += 1 if line.what == "start" else -1
        most[user] = max(most[user], running[user])
    assert len(steps) == 2 * 2 * len(users) * count
    assert most == {user: limit for user in users}
    print(f"\n{kind}: {len(users) * count} jobs of two users over {PROCESSES} processes of 4 slots: {most} at once")
