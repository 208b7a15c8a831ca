"""Serve's account of Medley's deployments: the one place that reads it, for `/health`, `/ready`, calls that wait for a
model, and `medley status`.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.schema import APPLICATION
from ..errors import reason_of

KEPT_S = 1.0  # anyone may call /health, so Serve's controller is called at most this often
RUNNING: Any = "RUNNING"  # a ReplicaState, which is a string whose class Ray keeps to itself
GIVEN_UP = "REPLICA_STARTUP_FAILED"  # Serve's word; a replica that died later is started again, and waited for
HEALTHY = "HEALTHY"


@dataclass(frozen=True)
class DeploymentStatus:
    """One deployment as Serve's controller reports it."""

    name: str
    status: str  # Serve's word
    replicas: int  # that run
    message: str
    trigger: str = ""  # what led to the status

    @property
    def reason(self) -> str:
        """The last line of the message: of a traceback, the error itself."""
        return reason_of(self.message)

    @property
    def given_up(self) -> bool:
        """Whether Serve no longer tries to start it, and none of its replicas runs."""
        return self.trigger == GIVEN_UP and not self.replicas


class ServeStatus:
    """The status of every deployment, by its name. Readers within `KEPT_S` share one question to the controller."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._status: Mapping[str, DeploymentStatus] = {}
        self._reading: asyncio.Task[Mapping[str, DeploymentStatus]] | None = None

    async def read(self) -> Mapping[str, DeploymentStatus]:
        """Empty where Serve has no such application."""
        if time.monotonic() - self._read_at <= KEPT_S:
            return self._status
        if self._reading is None:  # one at a time: concurrent calls of `serve.status()` disturb each other
            self._reading = asyncio.create_task(asyncio.to_thread(from_controller))
        reading = self._reading
        try:
            self._status = await asyncio.shield(reading)
            self._read_at = time.monotonic()
        finally:
            if reading.done() and self._reading is reading:
                self._reading = None
        return self._status


def from_controller() -> dict[str, DeploymentStatus]:
    """What Serve's controller says, in a process that is part of its Ray. Blocks."""
    import ray
    from ray import serve

    application = serve.status().applications.get(APPLICATION) if ray.is_initialized() else None
    return {
        name: DeploymentStatus(
            name,
            seen.status.value,
            seen.replica_states.get(RUNNING, 0),
            seen.message,
            str(getattr(seen.status_trigger, "value", seen.status_trigger)),
        )
        for name, seen in (application.deployments if application else {}).items()
    }


def from_details(details: Mapping[str, Any]) -> list[DeploymentStatus]:
    """What Ray's dashboard says (`GET /api/serve/applications/`), for a process outside of its Ray."""
    application = details.get("applications", {}).get(APPLICATION, {})
    return [
        DeploymentStatus(
            name,
            seen["status"],
            sum(replica["state"] == RUNNING for replica in seen.get("replicas", [])),
            seen.get("message", ""),
            seen.get("status_trigger", ""),
        )
        for name, seen in application.get("deployments", {}).items()
    ]
