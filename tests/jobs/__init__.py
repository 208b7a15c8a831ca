"""The durable queue, on SQLite and on a real PostgreSQL."""
