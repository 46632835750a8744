"""Answers "why": one file's or one run's story in words, from the store alone, whether the service runs or not."""
