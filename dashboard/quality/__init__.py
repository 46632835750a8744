"""Judging: limits and references as versioned data, the verdict on each record, and the pages that show whether the detector is well."""
