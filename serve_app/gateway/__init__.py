"""The gateway: the one deployment that speaks HTTP."""
