"""The table of a profile's models, and how they are called."""
