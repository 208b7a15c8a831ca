"""Everything around a running Medley: a local cluster, weights, manifests, the doctor."""
