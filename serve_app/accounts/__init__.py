"""Accounts: the identity of callers, and their credits."""
