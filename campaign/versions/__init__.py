"""The versions of a campaign: what each covers, the explicit second pass, and a new one tried beside the old."""
