"""Watching: metrics, traces and log lines of a running server. Told to nobody who was not named."""
