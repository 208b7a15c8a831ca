"""Credits: reserved when a job is accepted, captured or refunded when it ends, all within the job's transactions.

The ledger is append-only and every submission of a job has at most one entry of each kind. `balances` has the sums, so
that a reservation is one conditional update and no balance becomes negative.
"""

from sqlalchemy import Connection, select, update

from ..errors import Conflict, InsufficientCredit
from ..storage.compiled_statement import insert_for, insert_new
from ..storage.tables import balances, ledger, new_id, now


def balance(connection: Connection, user: str) -> int:
    """Credits that a user can reserve."""
    available = connection.execute(select(balances.c.available).where(balances.c.user_id == user)).scalar()
    return available or 0


def grant(
    connection: Connection, user: str, amount: int, source: str | None = None, external_id: str | None = None
) -> int:
    """Add credits; returns the new balance. A grant with the same source and external id is entered once.

    Args:
        amount: credits, 1 or more.
        source: where the grant comes from, such as `stripe`; with an `external_id`.
        external_id: the grant's id at its source.

    Raises:
        Conflict: the external id was used for another user or amount.
    """
    entry = {"user_id": user, "kind": "grant", "amount": amount, "source": source, "external_id": external_id}
    new = insert_new(connection, ledger, id=new_id("led"), created_at=now(), **entry)
    if connection.execute(new.returning(ledger.c.id)).first():
        change = insert_for(connection)(balances).values(user_id=user, available=amount)
        more = {"available": balances.c.available + amount}
        connection.execute(change.on_conflict_do_update(index_elements=[balances.c.user_id], set_=more))
    else:
        query = select(ledger.c.user_id, ledger.c.amount)
        earlier = connection.execute(query.where(ledger.c.source == source, ledger.c.external_id == external_id)).one()
        if tuple(earlier) != (user, amount):
            raise Conflict(f"{source} {external_id} was granted before: {earlier.amount} credits to {earlier.user_id}.")
    return balance(connection, user)


def reserve(connection: Connection, user: str, job_id: str, submission: int, amount: int) -> None:
    """Reserve the price of a submission.

    Raises:
        InsufficientCredit: the user has fewer credits.
    """
    if amount <= 0:
        return
    if not _move(connection, user, -amount):
        left = balance(connection, user)
        raise InsufficientCredit(f"This costs {amount} credits; {left} are left.")
    _enter(connection, user, job_id, submission, "reserve", amount)


def settle(connection: Connection, user: str, job_id: str, submission: int, reserved: int, captured: int) -> None:
    """Capture part of the reserved credits, and refund the rest."""
    if reserved <= 0:
        return
    if captured:
        _enter(connection, user, job_id, submission, "capture", captured)
    if captured < reserved:
        _enter(connection, user, job_id, submission, "refund", reserved - captured)
        _move(connection, user, reserved - captured)


def _move(connection: Connection, user: str, amount: int) -> bool:
    """Change a balance; returns False if it would become negative or does not exist."""
    change = update(balances).where(balances.c.user_id == user, balances.c.available + amount >= 0)
    return connection.execute(change.values(available=balances.c.available + amount)).rowcount == 1


def _enter(connection: Connection, user: str, job: str | None, submission: int | None, kind: str, amount: int) -> None:
    entry = {"user_id": user, "job_id": job, "submission": submission, "kind": kind, "amount": amount}
    connection.execute(ledger.insert().values(id=new_id("led"), created_at=now(), **entry))
