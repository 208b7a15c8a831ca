"""Part `gateway`: Medley's requests per second beside bare Ray Serve and microservices; then the starter profile."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from serve_app.provisioning.ray_environment import free_ports

from .report import Row, at_least, at_most, console, info, save

ROUNDS, SECONDS, CONNECTIONS = 5, 3.0, 16
CHAIN_BODY = json.dumps({"text": "a red circle on a blue background"})
MEDLEY_BODY = json.dumps(
    {**json.loads(CHAIN_BODY), "models": {"first": "echo-1", "second": "echo-2", "third": "echo-3"}}
)


@dataclass(frozen=True)
class Contender:
    """One of the services that do the same work."""

    name: str
    trivial: str
    chain: str
    body: str = CHAIN_BODY
    headers: dict[str, str] = field(default_factory=dict[str, str])


def run(quick: bool = False) -> list[Row]:
    """Measure, print and save; `quick` makes one short round (to test the benchmark itself)."""
    rounds, seconds = (1, 0.5) if quick else (ROUNDS, SECONDS)
    with contextlib.ExitStack() as stack:
        contenders = [
            stack.enter_context(bare("bare-serve")),
            stack.enter_context(bare("bare-serve-knobs", "--knobs")),
            stack.enter_context(microservices()),
            stack.enter_context(medley(Path("bench/medley.yaml"))),
        ]
        rates = measure(contenders, rounds, seconds)
    rows = [
        info(f"{what} {name}, median of {rounds}", statistics.median(values), "requests/s")
        for (what, name), values in rates.items()
    ]
    rows += [
        info(f"{what} {name}, spread", (max(values) - min(values)) / statistics.median(values) * 100, "%")
        for (what, name), values in rates.items()
    ]

    def ratio(what: str, other: str) -> float:
        pairs = zip(rates[what, "medley"], rates[what, other], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    rows += [
        at_least("trivial: medley / bare-serve-knobs", ratio("trivial", "bare-serve-knobs"), 1),
        at_least("trivial: medley / bare-serve", ratio("trivial", "bare-serve"), 4),
        at_least("chain: medley / bare-serve-knobs", ratio("chain", "bare-serve-knobs"), 1),
        at_least("chain: medley / microservices", ratio("chain", "microservices"), 2.5),
    ]
    if not quick:
        rows += starter()
    save("gateway", rows)
    return rows


def measure(contenders: list[Contender], rounds: int, seconds: float) -> dict[tuple[str, str], list[float]]:
    """Requests per second by (work, contender), one value per round; the contenders take turns within a round."""
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):  # the first round warms up and is not counted
        for contender in contenders:
            for what, url, body in (("trivial", contender.trivial, None), ("chain", contender.chain, contender.body)):
                result = load(url, seconds if number else min(seconds, 1.0), contender.headers, body)
                if result["errors"]:
                    raise RuntimeError(f"{contender.name} answered {result['errors']} errors on {what}")
                if number:
                    rates.setdefault((what, contender.name), []).append(result["per_second"])
                    console.print(
                        f"round {number}  {what:8} {contender.name:18} {result['per_second']:8.0f}/s", style="dim"
                    )
    return rates


def load(url: str, seconds: float, headers: dict[str, str], body: str | None) -> dict[str, float]:
    """The result of the load generator, which runs in its own process."""
    command = [sys.executable, "-m", "bench.load", url, "--connections", str(CONNECTIONS), "--seconds", str(seconds)]
    command += [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    command += ["--body", body] if body else []
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextlib.contextmanager
def bare(name: str, *options: str) -> Iterator[Contender]:
    url = f"http://127.0.0.1:{free_ports(1).start}"
    with process("bench.bare_serve", url.rsplit(":", 1)[1], *options):
        until_answers(f"{url}/trivial")
        yield Contender(name, f"{url}/trivial", f"{url}/chain")


@contextlib.contextmanager
def microservices() -> Iterator[Contender]:
    ports = [str(port) for port in free_ports(4)]
    urls = [f"http://127.0.0.1:{port}/step" for port in ports[1:]]
    with contextlib.ExitStack() as stack:
        for port in ports[1:]:
            stack.enter_context(process("bench.microservices", port))
        stack.enter_context(process("bench.microservices", ports[0], *urls))
        front = f"http://127.0.0.1:{ports[0]}"
        for port in ports:
            until_answers(f"http://127.0.0.1:{port}/trivial")
        yield Contender("microservices", f"{front}/trivial", f"{front}/chain")


@contextlib.contextmanager
def medley(profile: Path) -> Iterator[Contender]:
    port, dashboard = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        arguments = ["up", "--profile", str(profile), "--port", str(port), "--dashboard-port", str(dashboard)]
        with process("serve_app", *arguments, MEDLEY_HOME=home):
            until_answers(f"{url}/ready")
            key = (Path(home) / "api_key").read_text().strip()
            yield Contender(
                "medley",
                f"{url}/api/v1/identity",
                f"{url}/api/v1/graphs/chain",
                MEDLEY_BODY,
                {"authorization": f"Bearer {key}"},
            )


def starter() -> list[Row]:
    """Measure the starter profile: time until ready, memory when idle, one spoken wish."""
    from serve_app.cli.demo import WISH, speak

    began = time.monotonic()
    with medley(Path("serve_config.yaml")) as service:
        ready = time.monotonic() - began
        time.sleep(20)  # idle: start-up work is over
        resident, rss = resident_gb()
        url, key = service.trivial.removesuffix("/api/v1/identity"), service.headers["authorization"].split()[1]
        recording = speak(url, key, f"please paint {WISH} for my little daughter, thank you very much")
        seconds: list[float] = []
        for _ in range(ROUNDS):
            began = time.monotonic()
            files = {"audio": ("wish.wav", recording, "audio/wav")}
            answer = httpx.post(
                f"{url}/api/v1/graphs/speech_to_image", files=files, headers=service.headers, timeout=60
            )
            answer.raise_for_status()
            seconds.append(time.monotonic() - began)
    return [
        at_most("starter profile ready", ready, 90, "s"),
        at_most("starter profile idle, resident (PSS)", resident, 4, "GB"),
        info("starter profile idle, sum of RSS (shared pages counted in each process)", rss, "GB"),
        info("recording for speech_to_image", (len(recording) - 44) / 2 / 22050, "s of speech"),
        at_most(f"speech_to_image, median of {ROUNDS}", statistics.median(seconds), 8, "s"),
    ]


def resident_gb() -> tuple[float, float]:
    """The memory of all descendants of this process: shared pages counted once (PSS), and in each process (RSS)."""
    children = [child.memory_full_info() for child in psutil.Process().children(recursive=True)]
    return sum(child.pss for child in children) / 1e9, sum(child.rss for child in children) / 1e9


@contextlib.contextmanager
def process(module: str, *arguments: str, python: str = sys.executable, **environment: str) -> Iterator[None]:
    """A Python module in a process, which ends with the block."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            start_new_session=True,  # as from its own terminal: Linux gives each session an equal part of the cores
        )
        try:
            yield
        except BaseException:
            log.seek(0)
            console.print(log.read().decode(errors="replace")[-3000:], markup=False)
            raise
        finally:
            child.terminate()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def until_answers(url: str, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} did not answer within {timeout_s:.0f} s")
        time.sleep(0.25)
