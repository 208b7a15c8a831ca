"""The one deployment that speaks HTTP."""
