"""The campaign room: the campaign file, the ledger, draining, slots, launchers, the engine and its HTTP interface."""
