"""Backends that speak a text."""
