"""The upgrade of a database's tables to this version, with Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from ..locks import UPGRADE_LOCK, lock


def upgrade(connection: Connection) -> None:
    """Run the missing migrations in the connection's transaction, all or none."""
    lock(connection, UPGRADE_LOCK)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    head = ScriptDirectory.from_config(config).get_current_head()
    if MigrationContext.configure(connection).get_current_revision() != head:
        command.upgrade(config, "head")
