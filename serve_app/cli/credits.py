"""The commands `medley credits`: show and grant credits. For operators: they open the database, not the service."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Connection, select

from ..accounts import ledger
from ..config.settings import Settings
from ..storage import tables
from ..storage.database import Database
from .console import console

app = typer.Typer(
    help="Show and grant users' credits, in the database of this machine or of MEDLEY_DATABASE_URL.\n\n"
    "Example: medley credits grant local 100",
    no_args_is_help=True,
)
UserArgument = Annotated[str, typer.Argument(help="The user's id; `local` is the owner of this machine's key.")]
LARGEST_GRANT = 10**12


@app.command()
def grant(
    user: UserArgument,
    amount: Annotated[int, typer.Argument(min=1, max=LARGEST_GRANT, help="Credits to add.")],
    source: Annotated[str, typer.Option(help="Where the grant comes from, such as invoice.")] = "cli",
    external_id: Annotated[
        str | None,
        typer.Option(help="The grant's id at its source; a grant with the same source and id is entered once."),
    ] = None,
) -> None:
    """Add credits to a user's balance, and print the new balance."""
    with _database() as database:
        left = database.write_here(ledger.grant, user, amount, source, external_id)
    console.print(f"{user} has {left:,} credits.", soft_wrap=True)


@app.command()
def show(
    user: UserArgument, limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of entries.")] = 20
) -> None:
    """Show a user's balance and the newest entries of the ledger."""
    with _database() as database:
        left, entries = database.read_here(_account, user, limit)
    table = Table("when", "what", "credits", "job", box=None)
    for at, kind, amount, job in entries:
        table.add_row(f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}", kind, f"{amount:,}", job or "")
    if entries:
        console.print(table)
    console.print(f"{user} has {left:,} credits.", soft_wrap=True)


@contextmanager
def _database() -> Generator[Database]:
    database = Database(Settings.from_environment().database_url)
    try:
        database.upgrade()
        yield database
    finally:
        database.dispose()


def _account(connection: Connection, user: str, limit: int) -> tuple[int, list[tuple[float, str, int, str | None]]]:
    entry = tables.ledger.c
    newest = select(entry.created_at, entry.kind, entry.amount, entry.job_id).where(entry.user_id == user)
    rows = connection.execute(newest.order_by(entry.id.desc()).limit(limit))
    return ledger.balance(connection, user), [(row[0], row[1], row[2], row[3]) for row in rows]
