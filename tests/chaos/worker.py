"""Processes to be killed. This one loads everything once, and forks a worker in milliseconds for each order it reads.

An order is a line of JSON: `{"start": {"work": ..., ...}}` answers with a process id, `{"alive": pid}` with 0 or 1. A
dead child stays a zombie until someone asks, so that its id is nobody else's. At the end of the input all are killed.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deployments.capabilities import Message, Reply
from deployments.errors import MedleyError
from serve_app.config.schema import JobsConfig
from serve_app.jobs import lease, queue
from serve_app.jobs.job import WEBHOOK, NewJob
from serve_app.jobs.runner import Runner
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id
from serve_app.webhooks.delivery import Deliverer
from tests.jobs.work import GRAPHS, Scribe, models_of

IDLE_S = 0.05
PLACES = ("claim", "step 1", "step 2", "step 3", "finish")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Log:
    """What happened, one JSON document a line, in a file that all workers share and that outlives them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def write(self, what: str, text: str) -> None:
        line = {"at": time.monotonic(), "pid": os.getpid(), "what": what, "text": text}
        os.write(self._file, (json.dumps(line) + "\n").encode())  # one write: lines of two processes do not mix

    def has(self, what: str, text: str) -> bool:
        lines = map(json.loads, Path(self.path).read_text().splitlines())
        return any((line["what"], line["text"]) == (what, text) for line in lines)


class Chronicler(Scribe):
    """A model that writes down when a step starts and ends, and puts its name to what it says."""

    def __init__(self, log: Log, seconds: float, name: str) -> None:
        super().__init__(seconds=seconds)
        self._book, self._name = log, name

    async def _called(self, what: str) -> None:
        self._book.write("start", what)
        await asyncio.sleep(self.seconds)
        self._book.write("end", what)

    async def chat(self, messages: list[Message], **options: Any) -> Reply:
        reply = await super().chat(messages, **options)
        return Reply(text=reply.text + self._name, finish_reason="stop", prompt_tokens=1, completion_tokens=1)


class Watched(Database):
    """Notes each claim, step and finish on both sides of its commit. A job whose text names such a place, as in "kill
    before step 2", ends (or stops) the first process that comes there: "before" is with the transaction still open.
    """

    def __init__(self, url: str, log: Log) -> None:
        super().__init__(url)
        self._log = log
        self._texts: dict[str, str] = {}
        self._names: dict[str, list[str]] = defaultdict(list)
        self._here = threading.local()
        for name in ("claim", "commit_step", "finish"):
            setattr(lease, name, self._watch(name, getattr(lease, name)))

    def _watch(self, name: str, plain: Any) -> Any:
        def watched(connection: Any, *args: Any, **kwargs: Any) -> Any:
            result = plain(connection, *args, **kwargs)
            if name == "claim":
                for claimed in result:
                    asked = json.loads(claimed.job.input)
                    self._texts[claimed.job.id] = asked.get("text", "") if isinstance(asked, dict) else ""
                    self._reached(claimed.job.id, "claim")
            elif name == "commit_step":
                job_id, steps = args[0].job_id, self._names[args[0].job_id]
                if args[1].name not in steps:
                    steps.append(args[1].name)
                self._reached(job_id, f"step {steps.index(args[1].name) + 1}")
            elif name == "finish" and args[0].job_id in self._texts:
                self._reached(args[0].job_id, "finish")
            return result

        return watched

    def _reached(self, job_id: str, place: str) -> None:
        self._here.place = place, self._texts[job_id]
        self._meet("before", *self._here.place)

    def _meet(self, moment: str, place: str, text: str) -> None:
        what, _, where = text.partition(" ")
        if where == f"{moment} {place}" and what in SIGNALS and not self._log.has("dies", text):
            self._log.write("dies", text)
            os.kill(os.getpid(), SIGNALS[what])

    def _once(self, writes: bool, work: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._here.place = None
        result = super()._once(writes, work, *args, **kwargs)
        met: Any = self._here.place  # the work said it meanwhile
        if met:
            place, text = met
            self._log.write(f"committed {place}", text)
            self._meet("after", place, text)
        return result


def trouble_at(flag: Path) -> None:
    """The disk of the artifacts fails as the flag says, beneath all of the store's own code: `fsync` is where a real
    one tells of it."""
    plain = os.fsync

    def fsync(file: int) -> None:
        trouble = flag.read_text() if flag.exists() else ""
        if trouble == "full":
            raise OSError(28, os.strerror(28))
        if trouble == "partial":
            os.ftruncate(file, os.fstat(file).st_size // 2)
            raise OSError(5, os.strerror(5))
        if trouble == "kill":
            flag.unlink()
            os.ftruncate(file, os.fstat(file).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "slow":
            time.sleep(0.4)
        plain(file)

    os.fsync = fsync


async def work(
    url: str,
    folder: str,
    log: str,
    step_s: float = 0.02,
    slots: int = 1,
    name: str = "",
    clock_s: float = 0.0,
    trouble: str | None = None,
    config: dict[str, Any] | None = None,
) -> None:
    """Claim and run jobs until SIGTERM, then hand over what runs."""
    if clock_s:
        seconds, nanoseconds = time.time, time.time_ns
        time.time = lambda: seconds() + clock_s
        time.time_ns = lambda: nanoseconds() + int(clock_s * 1e9)
    if trouble:
        trouble_at(Path(trouble))
    book = Log(log)
    database = Watched(url, book)
    settings = JobsConfig(**(config or {}))
    runner = Runner(
        database,
        Artifacts(database, folder, b"key of the tests"),
        GRAPHS,
        models_of(Chronicler(book, step_s, name)),
        settings,
        new_id("owner"),
        {WEBHOOK: Deliverer(database, settings.private_webhooks).deliver},
    )

    async def slot() -> None:
        while not runner.stopped:
            claimed = await runner.claim()
            if claimed is None:
                await asyncio.sleep(IDLE_S)
            else:
                await runner.run(claimed)

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    book.write("up", name)
    running = [asyncio.create_task(slot()) for _ in range(slots)]
    await ended.wait()
    await runner.stop()
    await asyncio.wait(running)


async def create(url: str, answers: str, count: int, news: list[dict[str, Any]], threads: int = 16) -> None:
    """Ask for each of these jobs `count` times, all at once; each answer is a line: its job's id, or the error's
    type."""
    database = Database(url)
    file = os.open(answers, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def ask(new: dict[str, Any]) -> None:
        while True:
            try:
                answer = database.write_here(queue.create, NewJob(id=new_id("job"), **new))[0].id
            except MedleyError as error:
                if error.status == 503:  # SQLite's writers wait for each other at most so long
                    continue
                answer = error.type
            os.write(file, f"{answer}\n".encode())
            return

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, news * count))


async def create_on(url: str, answers: str, user: str, price: int) -> None:
    """Create jobs until killed; each that is acknowledged is a line."""
    database = Database(url)
    file = os.open(answers, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    while True:
        new = NewJob(new_id("job"), user, "steps", json.dumps({"text": "x" * 2000}), price=price)
        job, _ = database.write_here(queue.create, new)
        os.write(file, f"{job.id}\n".encode())


WORKS = {"work": work, "create": create, "create_on": create_on}


def _child(order: dict[str, Any]) -> None:
    status = 1
    try:
        errors = os.open(order.pop("errors"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(errors, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(errors, 1)
        asyncio.run(WORKS[order.pop("work")](**order))
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            pid = os.fork()
            if not pid:
                _child(order["start"])
            children.add(pid)
            print(pid, flush=True)
        else:
            pid = order["alive"]
            if pid in children and os.waitpid(pid, os.WNOHANG)[0]:
                children.discard(pid)
            print(int(pid in children), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
