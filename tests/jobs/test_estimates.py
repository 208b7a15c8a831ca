"""Progress and the time left, from what the graph's last runs were made of."""

import time

from serve_app.jobs import estimates
from serve_app.jobs.estimates import Estimate
from serve_app.run import Step
from serve_app.storage.database import Database


async def test_the_time_left_is_what_the_missing_steps_took_before(database: Database) -> None:
    nothing = Estimate({}).progress()
    assert (nothing["fraction"], nothing["eta_seconds"], nothing["steps"]) == (None, None, 0)
    ran = [Step("a.x", "m", "succeeded", seconds=1.0), Step("b.y", "m", "succeeded", seconds=3.0)]
    await database.write(estimates.learn, "graph", ran)
    estimate = Estimate(await database.read(estimates.load, "graph"))
    assert estimate.progress()["eta_seconds"] == 4.0
    first = Step("a.x", "m", "running", started=time.time())
    estimate.follow(first)
    assert estimate.progress()["step"] == "a.x" and 3.8 < estimate.progress()["eta_seconds"] <= 4.0
    first.status, first.seconds = "succeeded", 1.0
    estimate.follow(first)
    assert estimate.progress() == {"step": None, "done": 1, "steps": 2, "fraction": 0.25, "eta_seconds": 3.0}
    failed = Step("b.y", "m", "failed", seconds=9.0)
    estimate.follow(failed)
    assert estimate.progress()["eta_seconds"] == 3.0, "a step that failed is still to be done"
