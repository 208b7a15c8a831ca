"""The status of Medley's deployments as Serve reports it: the one place that reads it, for `/health`, `/ready`, calls
that wait for a model, and `medley status`.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.schema import APPLICATION
from ..errors import StatusUnavailable, reason_of

STATUS_TTL_S = 1.0  # anyone may call /health, so Serve's controller is called at most this often
RUNNING: Any = "RUNNING"  # a ReplicaState, which is a string whose class Ray keeps to itself
GIVEN_UP = "REPLICA_STARTUP_FAILED"  # Serve's word; a replica that died later is started again, and waited for
HEALTHY = "HEALTHY"
SCALING = ("UPSCALING", "DOWNSCALING")  # the replicas there are, or the first one when it has started, answer
UPDATING = "UPDATING"
READ_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class DeploymentStatus:
    """One deployment as Serve's controller reports it."""

    name: str
    status: str  # Serve's word
    replicas: int  # running ones
    message: str
    trigger: str = ""  # what led to the status

    @property
    def reason(self) -> str:
        """The last line of the message, which in a traceback is the error."""
        return reason_of(self.message)

    @property
    def serves(self) -> bool:
        """Whether calls are answered: by a running replica, or by one that starts for them."""
        return self.status in (HEALTHY, *SCALING) or (self.status == UPDATING and self.replicas > 0)

    @property
    def given_up(self) -> bool:
        """Whether Serve no longer tries to start the deployment, and none of its replicas runs."""
        return self.trigger == GIVEN_UP and not self.replicas


class ServeStatus:
    """The status of every deployment, by its name. Reads within `STATUS_TTL_S` share one call of the controller."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._status: Mapping[str, DeploymentStatus] = {}
        self._reading: asyncio.Task[Mapping[str, DeploymentStatus]] | None = None

    async def read(self) -> Mapping[str, DeploymentStatus]:
        """The status of every deployment; empty if Serve does not run Medley.

        Raises:
            StatusUnavailable: Serve's controller does not answer.
        """
        if time.monotonic() - self._read_at <= STATUS_TTL_S:
            return self._status
        if self._reading is None:  # one at a time: concurrent calls of `serve.status()` disturb each other
            self._reading = asyncio.create_task(asyncio.to_thread(from_controller))
        reading = self._reading
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                self._status = await asyncio.shield(reading)
            self._read_at = time.monotonic()
        except Exception as error:  # a controller that is lost or restarts shows in many of Ray's errors
            raise StatusUnavailable(f"Serve's controller does not answer ({type(error).__name__}).") from error
        finally:
            if reading.done() and self._reading is reading:
                self._reading = None
        return self._status


def from_controller() -> dict[str, DeploymentStatus]:
    """The status that Serve's controller reports, read in a process of its Ray cluster. Blocks."""
    import ray
    from ray import serve

    application = serve.status().applications.get(APPLICATION) if ray.is_initialized() else None
    return {
        name: DeploymentStatus(
            name,
            status.status.value,
            status.replica_states.get(RUNNING, 0),
            status.message,
            str(getattr(status.status_trigger, "value", status.status_trigger)),
        )
        for name, status in (application.deployments if application else {}).items()
    }


def from_details(details: Mapping[str, Any]) -> list[DeploymentStatus]:
    """The status that Ray's dashboard reports (`GET /api/serve/applications/`), for a process outside the cluster."""
    application = details.get("applications", {}).get(APPLICATION, {})
    return [
        DeploymentStatus(
            name,
            status["status"],
            sum(replica["state"] == RUNNING for replica in status.get("replicas", [])),
            status.get("message", ""),
            status.get("status_trigger", ""),
        )
        for name, status in application.get("deployments", {}).items()
    ]
