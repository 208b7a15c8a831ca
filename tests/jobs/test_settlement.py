"""What a run reserves is captured or given back, to the credit, and each step of that is in the ledger."""

import pytest
from sqlalchemy import select

from serve_app.accounts import ledger
from serve_app.errors import InsufficientCredit
from serve_app.storage import tables
from serve_app.storage.database import Database


async def entries(database: Database) -> list[tuple[str, int]]:
    query = select(tables.ledger.c.kind, tables.ledger.c.amount).order_by(tables.ledger.c.created_at)
    rows = await database.read(lambda c: c.execute(query).all())
    return sorted((kind, amount) for kind, amount in rows)


@pytest.mark.parametrize(
    ("captured", "left", "settled"),
    [
        (5, 5, [("capture", 5)]),
        (2, 8, [("capture", 2), ("refund", 3)]),
        (0, 10, [("refund", 5)]),
    ],
)
async def test_the_rest_of_a_reservation_is_given_back(
    captured: int, left: int, settled: list[tuple[str, int]], database: Database
) -> None:
    await database.write(ledger.grant, "ann", 10)
    await database.write(ledger.reserve, "ann", "job_1", 1, 5)
    assert await database.read(ledger.balance, "ann") == 5
    await database.write(ledger.settle, "ann", "job_1", 1, 5, captured)
    assert await database.read(ledger.balance, "ann") == left
    assert await entries(database) == sorted([("grant", 10), ("reserve", 5), *settled])


async def test_a_single_credit_is_settled_too(database: Database) -> None:
    await database.write(ledger.grant, "ann", 1)
    await database.write(ledger.reserve, "ann", "job_1", 1, 1)
    await database.write(ledger.settle, "ann", "job_1", 1, 1, 0)
    assert await database.read(ledger.balance, "ann") == 1


async def test_what_is_free_needs_no_account_and_leaves_no_entry(database: Database) -> None:
    await database.write(ledger.reserve, "bob", "job_1", 1, 0)
    await database.write(ledger.settle, "bob", "job_1", 1, 0, 0)
    assert await entries(database) == []
    with pytest.raises(InsufficientCredit, match="This costs 1 credits; 0 are left"):
        await database.write(ledger.reserve, "bob", "job_1", 1, 1)
