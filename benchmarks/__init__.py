"""Timed claims: scripts that print tables. `python -m benchmarks` runs them all."""
