"""Backends that turn texts into vectors."""
