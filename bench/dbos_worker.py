"""The same work on DBOS: `work DATABASE` runs the queue until killed, `steps DATABASE N` prints seconds per step."""

import asyncio
import sys
import time
from typing import Any

from dbos import DBOS

QUEUE = "work"


@DBOS.step()
async def say(number: int) -> str:
    return "x" * 20


@DBOS.workflow()
async def trivial(steps: int) -> int:
    for number in range(steps):
        await say(number)
    return steps


def launch(url: str, executor: str) -> None:
    config: Any = {
        "name": "medley-bench",
        "system_database_url": url,
        "run_admin_server": False,
        "log_level": "ERROR",
        "application_version": "1",
        "executor_id": executor,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=16, polling_interval_sec=0.02)


async def steps(count: int) -> None:
    await trivial(5)
    began = time.perf_counter()
    await trivial(count)
    print((time.perf_counter() - began) / count, flush=True)


if __name__ == "__main__":
    command, url, number = sys.argv[1:]
    launch(url, number)
    if command == "work":
        print("ready", flush=True)
        time.sleep(3600)
    else:
        asyncio.run(steps(int(number)))
        DBOS.destroy()
