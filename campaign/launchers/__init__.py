"""Batch systems behind one small protocol: `protocol.py` says what a launcher does, one file each holds what differs."""
