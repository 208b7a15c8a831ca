"""A language model served by Medley beside vLLM's own HTTP server, with the same weights and engine settings.

Both run in vLLM's environment (made by `make test-engines`; `ENGINES` is its path) and take turns.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deployments.backend import weights_path
from serve_app.provisioning.ray_environment import free_ports

from .gateway import process, until_answers
from .report import Row, at_least, at_most, console, info

ENGINES = Path(os.environ.get("ENGINES", ".venv-engines")) / "bin" / "python"
PROFILE = Path("bench/language.yaml")
CALLERS = (1, 8, 32)
ROUNDS, EACH = 21, 3  # loads of a second or two in turns: the pace of a shared machine changes within seconds
SPACE = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True)
class Server:
    """A server to measure."""

    name: str
    url: str
    model: str
    headers: dict[str, str] = field(default_factory=dict[str, str])


def run() -> list[Row]:
    """Measure tokens per second and first tokens of both servers; no rows if vLLM's environment is missing."""
    if not ENGINES.exists():
        console.print(f"{ENGINES} is missing: no figures beside vLLM's server. Make it with `make test-engines`.")
        return []
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(vllm()), stack.enter_context(medley())]
        results = measure(servers)
    return [row for stream in (True, False) for row in rows(results, stream)]


Results = dict[tuple[str, bool, int], list[dict[str, float]]]  # by server, whether it streams, and callers


def rows(results: Results, stream: bool) -> Iterator[Row]:
    mode = "streaming" if stream else "whole"
    for callers in CALLERS:
        of_vllm, of_medley = (results[name, stream, callers] for name in ("vllm", "medley"))
        for name, values in (("vllm serve", of_vllm), ("medley", of_medley)):
            median = statistics.median(value["tokens_per_second"] for value in values)
            yield info(f"language, {mode}, {callers} callers, {name}, median of {len(values)}", median, "tokens/s")
        pairs = zip(of_medley, of_vllm, strict=True)
        ratios = [medley["tokens_per_second"] / vllm["tokens_per_second"] for medley, vllm in pairs]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        spread = f"(quartiles {low:.2f} and {high:.2f})"
        name = f"language, {mode}, {callers} callers: medley / vllm serve {spread}"
        yield at_least(name, ratio, 0.9 if stream else 0.95)
    if stream:
        pairs = zip(results["medley", True, 1], results["vllm", True, 1], strict=True)
        added = statistics.median(medley["first_ms"] - vllm["first_ms"] for medley, vllm in pairs)
        yield at_most("language, first token at 1 caller, added to vllm serve's", added, 5, "ms")


def measure(servers: list[Server]) -> Results:
    results: Results = {}
    for number in range(ROUNDS + 1):  # the first round warms up
        for callers in CALLERS:
            for stream in (True, False):
                for server in servers if number % 2 else reversed(servers):  # so that neither is always the second
                    result = load(server, callers, stream, each=EACH if number else 1)
                    if number:
                        results.setdefault((server.name, stream, callers), []).append(result)
                        console.print(
                            f"round {number}  {server.name:8} {callers:3} callers {'stream' if stream else 'whole':7}"
                            f"{result['tokens_per_second']:8.0f} tokens/s  first {result['first_ms']:6.1f} ms",
                            style="dim",
                        )
    return results


def load(server: Server, callers: int, stream: bool, each: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.chat_load", server.url, server.model]
    command += ["--callers", str(callers), "--each", str(each), *(["--stream"] if stream else [])]
    command += [part for name, value in server.headers.items() for part in ("--header", f"{name}: {value}")]
    # A separate session, as the servers have: Linux schedules the callers apart from their processes.
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300, start_new_session=True)
    return json.loads(ran.stdout)


@contextlib.contextmanager
def vllm() -> Iterator[Server]:
    port = free_ports(1).start
    arguments = ["--model", weights_path("starter/writer")]
    arguments += ["--served-model-name", "writer", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    arguments += ["--enforce-eager", "--load-format", "safetensors", "--disable-log-stats"]
    with started("vllm.entrypoints.openai.api_server", *arguments):
        until_answers(f"http://127.0.0.1:{port}/health")
        yield Server("vllm", f"http://127.0.0.1:{port}/v1/chat/completions", "writer")


@contextlib.contextmanager
def medley() -> Iterator[Server]:
    port, dashboard = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        arguments = ["up", "--profile", str(PROFILE), "--port", str(port), "--dashboard-port", str(dashboard)]
        with started("serve_app", *arguments, MEDLEY_HOME=home):
            until_answers(f"{url}/ready")
            key = (Path(home) / "api_key").read_text().strip()
            yield Server("medley", f"{url}/v1/chat/completions", "writer", {"authorization": f"Bearer {key}"})


def started(module: str, *arguments: str, **environment: str) -> contextlib.AbstractContextManager[None]:
    """A Python module that runs in vLLM's environment, with its programs (Ray's HAProxy) on the path."""
    path = f"{ENGINES.parent.absolute()}:{os.environ['PATH']}"
    return process(module, *arguments, python=str(ENGINES.absolute()), **{**SPACE, "PATH": path, **environment})
