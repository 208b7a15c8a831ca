"""Credits: reserved when a job is accepted, captured or given back when it ends, all within the job's transactions.

The ledger is append-only and every submission of a job has at most one entry of each kind; `balances` holds the sum, so
that a reservation is one conditional update and nobody spends what they do not have.
"""

from sqlalchemy import Connection, select, update

from ..errors import Conflict, InsufficientCredit
from ..storage.compiled_statement import insert_for, insert_new
from ..storage.tables import balances, ledger, new_id, now


def balance(connection: Connection, user: str) -> int:
    """Credits the user may still reserve."""
    found = connection.execute(select(balances.c.available).where(balances.c.user_id == user)).scalar()
    return found or 0


def grant(
    connection: Connection, user: str, amount: int, source: str | None = None, external_id: str | None = None
) -> int:
    """Add credits; returns the new balance. A grant of the same source and external id is entered once.

    Args:
        amount: credits, 1 or more.
        source: where the grant comes from, such as `stripe`; with an `external_id`.
        external_id: the grant's id at its source.

    Raises:
        Conflict: that id was used for another user or amount.
    """
    entry = {"user_id": user, "kind": "grant", "amount": amount, "source": source, "external_id": external_id}
    new = insert_new(connection, ledger, id=new_id("led"), created_at=now(), **entry)
    if connection.execute(new.returning(ledger.c.id)).first():
        change = insert_for(connection)(balances).values(user_id=user, available=amount)
        more = {"available": balances.c.available + amount}
        connection.execute(change.on_conflict_do_update(index_elements=[balances.c.user_id], set_=more))
    else:
        known = select(ledger.c.user_id, ledger.c.amount)
        found = connection.execute(known.where(ledger.c.source == source, ledger.c.external_id == external_id)).one()
        if tuple(found) != (user, amount):
            raise Conflict(f"{source} {external_id} was granted before: {found.amount} credits to {found.user_id}.")
    return balance(connection, user)


def reserve(connection: Connection, user: str, job_id: str, submission: int, amount: int) -> None:
    """Set the price of a submission aside.

    Raises:
        InsufficientCredit: the user has less.
    """
    if amount <= 0:
        return
    if not _move(connection, user, -amount):
        has = balance(connection, user)
        raise InsufficientCredit(f"This costs {amount} credits; {has} are left.")
    _enter(connection, user, job_id, submission, "reserve", amount)


def settle(connection: Connection, user: str, job_id: str, submission: int, reserved: int, captured: int) -> None:
    """Charge `captured` of what was reserved, and give the rest back."""
    if reserved <= 0:
        return
    if captured:
        _enter(connection, user, job_id, submission, "capture", captured)
    if captured < reserved:
        _enter(connection, user, job_id, submission, "refund", reserved - captured)
        _move(connection, user, reserved - captured)


def _move(connection: Connection, user: str, amount: int) -> bool:
    """Change a balance, unless that would make it negative or there is none."""
    change = update(balances).where(balances.c.user_id == user, balances.c.available + amount >= 0)
    return connection.execute(change.values(available=balances.c.available + amount)).rowcount == 1


def _enter(connection: Connection, user: str, job: str | None, submission: int | None, kind: str, amount: int) -> None:
    entry = {"user_id": user, "job_id": job, "submission": submission, "kind": kind, "amount": amount}
    connection.execute(ledger.insert().values(id=new_id("led"), created_at=now(), **entry))
