"""Tries everything the daemon depends on: catalogues and our rights in them, mounts, the store, credentials and their expiry.

Nothing is left behind, and one thing that hangs does not keep the others from being told.
"""

from declare_daemon.checks.result import Result, Verdict, exit_code
from declare_daemon.checks.survey import Group, survey

__all__ = ["Group", "Result", "Verdict", "exit_code", "survey"]
