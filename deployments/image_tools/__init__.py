"""Backends that change pictures without a network."""
