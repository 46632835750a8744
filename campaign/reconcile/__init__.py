"""Brings the ledger back into agreement with the catalogues, the journal and itself. Safe at any time; a second time changes nothing."""

from campaign.reconcile.finding import Finding
from campaign.reconcile.reconciling import reconcile

__all__ = ["Finding", "reconcile"]
