"""Backends that find speech in recordings."""
