"""What the worker reads of Ray's own: this fails when Ray keeps it elsewhere, before a rolling update loses jobs."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private import worker as ray_worker
from ray.serve._private import replica

from serve_app.jobs.worker import draining


def test_ray_still_notes_that_a_replica_is_ending_where_the_worker_reads_it() -> None:
    assert "self._shutting_down = False" in inspect.getsource(replica.Replica.__init__)
    assert "self._shutting_down = True" in inspect.getsource(replica.Replica)
    assert "self._replica_impl" in inspect.getsource(replica.ReplicaActor.__init__)
    assert "self.actors" in inspect.getsource(ray_worker.Worker.__init__)
    assert isinstance(ray_worker.Worker.actor_id, property)


@pytest.mark.parametrize("ending", [False, True])
def test_the_note_is_read_and_nothing_stands_in_for_it(ending: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_actor(actor: Any) -> None:
        process = SimpleNamespace(actors={"me": actor}, actor_id="me")
        monkeypatch.setattr(ray_worker, "global_worker", process)

    with_actor(SimpleNamespace(_replica_impl=SimpleNamespace(_shutting_down=ending)))
    assert draining() is ending
    with_actor(SimpleNamespace(_replica_impl=SimpleNamespace()))
    with pytest.raises(AttributeError):
        draining()
