"""Configuration, parsed and checked at the edge."""
