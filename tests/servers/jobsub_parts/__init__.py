"""The programs of the jobsub double (`tests/servers/jobsub.py`), each started anew for every command."""
