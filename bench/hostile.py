"""Part `hostile`: small requests of others while an attack is worked on, and the gateway's memory after it."""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from .attacks import ATTACKS
from .gateway import Contender, medley
from .report import Row, at_most, info, save

QUIET_S, PAUSE_S = 10.0, 0.05  # of the steady load before the attacks; between two of its requests
SETTLE_S = 5.0  # after an attack, before memory is read
LATER_S, ANSWER_KB, MEMORY = 0.3, 64.0, 1.25  # the most that is accepted
FAILED_S = 10.0  # that a request counts for which failed


@dataclass(frozen=True)
class Seen:
    """What other callers saw of one attack."""

    seconds: list[float]
    failed: int
    answers: dict[str, Any]
    memory: int  # bytes of the gateway afterwards


def run(quick: bool = False) -> list[Row]:
    """Measure, print and save; `quick` makes a single attack after a short time (to test the benchmark itself)."""
    with medley(Path("bench/medley.yaml")) as service:
        steady = Steady(service)
        quiet = steady.until(lambda since: since > (1 if quick else QUIET_S))
        before, usual = gateway_memory(), _slow(quiet)
        rows = [info("a small request in quiet times, 95 %", usual, "s")]
        for name in ("unknown_keys",) if quick else ATTACKS:
            rows += rows_of(name.replace("_", " "), attacked(service, steady, name), usual, before)
    save("hostile", rows)
    return rows


def attacked(service: Contender, steady: "Steady", name: str) -> Seen:
    """The steady load while another process attacks."""
    url, key = service.trivial.removesuffix("/api/v1/identity"), service.headers["authorization"].split()[1]
    command = [sys.executable, "-m", "bench.attacks", name, url, key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attack:
        failed = steady.failed
        seconds = steady.until(lambda since: attack.poll() is not None)
        answers = json.loads(attack.communicate()[0])
    steady.until(lambda since: since > SETTLE_S)
    return Seen(seconds, steady.failed - failed, answers, gateway_memory())


def rows_of(name: str, seen: Seen, usual: float, before: int) -> list[Row]:
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(seen.answers["statuses"].items()))
    later, memory = _slow(seen.seconds) - usual, seen.memory / before
    return [
        at_most(f"{name} ({statuses}): a small request is later by, 95 %", later, LATER_S, "s"),
        at_most(f"{name}: small requests that failed", seen.failed, 0, "requests"),
        at_most(f"{name}: largest answer", seen.answers["largest"] / 1000, ANSWER_KB, "kB"),
        at_most(f"{name}: the gateway's memory afterwards, of that before", memory, MEMORY, "ratio"),
    ]


class Steady:
    """A caller that sends a small request after the other, with and without a key in turns."""

    def __init__(self, service: Contender) -> None:
        self._urls = (service.trivial, service.trivial.replace("/api/v1/identity", "/ready"))
        self._client = httpx.Client(headers=service.headers, timeout=FAILED_S)
        self.failed = 0

    def until(self, over: Any) -> list[float]:
        """The seconds of each request, sent until `over`, a function of the seconds since the first, is true."""
        began, seconds = time.monotonic(), list[float]()
        while not over(time.monotonic() - began):
            sent = time.monotonic()
            try:
                if not self._client.get(self._urls[len(seconds) % 2]).is_success:
                    self.failed += 1
                seconds.append(time.monotonic() - sent)
            except httpx.HTTPError:
                self.failed += 1
                seconds.append(FAILED_S)
            time.sleep(PAUSE_S)
        return seconds


def gateway_memory() -> int:
    """Bytes that belong to the gateway alone."""
    for process in psutil.Process().children(recursive=True):
        if "medley:gateway" in " ".join(process.cmdline()):
            return process.memory_full_info().uss
    raise RuntimeError("the gateway's process was not found")


def _slow(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]
