"""Storage: the database and the artifact store."""
