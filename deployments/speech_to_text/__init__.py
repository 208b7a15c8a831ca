"""Backends that write down what is said."""
