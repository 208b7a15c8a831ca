"""Clients of other makers, as their users run them, against a live Medley (`make test-clients`)."""
