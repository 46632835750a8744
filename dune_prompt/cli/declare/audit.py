"""`declare audit`: disk, journal and catalogues side by side."""

from __future__ import annotations

COMMANDS = ()
