"""Webhooks: endpoints, and deliveries to them."""
