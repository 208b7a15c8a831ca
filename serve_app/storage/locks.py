"""Locks that hold until a transaction ends."""

import sqlalchemy
from sqlalchemy import Connection

UPGRADE_LOCK, CLAIM_LOCK, ENDPOINTS_LOCK = 7_310_001, 7_310_002, 7_310_003  # PostgreSQL's advisory locks


def lock(connection: Connection, number: int) -> None:
    """Take a lock that has one holder until the transaction ends. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(number)))
