"""Backends that judge what texts say."""
