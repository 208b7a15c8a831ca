"""The start of a local cluster, over a dashboard that fails as Ray's does."""

from pathlib import Path
from typing import Any

import pytest

from deployments.errors import MedleyError
from serve_app.config.profile import load_profile
from serve_app.provisioning import local_cluster
from serve_app.provisioning.local_cluster import DEPLOYS, Running, deploy

STATE = Running(1, "http://127.0.0.1:1", "http://127.0.0.1:2", "127.0.0.1:3", "profile.yaml", 0.0)
LATE = "Request failed with status code 500: ray.exceptions.RayTaskError(RuntimeError): ray::HAProxyManager.ready()"


class Dashboard:
    """Refuses so many deployments with `says`, and keeps the documents of all."""

    def __init__(self, refused: int, says: str) -> None:
        self.refused, self.says, self.documents = refused, says, list[dict[str, Any]]()

    def deploy_applications(self, document: dict[str, Any]) -> None:
        self.documents.append(document)
        if len(self.documents) <= self.refused:
            raise RuntimeError(self.says)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def through(dashboard: Dashboard) -> None:
        monkeypatch.setattr(local_cluster, "_serve_client", lambda address: dashboard)
        monkeypatch.setattr(local_cluster, "DEPLOY_PAUSE_S", 0.0)
        deploy(STATE, load_profile(Path("serve_config.yaml")), 8123)

    return through


@pytest.mark.parametrize("late", range(DEPLOYS))
def test_a_proxy_that_is_late_is_given_another_chance(deployed: Any, late: int) -> None:
    dashboard = Dashboard(late, LATE)
    deployed(dashboard)
    assert len(dashboard.documents) == late + 1
    assert all(document["http_options"]["port"] == 8123 for document in dashboard.documents)


@pytest.mark.parametrize(("says", "tries"), [(LATE, DEPLOYS), ("422: unknown key", 1)])
def test_what_stays_refused_is_said(deployed: Any, says: str, tries: int) -> None:
    dashboard = Dashboard(99, says)
    with pytest.raises(MedleyError, match="Ray refused the profile: "):
        deployed(dashboard)
    assert len(dashboard.documents) == tries
