"""Configuration: profiles and settings, parsed and checked at the edge."""
