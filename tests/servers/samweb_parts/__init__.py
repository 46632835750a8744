"""Doubles of SAM's parts: its query language, its records, and the clients `samweb_client` and `samweb`."""
