from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployments.capabilities import (
    Embeddings,
    ImageTools,
    Language,
    Moderation,
    Reranking,
    SpeechToText,
    TextToImage,
    TextToSpeech,
)
from graphs import GRAPHS as SHIPPED
from serve_app.config.schema import AppConfig
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.storage.database import Database
from tests.jobs.work import GRAPHS

from .fakes import Ears, Embedder, Judge, Speaker, Tools
from .multiplexing import in_serve as in_serve
from .services import Author, Make, Served, Services


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


@pytest.fixture
def author() -> Author:
    return Author()


@pytest.fixture
def make(services: Services, author: Author) -> Make:
    """A gateway and a worker over the author, and fakes for what it cannot do."""

    def made(gateway: dict[str, Any] | None = None, **jobs: Any) -> Served:
        return made_of(services, author, gateway, **jobs)

    return made


def made_of(services: Services, author: Author, gateway: dict[str, Any] | None = None, **jobs: Any) -> Served:
    """A gateway and a worker over the author, and fakes for what it cannot do."""
    models = Models(
        [
            Model("author", "fake", (Language, TextToImage), LocalHandle(author)),
            Model("ears", "fake", (SpeechToText,), LocalHandle(Ears())),
            Model("embedder", "fake", (Embeddings, Reranking), LocalHandle(Embedder())),
            Model("judge", "fake", (Moderation,), LocalHandle(Judge())),
            Model("speaker", "fake", (TextToSpeech,), LocalHandle(Speaker())),
            Model("tools", "fake", (ImageTools,), LocalHandle(Tools())),
        ]
    )
    rows = [{"name": "author", "backend": "transformers"}]
    config = AppConfig.model_validate({"models": rows, "gateway": gateway or {}, "jobs": jobs})
    return services.make(config, {**{one.name: one for one in SHIPPED}, **GRAPHS}, models)


@pytest.fixture
async def served(make: Make) -> Served:
    return make()
