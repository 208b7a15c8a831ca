"""Replicas: the classes that Serve deploys around a backend."""
