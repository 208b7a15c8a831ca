from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.storage.database import Database

from .services import Services


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables and nothing in them."""
    path = tmp_path_factory.mktemp("empty") / "medley.db"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    database.dispose()
    return path


@pytest.fixture
async def services(tmp_path: Path, empty_database: Path) -> AsyncIterator[Services]:
    made = Services(tmp_path, empty_database)
    yield made
    await made.stop()
