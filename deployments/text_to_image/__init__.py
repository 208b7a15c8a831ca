"""Backends that paint what a text describes."""
