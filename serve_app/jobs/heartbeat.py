"""The thread that renews an owner's leases: a graph that blocks the event loop must not lose its job."""

import logging
import threading
import time
from collections.abc import Callable

from ..errors import StorageUnavailable
from ..storage.database import Database
from . import lease
from .job import Held

log = logging.getLogger("ray.serve")


class Heartbeat:
    """Renews all held leases in one statement every fifth of a lease.

    Args:
        on_renewed: called in the heartbeat's thread with the jobs that were lost or cancelled.
    """

    def __init__(self, database: Database, lease_s: float, on_renewed: Callable[[lease.Renewed], None]) -> None:
        self._database = database
        self._lease_s = lease_s
        self._on_renewed = on_renewed
        self._held: set[Held] = set()
        self._changed = threading.Lock()
        self._ended = threading.Event()
        self._failed_at = float("-inf")  # monotonic
        self._thread: threading.Thread | None = None

    @property
    def may_steal(self) -> bool:
        """Whether expired jobs may be taken: not within a lease of an outage, so that their owners can renew first."""
        return time.monotonic() - self._failed_at > self._lease_s

    def failed(self) -> None:
        """Note that the database did not answer in this process."""
        self._failed_at = time.monotonic()

    def hold(self, held: Held) -> None:
        with self._changed:
            self._held.add(held)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def release(self, held: Held) -> None:
        with self._changed:
            self._held.discard(held)

    def stop(self) -> None:
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(self._lease_s / 5):
            with self._changed:
                held = frozenset(self._held)
            if not held:
                continue
            try:
                renewed = self._database.write_here(lease.renew, held, self._lease_s)
            except StorageUnavailable as error:
                self.failed()
                log.warning("lease renewal failed: %s", error)
            except Exception:  # the thread must live: without it every lease here is lost
                log.exception("lease renewal failed")
            else:
                if renewed.lost or renewed.cancelled:
                    self._on_renewed(renewed)
