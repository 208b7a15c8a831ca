"""Backends that say how well texts answer a question."""
