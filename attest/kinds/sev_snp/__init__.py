"""AMD SEV-SNP: attestation reports of confidential virtual machines.

Evidence parts: ``report``, the 1184 bytes of ATTESTATION_REPORT, and ``certificates``, PEM: the VCEK or VLEK first, then optionally ASK or
ASVK, then optionally ARK. What is missing is taken from the collateral; CRLs always are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attest.checks import Check
from attest.evidence import Collateral, Evidence, Kind, Scope, Verified, Wanted
from attest.kinds.sev_snp.claims import SnpClaims
from attest.kinds.sev_snp.inspect import inspect
from attest.kinds.sev_snp.recognise import NAME, recognise
from attest.kinds.sev_snp.verify import CHECKS, statement, verify
from attest.kinds.sev_snp.wanted import wanted
from attest.trust import TrustStore


class SevSnp:
    """The kind ``sev-snp`` (:class:`attest.evidence.Kind`)."""

    name: Final = NAME
    title: Final = "AMD SEV-SNP guest"
    principal: Final = "SevSnpGuest"
    claims_type: Final[type[SnpClaims]] = SnpClaims
    scope: Final = Scope.WORKLOAD
    parts: Final[tuple[str, ...]] = ("report", "certificates")
    checks: Final[tuple[Check, ...]] = CHECKS

    def recognise(self, data: bytes) -> tuple[Evidence, ...]:
        """See :func:`attest.kinds.sev_snp.recognise.recognise`."""
        return recognise(data)

    def statement(self, evidence: Evidence) -> bytes:
        """SHA-384 over bytes 0..0x29F of the report."""
        return statement(evidence)

    def inspect(self, evidence: Evidence) -> Mapping[str, str]:
        """Field name to readable value."""
        return inspect(evidence)

    def wanted(self, evidence: Evidence, collateral: Collateral) -> tuple[Wanted, ...]:
        """See :func:`attest.kinds.sev_snp.wanted.wanted`."""
        return wanted(evidence, collateral)

    def verify(self, evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[SnpClaims]:
        """See :func:`attest.kinds.sev_snp.verify.verify`."""
        return verify(evidence, trust=trust, collateral=collateral, at=at)


SEV_SNP: Final[Kind] = SevSnp()
