"""The pages of runs and of single files: what happened to them, and what the detector looked like."""
