"""The store: one database for ledger and journal, with one migration history, one event table and leases."""

from dune_prompt.store.database import Store, metadata, open_store
from dune_prompt.store.events import Event, event_table, record_events
from dune_prompt.store.lease import Lease, LeaseHeldError, LeaseLostError, lease_table

__all__ = [
    "Event",
    "Lease",
    "LeaseHeldError",
    "LeaseLostError",
    "Store",
    "event_table",
    "lease_table",
    "metadata",
    "open_store",
    "record_events",
]
