"""A process that runs Medley's jobs over a model in the same process, as a worker replica does; or one that serves.

python -m bench.job_worker work DATABASE FOLDER     run jobs until killed
python -m bench.job_worker serve DATABASE FOLDER PORT KEY
"""

import asyncio
import contextlib
import signal
import sys
import time
from typing import Any

from pydantic import BaseModel

from bench.echo import Echo
from deployments.capabilities import Language, Message, Reply
from serve_app.config.schema import AppConfig, JobsConfig, ModelConfig
from serve_app.graph import Graph, graph
from serve_app.jobs.runner import Runner
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id

POLL_S = 0.02  # between two claims when no job is ready; the service wakes its workers instead
SLOTS = 16


class Work(BaseModel):
    steps: int = 0
    seconds: float = 0.0  # each
    log: str = ""  # where each step's start is written


class Done(BaseModel):
    steps: int


@graph(title="Trivial")
async def trivial(request: Work, writer: Language) -> Done:
    """Run the requested number of steps, each of which answers at once or sleeps."""
    for number in range(request.steps):
        await writer.chat([Message(role="user", content=request.model_dump_json())], seed=number)
    return Done(steps=request.steps)


class Sleeper(Echo):
    """An Echo that writes the start of the step to a log and sleeps before it answers, as the work says."""

    async def chat(self, messages: list[Message], *, seed: int | None = None, **options: Any) -> Reply:
        work = Work.model_validate_json(messages[0].text)
        if work.log:
            with open(work.log, "a") as file:  # noqa: ASYNC230  # one line
                file.write(f"{seed} {time.time()}\n")
        if work.seconds:
            await asyncio.sleep(work.seconds)
        return Reply(text="x" * 20, finish_reason="stop", prompt_tokens=0, completion_tokens=0)


GRAPHS: dict[str, Graph[..., Any]] = {trivial.name: trivial}
MODELS = Models([Model("echo", "bench.echo:Echo", (Language,), LocalHandle(Sleeper()))])


def open_runner(url: str, folder: str, per_user: int = 100) -> Runner:
    database = Database(url)
    database.upgrade()
    artifacts = Artifacts(database, folder, b"key of the benchmark")
    return Runner(database, artifacts, GRAPHS, MODELS, JobsConfig(per_user=per_user), new_id("owner"))


async def work(url: str, folder: str) -> None:
    runner, ended = open_runner(url, folder), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    async def slot() -> None:
        while not runner.stopped:
            claimed = await runner.claim()
            if claimed:
                await runner.run(claimed)
            else:
                await asyncio.sleep(POLL_S)

    slots = [asyncio.create_task(slot()) for _ in range(SLOTS)]
    print("ready", runner.owner, flush=True)
    await ended.wait()
    await runner.stop()
    for task in slots:
        task.cancel()


async def serve(url: str, folder: str, port: int, key: str) -> None:
    import uvicorn

    from serve_app.accounts.keys import SingleKey
    from serve_app.gateway.http_app import http_app
    from serve_app.gateway.service import Service
    from serve_app.jobs.dispatch import Dispatch

    runner = open_runner(url, folder)
    config = AppConfig(
        models=[ModelConfig(name="echo", backend="bench.echo:Echo")], graphs=["bench.job_worker:trivial"]
    )

    async def call_worker() -> None:
        """Do nothing: the workers are separate processes, which poll."""

    jobs = Dispatch(runner, call_worker)
    app = http_app(Service(config, GRAPHS, MODELS, jobs), SingleKey(key))
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning", lifespan="off"))
    await server.serve()
    await jobs.stop()


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        if command == "work":
            asyncio.run(work(rest[0], rest[1]))
        else:
            asyncio.run(serve(rest[0], rest[1], int(rest[2]), rest[3]))
