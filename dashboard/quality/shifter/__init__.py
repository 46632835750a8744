"""The shifter's page: is the detector well, now, and what is to be done if not."""
