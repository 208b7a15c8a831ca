"""Backends that find the outline of a thing."""
