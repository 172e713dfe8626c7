"""Signed alerts to those who want to be told: each endpoint has a courier of its own, who reads the journal."""
