"""Medley from outside its service: notebooks over handles, the command line over HTTP, batches with Ray Data."""
