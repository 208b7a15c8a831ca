"""Backends that make pictures better."""
