"""Measurements of this repository's own parts; no part of what is installed."""
