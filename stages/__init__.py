"""What runs on a worker: the raw-data reader, the payloads, the four stages; one input becomes outputs, sidecars and a report."""
