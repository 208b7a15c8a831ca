"""Backends that see how far things are."""
