"""Is processing keeping up? The numbers of the operations page, each from one function that reads ledger or journal."""
