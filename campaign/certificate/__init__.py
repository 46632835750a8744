"""A run's completeness certificate: what of it was found, verified, declared and processed, what is missing, and by whom it was waived."""
