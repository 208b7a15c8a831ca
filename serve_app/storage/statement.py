"""A statement that is asked often: SQLAlchemy builds and compiles it once, each use only fills it in.

Building, hashing and looking one up takes SQLAlchemy longer than SQLite takes to run it (measured on a job's life: two
thirds of the time). Values are plain: text, numbers, booleans.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Table
from sqlalchemy.dialects import postgresql, sqlite


class Statement:
    """
    Args:
        build: makes it, with a `bindparam` for each value a use gives. It gets the dialect's own `insert`.
    """

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self._build = build
        self._compiled: dict[str, tuple[str, dict[str, Any], list[str] | None]] = {}

    def __call__(self, connection: Connection, **values: Any) -> CursorResult[Any]:
        """Run it with these values."""
        text, fixed, order = self._for(connection)
        return connection.exec_driver_sql(text, _filled(fixed, order, values))

    def many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it for each row."""
        if rows:
            text, fixed, order = self._for(connection)
            connection.exec_driver_sql(text, [_filled(fixed, order, row) for row in rows])

    def _for(self, connection: Connection) -> tuple[str, dict[str, Any], list[str] | None]:
        name = connection.dialect.name
        if name not in self._compiled:
            compiled = self._build(_insert_of(connection)).compile(dialect=connection.dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            self._compiled[name] = (compiled.string, dict(compiled.construct_params(_check=False)), order)
        return self._compiled[name]


def _filled(fixed: Mapping[str, Any], order: list[str] | None, values: Mapping[str, Any]) -> Any:
    given = {**fixed, **values}
    return given if order is None else tuple(given[name] for name in order)


def insert_new(connection: Connection, table: Table, **values: Any) -> Any:
    """An INSERT that leaves a row that is already there as it is."""
    return _insert_of(connection)(table).values(**values).on_conflict_do_nothing()


def _insert_of(connection: Connection) -> Any:
    """The dialect's own `insert`: only those know what to do on a conflict."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
