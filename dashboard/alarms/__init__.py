"""Alarms: what is wrong or missing, who has to look, who has seen it, and whom it was sent to."""
