"""The shift hand-over: what happened in the last hours, written by the machine, each number with the rows behind it."""
