"""A soak: a running Medley under mixed load ends with the memory, handles, threads, shared memory and disk that it had.

`make chaos` runs it for an hour (MEDLEY_SOAK_S sets another length) and compares the end with the minutes after the
first ten; `make test` runs it for a minute, which shows that the load works and that nothing grows by half.
"""

import base64
import contextlib
import itertools
import json
import os
import shutil
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.media.corpus import corpus
from tests.service.live import STARTER, Live, profile_document, started
from tests.service.samples import disc

from .sizes import LONG, size

SECONDS = float(os.environ.get("MEDLEY_SOAK_S") or size(60, 3600))
SETTLED_S, WINDOW_S = min(600.0, SECONDS / 3), min(300.0, SECONDS / 4)
SAMPLE_S = size(2, 15)
GROWTH = 1.05 if LONG else 1.5
CALLERS = 3


@dataclass(frozen=True)
class Used:
    """What the processes of a Medley hold, and its files."""

    memory_mb: float
    handles: float
    threads: float
    shared_mb: float
    disk_mb: float


@dataclass(frozen=True)
class Sample:
    """One look at a running Medley."""

    since_s: float
    used: Used
    memory_mb: dict[str, float]  # by process
    disk_mb: dict[str, float]  # by file


def sample(live: Live, folders: list[Path], since_s: float) -> Sample:
    processes = [process := psutil.Process(live.state.pid), *process.children(recursive=True)]
    memory, handles, threads = dict[str, float](), 0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            memory[f"{process.pid} {' '.join(process.cmdline())[:60]}"] = process.memory_full_info().pss / 1e6
            handles += process.num_fds()
            threads += process.num_threads()
    disk = {name: bytes_ / 1e6 for folder in folders for name, bytes_ in sizes_in(folder)}
    shared = shutil.disk_usage("/dev/shm").used / 1e6
    return Sample(since_s, Used(sum(memory.values()), handles, threads, shared, sum(disk.values())), memory, disk)


def sizes_in(folder: Path) -> Iterator[tuple[str, int]]:
    """Each file below a folder, with its bytes."""
    for parent, _, names in os.walk(folder):
        for file in (Path(parent, name) for name in names):
            with contextlib.suppress(OSError):  # deleted meanwhile
                yield str(file.relative_to(folder)), file.lstat().st_size


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, str]:
    """The five things that grew most, with their MB before and after."""
    growth = {name: mb - before.get(name, 0) for name, mb in after.items()}
    most = sorted(growth, key=lambda name: -growth[name])[:5]
    return {name: f"{before.get(name, 0):.1f} -> {after[name]:.1f}" for name in most}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The starter profile, which forgets ended jobs and artifacts after minutes."""
    folder = tmp_path_factory.mktemp("soak")
    document = profile_document(STARTER)
    document["applications"][0]["args"]["jobs"] = {"keep_days": 180 / 86_400}
    (folder / "profile.yaml").write_text(yaml.safe_dump(document))
    with started(folder / "home", folder / "profile.yaml") as service:
        yield service


class Load:
    """A caller that makes one request after the other, of every kind, good and bad."""

    def __init__(self, live: Live, until: float) -> None:
        self.live, self.until = live, until
        self.statuses, self.unexpected = Counter[tuple[str, int]](), list[str]()
        self.kinds: list[Callable[[httpx.Client], httpx.Response | None]] = [
            self.chat,
            self.left_stream,
            self.job,
            self.resize,
            self.speech,
            self.upload,
            self.bad_file,
            self.bad_json,
            self.health,
        ]

    def run(self) -> None:
        pause = 0.2
        for kind in itertools.cycle(self.kinds):
            if time.monotonic() > self.until:
                return
            with self.live.client() as client:  # a connection of its own: they are opened and closed all the time
                try:
                    answer = kind(client)
                except httpx.HTTPError as error:
                    self.unexpected.append(f"{kind.__name__}: {type(error).__name__} {error}")
                    continue
            if answer is not None:
                self.statuses[kind.__name__, answer.status_code] += 1
                if answer.status_code >= 500:
                    self.unexpected.append(f"{kind.__name__}: {answer.status_code} {answer.text[:300]}")
            time.sleep(pause)

    def chat(self, client: httpx.Client) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "write a story about a boat"}], "max_tokens": 16}
        return client.post("/api/v1/graphs/chat", json=body)

    def left_stream(self, client: httpx.Client) -> None:
        body: dict[str, Any] = {"model": "default", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_lines(), "")

    def job(self, client: httpx.Client) -> httpx.Response:
        body = {"image": disc().url, "width": 40, "height": 40}
        made = client.post("/api/v1/graphs/image_resize", json=body, headers={"prefer": "respond-async"})
        if not made.is_success:
            return made
        with client.stream("GET", f"{made.json()['urls']['events']}") as events:
            for _ in events.iter_lines():
                pass
        return made

    def resize(self, client: httpx.Client) -> httpx.Response:
        return client.post("/api/v1/graphs/image_resize", json={"image": disc().url, "width": 40, "height": 40})

    def speech(self, client: httpx.Client) -> httpx.Response:
        return client.post("/api/v1/graphs/speech", json={"text": "Hello."})

    def upload(self, client: httpx.Client) -> httpx.Response:
        made = client.post("/api/v1/artifacts", content=disc().data, headers={"content-type": "image/png"})
        if not made.is_success:
            return made
        client.get(f"/api/v1/artifacts/{made.json()['id']}", headers={"range": "bytes=0-9"})
        return client.delete(f"/api/v1/artifacts/{made.json()['id']}")

    def bad_file(self, client: httpx.Client) -> httpx.Response:
        url = f"data:image/x;base64,{base64.b64encode(next(PICTURES).data).decode()}"
        return client.post("/api/v1/graphs/image_resize", json={"image": url, "width": 8, "height": 8})

    def bad_json(self, client: httpx.Client) -> httpx.Response:
        body = '{"messages": [' + "{}," * 20_000 + "{}]}"
        return client.post("/api/v1/graphs/chat", content=body, headers={"content-type": "application/json"})

    def health(self, client: httpx.Client) -> httpx.Response:
        return client.get("/health")


PICTURES = itertools.cycle([file for file in corpus() if file.kind == "image"])


@pytest.mark.timeout(SECONDS + 300)
def test_a_soak_ends_where_it_began(live: Live) -> None:
    began = time.monotonic()
    folders = [live.home, live.folder]
    loads = [Load(live, began + SECONDS) for _ in range(CALLERS)]
    threads = [threading.Thread(target=load.run, daemon=True) for load in loads]
    for thread in threads:
        thread.start()
    samples: list[Sample] = []
    while (since := time.monotonic() - began) < SECONDS:
        samples.append(sample(live, folders, since))
        time.sleep(SAMPLE_S)
    for thread in threads:
        thread.join(120)
    statuses: Counter[tuple[str, int]] = sum((load.statuses for load in loads), Counter())
    unexpected = [problem for load in loads for problem in load.unexpected]
    settled = [at for at in samples if SETTLED_S <= at.since_s <= SETTLED_S + WINDOW_S]
    end = [at for at in samples if at.since_s >= SECONDS - WINDOW_S]
    first, last = middle_of(settled), middle_of(end)
    figures = {
        field.name: (round(before, 1), round(after, 1))
        for field, before, after in zip(fields(Used), astuple(first), astuple(last), strict=True)
    }
    requests = {f"{name} {status}": count for (name, status), count in sorted(statuses.items())}
    print(
        f"\nsoak of {SECONDS:.0f} s: {json.dumps(figures)}; {sum(statuses.values())} requests: {json.dumps(requests)}"
    )
    print(f"grew most: {json.dumps(grown(settled[0].memory_mb, end[-1].memory_mb), indent=1)}")
    print(f"files that grew most: {json.dumps(grown(settled[0].disk_mb, end[-1].disk_mb), indent=1)}")
    assert unexpected == []
    assert {name for name, _ in statuses} == {kind.__name__ for kind in loads[0].kinds} - {"left_stream"}
    slack = {"handles": 20, "threads": 10, "shared_mb": 20, "disk_mb": 5}  # for what is small at first
    for name, (before, after) in figures.items():
        assert after <= before * GROWTH + slack.get(name, 0), name


def middle_of(samples: list[Sample]) -> Used:
    """The median of each figure."""
    rows = [astuple(sample.used) for sample in samples]
    return Used(*(statistics.median(values) for values in zip(*rows, strict=True)))
