"""The run directory: what was planned, measured and decided, each step on disk before the next starts."""

from strop.ledger.ledger import Ledger
from strop.ledger.verify import Check, verify_ledger

__all__ = ["Check", "Ledger", "verify_ledger"]
