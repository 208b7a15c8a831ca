"""Provisioning of a Medley: a local cluster, weights, manifests, and the doctor."""
