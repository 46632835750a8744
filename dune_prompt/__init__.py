"""The thin frame shared by all rooms: records, errors, settings, logs, processes, the store, and the command line.

Imported on every worker, so nothing heavy is loaded here.
"""

__version__ = "0.1.0"
