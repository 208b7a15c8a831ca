"""Tests against a live Medley: real Ray, real Serve, the real starter models, one start for all of them."""
