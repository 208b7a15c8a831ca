from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database

from .databases import fresh, postgresql


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/medley.db"
    return fresh(request.getfixturevalue("server"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = Database(url)
    found.upgrade()
    yield found
    found.dispose()


@pytest.fixture
def artifacts(database: Database, tmp_path: Path) -> Artifacts:
    return Artifacts(database, str(tmp_path / "artifacts"), b"key of the tests")
