"""The program behind `tests.servers.metacat`: its endpoints, and what stands in for modules MetaCat imports that no index has."""
