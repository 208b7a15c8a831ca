"""A local cluster: start Ray and Serve on loopback, deploy a profile, wait until it is ready, and stop it.

The process that starts Ray is its parent: when it ends, by `medley down`, Ctrl-C or a crash, all of Ray ends with it
and nothing else does. `up.json` in MEDLEY_HOME describes the running cluster, for the other commands.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import atexit
import contextlib
import json
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from deployments.backend import WEIGHTS_FOLDER
from deployments.capabilities import capabilities_of
from deployments.errors import MedleyError

from ..config.loading import load_backend
from ..config.profile import Profile
from ..config.schema import APPLICATION, GATEWAY, WORKER
from ..config.settings import Settings
from ..errors import StorageUnavailable, reason_of
from ..models.serve_status import HEALTHY, DeploymentStatus, from_details
from ..storage.database import Database
from ..storage.secret_file import private_folder
from . import ray_environment

STATE_FILE = "up.json"
OBJECT_STORE_BYTES = 512_000_000
MIN_CPUS = 4
DEPLOYS, DEPLOY_PAUSE_S = 3, 5.0  # tries to start Serve, and seconds between two
FAILED = {"DEPLOY_FAILED", "UNHEALTHY"}


@dataclass(frozen=True)
class Running:
    """A Medley that was started on this machine."""

    pid: int
    url: str
    dashboard: str
    address: str  # of Ray, for `ray.init(address=...)` and notebooks
    profile: str
    started: float  # seconds since the epoch

    @property
    def alive(self) -> bool:
        """Whether its process still runs (and is not another process that has got its id)."""
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes() if Path("/proc").is_dir() else b"medley"
            os.kill(self.pid, 0)
        except OSError:
            return False
        return b"medley" in command or b"serve_app" in command


def running(settings: Settings) -> Running | None:
    """The Medley of this MEDLEY_HOME, if it runs."""
    try:
        state = Running(**json.loads((settings.home / STATE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.alive else None


def prepare(settings: Settings, port: int, dashboard_port: int) -> Path:
    """Set the environment in which Ray starts, before Ray is imported; returns a folder for its files.

    Raises:
        MedleyError: Medley already runs, a port is in use, or others may write into MEDLEY_HOME.
    """
    other = running(settings)
    if other:
        raise MedleyError(f"Medley already runs at {other.url} (process {other.pid}). Stop it with: medley down")
    for option, number in (("port", port), ("dashboard-port", dashboard_port)):
        if not ray_environment.port_is_free(number):
            raise MedleyError(f"Port {number} is in use. Choose another port with --{option}.")
    private_folder(settings.home)
    _check_database(settings)
    # Not inside MEDLEY_HOME: the paths of Ray's sockets are limited to about a hundred characters. Only this user can
    # enter the folder; Ray lets everybody write into its own folder, which is therefore one below.
    directory = Path(tempfile.mkdtemp(prefix="medley-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ["MEDLEY_HOME"] = str(settings.home)
    os.environ[WEIGHTS_FOLDER] = str(settings.weights)
    # Replicas import a user's own graphs and backends from the working directory.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    ray_environment.apply(ray_environment.local_environment(directory, taken=(port, dashboard_port)))
    ray_environment.make_ray_token()
    return directory


def _check_database(settings: Settings) -> None:
    """Upgrade the database before anything starts, so that one that cannot be used is an error here, not in a replica.

    Raises:
        InvalidConfig: the database cannot be used.
    """
    database = Database(settings.database_url)
    try:
        with contextlib.suppress(StorageUnavailable):  # one that starts later is waited for
            database.upgrade()
    finally:
        database.dispose()


def start(settings: Settings, profile: Profile, directory: Path, port: int, dashboard_port: int) -> Running:
    """Start Ray in this process, deploy the profile and write `up.json`. Returns before the models are ready.

    Raises:
        MedleyError: Ray does not start, or refuses the profile.
    """
    ray_environment.schedule_as_batch()
    context = _start_ray(directory, dashboard_port)
    state = Running(
        pid=os.getpid(),
        url=f"http://127.0.0.1:{port}",
        dashboard=f"http://127.0.0.1:{dashboard_port}",
        address=context.address_info["gcs_address"],
        profile=str(profile.path.absolute()),
        started=time.time(),
    )
    deploy(state, profile, port)
    (settings.home / STATE_FILE).write_text(json.dumps(asdict(state), indent=2))
    return state


def _start_ray(directory: Path, dashboard_port: int) -> Any:
    """Ray's context of a new cluster of this process."""
    import ray

    try:
        return ray.init(
            address="local",
            # Declared cores only matter for placement. A small machine declares some extra, so that a second replica
            # or a batch can be placed.
            num_cpus=max(MIN_CPUS, os.cpu_count() or 1),
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=dashboard_port,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(directory / "ray"),
        )
    except Exception as error:  # a process of Ray that is late raises a plain Exception, among others
        raise MedleyError(f"Ray did not start: {reason_of(str(error))} On a busy machine, try once more.") from error


def deploy(state: Running, profile: Profile, port: int) -> None:
    """Send the profile to Ray's dashboard, as `serve deploy` does."""
    document = {**profile.document, "http_options": {**profile.document.get("http_options", {}), "port": port}}
    for more in reversed(range(DEPLOYS)):
        try:
            return _serve_client(state.dashboard).deploy_applications(document)
        except (RuntimeError, OSError) as error:
            # Serve's proxy was late, or something took its port before it: Serve's controller starts it again.
            if not more or "HAProxy" not in str(error):
                raise MedleyError(f"Ray refused the profile: {str(error)[:2000]}") from None
            time.sleep(DEPLOY_PAUSE_S)


def _serve_client(dashboard: str) -> Any:
    """Ray's client of its dashboard, which presents the token that Ray requires by default."""
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    return ServeSubmissionClient(dashboard)


def deployment_states(dashboard: str) -> list[DeploymentStatus]:
    """The status of every deployment of Medley's application; empty while Serve starts."""
    try:
        details = _serve_client(dashboard).get_serve_details()
    except (RuntimeError, OSError):
        return []
    application = details.get("applications", {}).get(APPLICATION, {})
    states = from_details(details)
    if not states and application.get("status") in FAILED:
        raise MedleyError(f"The application could not be deployed: {application.get('message', '')}")
    return states


def wait_ready(state: Running, profile: Profile, timeout_s: float) -> Iterator[list[DeploymentStatus]]:
    """Yield the deployments' states until all are healthy and the gateway answers. A model that failed is not waited
    for if others have each of its capabilities.

    Raises:
        MedleyError: a deployment failed that no other can stand in for, or the time is over; says which and why.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        states = deployment_states(state.dashboard)
        yield states
        failed = {s.name: s.reason for s in states if s.status in FAILED}
        if failed and not _replaceable(profile, failed):
            lines = [f"{name}: {reason}" for name, reason in failed.items()]
            raise MedleyError("Not every model could be started.\n" + "\n".join(lines))
        healthy = {s.name for s in states if s.status == HEALTHY}
        if healthy >= set(profile.deployments) - set(failed) and _answers(state.url):
            return
        if time.monotonic() > deadline:
            missing = sorted(set(profile.deployments) - healthy - set(failed))
            raise MedleyError(f"Not ready after {timeout_s:.0f} s; still waiting for {', '.join(missing) or 'HTTP'}.")
        time.sleep(0.5)


def _replaceable(profile: Profile, failed: Collection[str]) -> bool:
    """Whether models of other deployments have every capability of those that failed."""
    left, lost = set[type[Any]](), set[type[Any]]()
    for model in profile.app.models:
        offered = capabilities_of(load_backend(model.backend))
        (lost if (model.host or model.name) in failed else left).update(offered)
    return lost <= left and not {GATEWAY, WORKER} & set(failed)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def hold() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: ended.set())
    while not ended.wait(3600):
        pass


def end(settings: Settings) -> None:
    """Stop the cluster of this process: Serve first, so that requests in flight finish, then Ray."""
    import ray
    from ray import serve

    if ray.is_initialized():
        serve.delete(APPLICATION)
        ray.shutdown()
    (settings.home / STATE_FILE).unlink(missing_ok=True)


def stop(settings: Settings, timeout_s: float = 40) -> Running | None:
    """Stop the Medley of this MEDLEY_HOME from another process; returns what was stopped, None if nothing ran."""
    state = running(settings)
    if state is None:
        return None
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while state.alive and time.monotonic() < deadline:
        time.sleep(0.1)
    if state.alive:
        os.kill(state.pid, signal.SIGKILL)
    (settings.home / STATE_FILE).unlink(missing_ok=True)
    return state
