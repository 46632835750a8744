"""The audit: disk, journal and every catalogue side by side, and the repair of what is missing in a catalogue."""

from __future__ import annotations

from declare_daemon.audit.repairing import Done, repair
from declare_daemon.audit.report import Finding, Part, Report, SideBySide, What
from declare_daemon.audit.walking import audit, audit_by_dataset

__all__ = ["Done", "Finding", "Part", "Report", "SideBySide", "What", "audit", "audit_by_dataset", "repair"]
