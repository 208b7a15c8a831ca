"""The upgrade of a database's tables to this version, with Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from ..locks import UPGRADE_LOCK, lock


class NewerTables(Exception):
    """The tables have a revision that this version does not know"""


def upgrade(connection: Connection) -> None:
    """Run the missing migrations in the connection's transaction, all or none.

    Raises:
        NewerTables: a newer Medley has upgraded them.
    """
    lock(connection, UPGRADE_LOCK)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current not in (None, *(script.revision for script in scripts.walk_revisions())):
        raise NewerTables(f"revision {current}")
    if current != scripts.get_current_head():
        command.upgrade(config, "head")
