"""Grants from elsewhere, such as a payment, are entered once, by their source and id there; jobs have a project."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("project", sa.String(length=64), nullable=False, server_default="default"))
    op.add_column("ledger", sa.Column("source", sa.String(length=64), nullable=True))
    op.add_column("ledger", sa.Column("external_id", sa.String(length=255), nullable=True))
    op.create_index("ix_ledger_external", "ledger", ["source", "external_id"], unique=True)


def downgrade() -> None:
    op.drop_index("ix_ledger_external", table_name="ledger")
    op.drop_column("ledger", "external_id")
    op.drop_column("ledger", "source")
    op.drop_column("jobs", "project")
