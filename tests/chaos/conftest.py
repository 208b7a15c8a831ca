from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.storage.database import Database
from tests.jobs.conftest import artifacts, database, server, url  # noqa: F401

from .fleet import Fleet, Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    found = Nursery()
    yield found
    found.close()


@pytest.fixture
def kind(database: Database) -> str:  # noqa: F811
    """What the figures are of."""
    return "SQLite" if database.is_sqlite else "PostgreSQL"


@pytest.fixture
def fleet(nursery: Nursery, url: str, database: Database, tmp_path: Path) -> Iterator[Fleet]:  # noqa: F811
    """Ends whatever it started, and sees that no worker met an error nobody foresaw."""
    found = Fleet(nursery, url, tmp_path)
    yield found
    found.kill_all()
    assert not found.defects(), found.defects()[-4000:]
