"""Backends that read the text in pictures."""
