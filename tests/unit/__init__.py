"""Fast tests without Ray's processes: models are small fakes behind the same calls as a Serve handle."""
