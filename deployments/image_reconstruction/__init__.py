"""Backends that fill what is missing in a picture."""
