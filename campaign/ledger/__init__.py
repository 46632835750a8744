"""The ledger: what is known about work. One process writes it; every change of a state passes through `tasks.apply`."""
