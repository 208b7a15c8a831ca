"""Backends that read and write text."""
