"""The parts of the POMS double (`tests/servers/poms.py`): its tables, and what each of its methods does."""
