"""The body of an event is stored once for all its deliveries; sums over a user's artifacts read an index only."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.String(length=40), primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_messages_created", "messages", ["created_at"])
    op.add_column("deliveries", sa.Column("message_id", sa.String(length=40), nullable=False, server_default=""))
    op.execute("INSERT INTO messages (id, body, created_at) SELECT id, body, created_at FROM deliveries")
    op.execute("UPDATE deliveries SET message_id = id")
    op.drop_column("deliveries", "body")
    op.create_index("ix_deliveries_message", "deliveries", ["message_id"])
    op.create_index("ix_artifacts_size", "artifacts", ["user_id", "size"])


def downgrade() -> None:
    op.drop_index("ix_artifacts_size", table_name="artifacts")
    op.drop_index("ix_deliveries_message", table_name="deliveries")
    op.add_column("deliveries", sa.Column("body", sa.Text(), nullable=False, server_default=""))
    op.execute("UPDATE deliveries SET body = (SELECT body FROM messages WHERE messages.id = deliveries.message_id)")
    op.drop_column("deliveries", "message_id")
    op.drop_table("messages")
