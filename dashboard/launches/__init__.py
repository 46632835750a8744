"""Launches that came from POMS, with its numbers beside ours."""
