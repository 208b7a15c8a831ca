"""A statement that is asked often: SQLAlchemy builds and compiles it once, each use only fills it in.

Building, hashing and looking one up takes SQLAlchemy longer than SQLite takes to run it (measured on a job's life: two
thirds of the time). Values are plain: text, numbers, booleans.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

BATCH_SIZE = 8  # rows in one statement: each number of them is compiled on its own


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

    def _for(self, connection: Connection) -> tuple[str, dict[str, Any], list[str] | None]:
        name = connection.dialect.name
        if name not in self._compiled:
            compiled = self._build(insert_for(connection)).compile(dialect=connection.dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            self._compiled[name] = (compiled.string, dict(compiled.construct_params(_check=False)), order)
        return self._compiled[name]


def _filled(fixed: Mapping[str, Any], order: list[str] | None, values: Mapping[str, Any]) -> Any:
    given = {**fixed, **values}
    return given if order is None else tuple(given[name] for name in order)


class InsertNew:
    """Rows of a table, several in one statement; those that are there already stay as they are.

    A driver's own way of many rows is a statement for each: on PostgreSQL three rows took longer than a commit.

    Args:
        computed: what the database itself fills in, by column.
    """

    def __init__(self, table: Table, **computed: Any) -> None:
        self._table = table
        self._computed = computed
        self._names = [column.name for column in table.columns if column.name not in computed]
        self._of: dict[int, Statement] = {}

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(rows), BATCH_SIZE):
            some = rows[start : start + BATCH_SIZE]
            if len(some) not in self._of:
                self._of[len(some)] = Statement(functools.partial(self._build, len(some)))
            values = {f"{name}_{i}": row[name] for i, row in enumerate(some) for name in self._names}
            self._of[len(some)](connection, **values)

    def _build(self, count: int, insert: Any) -> Any:
        types = {name: self._table.columns[name].type for name in self._names}
        rows = [
            {**{name: bindparam(f"{name}_{i}", type_=types[name]) for name in self._names}, **self._computed}
            for i in range(count)
        ]
        return insert(self._table).values(rows).on_conflict_do_nothing()


def insert_new(connection: Connection, table: Table, **values: Any) -> Any:
    """An INSERT that leaves a row that is already there as it is."""
    return insert_for(connection)(table).values(**values).on_conflict_do_nothing()


def insert_for(connection: Connection) -> Any:
    """The dialect's own `insert`: only those know what to do on a conflict."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
