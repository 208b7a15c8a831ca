"""Credits are granted once, however often and by however many the grant is sent."""

import asyncio

import pytest
from sqlalchemy import func, select

from serve_app.accounts import ledger
from serve_app.errors import Conflict
from serve_app.storage import tables
from serve_app.storage.database import Database


async def entries(database: Database) -> int:
    return await database.read(lambda c: c.execute(select(func.count()).select_from(tables.ledger)).scalar_one())


async def test_the_same_grant_is_entered_once(database: Database) -> None:
    assert await database.write(ledger.grant, "ann", 5, "invoice", "1") == 5
    assert await database.write(ledger.grant, "ann", 5, "invoice", "1") == 5
    assert await database.write(ledger.grant, "ann", 5, "invoice", "2") == 10
    assert await database.write(ledger.grant, "ann", 5, "stripe", "1") == 15
    assert await database.write(ledger.grant, "ann", 5) == 20  # without an id each is one of its own
    assert await database.write(ledger.grant, "ann", 5, "cli") == 25
    assert await entries(database) == 5


@pytest.mark.parametrize(("user", "amount"), [("bob", 5), ("ann", 6)])
async def test_another_grant_under_the_same_id_is_refused(user: str, amount: int, database: Database) -> None:
    await database.write(ledger.grant, "ann", 5, "invoice", "1")
    with pytest.raises(Conflict, match="invoice 1 was granted before: 5 credits to ann"):
        await database.write(ledger.grant, user, amount, "invoice", "1")
    assert [await database.read(ledger.balance, name) for name in ("ann", "bob")] == [5, 0]


async def test_many_at_once_grant_once_each(database: Database) -> None:
    """Half of them the same payment, told by several; half of them payments of their own."""
    same = [database.write_apart(ledger.grant, "ann", 7, "stripe", "pay_1") for _ in range(20)]
    own = [database.write_apart(ledger.grant, "ann", 1, "stripe", f"own_{number}") for number in range(20)]
    await asyncio.gather(*same, *own)
    assert await database.read(ledger.balance, "ann") == 27
    assert await entries(database) == 21
