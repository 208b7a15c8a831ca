"""A language model through the whole of Medley against vLLM's own HTTP server: same weights, same engine settings.

Both run in vLLM's environment (`make test-engines` makes it; `ENGINES` says where it is) and take turns.
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
from serve_app.provisioning.ray_environment import free_port

from .gateway import process, until_answers
from .report import Row, at_least, at_most, console, info

ENGINES = Path(os.environ.get("ENGINES", ".venv-engines")) / "bin" / "python"
PROFILE = Path("bench/language.yaml")
CALLERS = (1, 8, 32)
ROUNDS, EACH = 21, 3  # of loads of a second or two by turns: a shared machine changes its pace within seconds
SPACE = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True)
class Server:
    name: str
    url: str
    model: str
    headers: dict[str, str] = field(default_factory=dict[str, str])


def run() -> list[Row]:
    """Tokens per second and first tokens of both; no rows where vLLM's environment is not there."""
    if not ENGINES.exists():
        console.print(f"{ENGINES} is not there: no figures beside vLLM's server. `make test-engines` makes it.")
        return []
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(vllm()), stack.enter_context(medley())]
        found = measure(servers)
    return [row for stream in (True, False) for row in rows(found, stream)]


Found = dict[tuple[str, bool, int], list[dict[str, float]]]


def rows(found: Found, stream: bool) -> Iterator[Row]:
    how = "streaming" if stream else "whole"
    for callers in CALLERS:
        theirs, ours = (found[name, stream, callers] for name in ("vllm", "medley"))
        for name, values in (("vllm serve", theirs), ("medley", ours)):
            median = statistics.median(one["tokens_per_second"] for one in values)
            yield info(f"language, {how}, {callers} callers, {name}, median of {len(values)}", median, "tokens/s")
        pairs = zip(ours, theirs, strict=True)
        ratios = [mine["tokens_per_second"] / other["tokens_per_second"] for mine, other in pairs]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        spread = f"(quartiles {low:.2f} and {high:.2f})"
        name = f"language, {how}, {callers} callers: medley / vllm serve {spread}"
        yield at_least(name, ratio, 0.9 if stream else 0.95)
    if stream:
        pairs = zip(found["medley", True, 1], found["vllm", True, 1], strict=True)
        added = statistics.median(mine["first_ms"] - other["first_ms"] for mine, other in pairs)
        yield at_most("language, first token at 1 caller, added to vllm serve's", added, 5, "ms")


def measure(servers: list[Server]) -> Found:
    found: Found = {}
    for number in range(ROUNDS + 1):  # the first round warms up
        for callers in CALLERS:
            for stream in (True, False):
                for server in servers if number % 2 else reversed(servers):  # neither is always the one after the other
                    result = load(server, callers, stream, each=EACH if number else 1)
                    if number:
                        found.setdefault((server.name, stream, callers), []).append(result)
                        console.print(
                            f"round {number}  {server.name:8} {callers:3} callers {'stream' if stream else 'whole':7}"
                            f"{result['tokens_per_second']:8.0f} tokens/s  first {result['first_ms']:6.1f} ms",
                            style="dim",
                        )
    return found


def load(server: Server, callers: int, stream: bool, each: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.chat_load", server.url, server.model]
    command += ["--callers", str(callers), "--each", str(each), *(["--stream"] if stream else [])]
    command += [part for name, value in server.headers.items() for part in ("--header", f"{name}: {value}")]
    # A session of its own, as the servers have: its callers are none of their processes.
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300, start_new_session=True)
    return json.loads(ran.stdout)


@contextlib.contextmanager
def vllm() -> Iterator[Server]:
    port = free_port()
    arguments = ["--model", weights_path("starter/writer")]
    arguments += ["--served-model-name", "writer", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    arguments += ["--enforce-eager", "--load-format", "safetensors", "--disable-log-stats"]
    with started("vllm.entrypoints.openai.api_server", *arguments):
        until_answers(f"http://127.0.0.1:{port}/health")
        yield Server("vllm", f"http://127.0.0.1:{port}/v1/chat/completions", "writer")


@contextlib.contextmanager
def medley() -> Iterator[Server]:
    port, dashboard = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        arguments = ["up", "--profile", str(PROFILE), "--port", str(port), "--dashboard-port", str(dashboard)]
        with started("serve_app", *arguments, MEDLEY_HOME=home):
            until_answers(f"{url}/ready")
            key = (Path(home) / "api_key").read_text().strip()
            yield Server("medley", f"{url}/v1/chat/completions", "writer", {"authorization": f"Bearer {key}"})


def started(module: str, *arguments: str, **environment: str) -> contextlib.AbstractContextManager[None]:
    """A Python module in vLLM's environment, where programs of its own (Ray's HAProxy) are found."""
    path = f"{ENGINES.parent.absolute()}:{os.environ['PATH']}"
    return process(module, *arguments, python=str(ENGINES.absolute()), **{**SPACE, "PATH": path, **environment})
