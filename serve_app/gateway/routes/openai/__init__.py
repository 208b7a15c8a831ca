"""OpenAI's API, for clients that exist."""
