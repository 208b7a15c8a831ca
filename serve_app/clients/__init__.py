"""Clients of a Medley: notebooks over handles, the command line over HTTP, batches with Ray Data."""
