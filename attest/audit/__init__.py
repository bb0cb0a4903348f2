"""Check a release again, years later, from its record alone: pure, offline, every link of the chain with what it rests on."""

from __future__ import annotations

from attest.audit.history import LedgerReport, LoggedRelease, audit_key, audit_ledger
from attest.audit.record import audit_record
from attest.audit.report import AuditLink, AuditReport, LinkStatus, Risk

__all__ = [
    "AuditLink",
    "AuditReport",
    "LedgerReport",
    "LinkStatus",
    "LoggedRelease",
    "Risk",
    "audit_key",
    "audit_ledger",
    "audit_record",
]
