"""Models: the table of a profile's models, and calls to them."""
