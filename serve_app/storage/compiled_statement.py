"""Statements that run often: SQLAlchemy builds and compiles each once, and each use only fills in the values.

Building, hashing and looking up a statement takes SQLAlchemy longer than SQLite takes to run it (measured on a job's
life: two thirds of the time). Values are plain: text, numbers, booleans.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

BATCH_SIZE = 8  # rows in one statement; each number of rows is compiled separately


class Statement:
    """A statement, compiled once for each dialect.

    Args:
        build: makes the statement from the dialect's `insert`, with a `bindparam` for each value that a use sets.
    """

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self._build = build
        self._compiled: dict[str, tuple[str, dict[str, Any], list[str] | None]] = {}

    def __call__(self, connection: Connection, **values: Any) -> CursorResult[Any]:
        """Run the statement with values."""
        text, fixed, order = self._for(connection)
        return connection.exec_driver_sql(text, _filled(fixed, order, values))

    def _for(self, connection: Connection) -> tuple[str, dict[str, Any], list[str] | None]:
        name = connection.dialect.name
        if name not in self._compiled:
            compiled = self._build(insert_for(connection)).compile(dialect=connection.dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            self._compiled[name] = (compiled.string, dict(compiled.construct_params(_check=False)), order)
        return self._compiled[name]


def _filled(fixed: Mapping[str, Any], order: list[str] | None, values: Mapping[str, Any]) -> Any:
    parameters = {**fixed, **values}
    return parameters if order is None else tuple(parameters[name] for name in order)


class InsertNew:
    """An INSERT of several rows in one statement, which leaves existing rows as they are.

    A driver's `executemany` runs one statement per row: on PostgreSQL three rows took longer than a commit.

    Args:
        computed: expressions that the database computes, by column.
    """

    def __init__(self, table: Table, **computed: Any) -> None:
        self._table = table
        self._computed = computed
        self._names = [column.name for column in table.columns if column.name not in computed]
        self._by_count: dict[int, Statement] = {}

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            if len(batch) not in self._by_count:
                self._by_count[len(batch)] = Statement(functools.partial(self._build, len(batch)))
            values = {f"{name}_{i}": row[name] for i, row in enumerate(batch) for name in self._names}
            self._by_count[len(batch)](connection, **values)

    def _build(self, count: int, insert: Any) -> Any:
        types = {name: self._table.columns[name].type for name in self._names}
        rows = [
            {**{name: bindparam(f"{name}_{i}", type_=types[name]) for name in self._names}, **self._computed}
            for i in range(count)
        ]
        return insert(self._table).values(rows).on_conflict_do_nothing()


def insert_new(connection: Connection, table: Table, **values: Any) -> Any:
    """An INSERT that leaves an existing row as it is."""
    return insert_for(connection)(table).values(**values).on_conflict_do_nothing()


def insert_for(connection: Connection) -> Any:
    """The dialect's own `insert`, which supports ON CONFLICT."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
