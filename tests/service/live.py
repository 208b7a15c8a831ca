"""A Medley started as its user would start it, and ways to talk to it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from serve_app.config.settings import Settings
from serve_app.provisioning.local_cluster import Running, running
from serve_app.provisioning.ray_environment import free_ports

STARTER = Path("serve_config.yaml")


@dataclass(frozen=True)
class Live:
    """A running Medley of the tests' own."""

    url: str
    key: str
    home: Path
    port: int

    @classmethod
    def of(cls, home: Path) -> "Live":
        """The one that runs with this MEDLEY_HOME."""
        state = running(Settings(home, None))
        assert state, f"nothing runs in {home}"
        key = (home / "api_key").read_text().strip()
        return cls(state.url, key, home, int(state.url.rsplit(":", 1)[1]))

    @property
    def environment(self) -> dict[str, str]:
        # Without what a command under test has set in this process for a Ray of its own.
        usual = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return {**usual, "MEDLEY_HOME": str(self.home), "RAY_AUTH_MODE": "token"}

    @property
    def state(self) -> Running:
        found = running(Settings(self.home, None))
        assert found
        return found

    @property
    def folder(self) -> Path:
        """The folder of HAProxy's and Ray's files."""
        name = "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"
        environments = [child.environ() for child in psutil.Process(self.state.pid).children()]
        return Path(next(environment[name] for environment in environments if name in environment)).parent

    def client(self, **options: Any) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, **options)

    def medley(
        self, *arguments: str, environment: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """The command line, as its user would call it."""
        command = [sys.executable, "-m", "serve_app", *arguments]
        variables = {**(environment or self.environment), "COLUMNS": "200"}
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240, **options)

    def deployments(self) -> dict[str, Any]:
        """Serve's own account of every deployment, its replicas with their process ids among it."""
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        details = ServeSubmissionClient(self.state.dashboard).get_serve_details()
        return details["applications"]["medley"]["deployments"]

    def pids(self) -> dict[str, set[int]]:
        """Process ids of the running replicas, by deployment."""
        return {
            name: {replica["pid"] for replica in deployment["replicas"] if replica["state"] == "RUNNING"}
            for name, deployment in self.deployments().items()
        }

    def until_ready(self, seconds: float = 120) -> None:
        until(lambda: httpx.get(f"{self.url}/ready", timeout=5).status_code == 200, seconds)


def until(condition: Any, seconds: float) -> None:
    """Wait for a condition; a refused connection counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)


@contextmanager
def started(home: Path, profile: Path = STARTER, gpus: int | None = None) -> Iterator[Live]:
    """`medley up --detach`, and `medley down` afterwards; with `gpus`, Ray believes that the machine has so many."""
    port, dashboard_port = free_ports(2)
    command_line = Live(f"http://127.0.0.1:{port}", "", home, port)
    arguments = ["up", "--detach", "--no-pull", "--profile", str(profile), "--port", str(port)]
    environment = command_line.environment
    if gpus is not None:
        environment["RAY_OVERRIDE_RESOURCES"] = json.dumps({"GPU": gpus})
    up = command_line.medley(*arguments, "--dashboard-port", str(dashboard_port), environment=environment)
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield Live.of(home)
    finally:
        down = command_line.medley("down")
        assert down.returncode == 0, down.stdout + down.stderr


def profile_document(path: Path = STARTER) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())
