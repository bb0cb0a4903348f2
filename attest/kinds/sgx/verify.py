"""Verify an SGX quote: the DCAP core, and the enclave's own report."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from attest.checks import Check, Checklist
from attest.crypto import sha384
from attest.dcap.checks import DCAP_CHECKS
from attest.dcap.quote import Tee, parse, parse_report
from attest.dcap.verify import verify_quote
from attest.errors import Outcome
from attest.evidence import Collateral, Evidence, Verified, conclude
from attest.kinds.sgx.claims import Attribute, SgxClaims, claims_of
from attest.trust import TrustStore

NAME: Final = "sgx"

INITIALISED: Final = Check(
    "sgx.initialised",
    "initialised enclave",
    "Intel SDM volume 3D, table 35-3 (ATTRIBUTES.INIT)",
    Outcome.MALFORMED,
    "only an enclave that was initialised can ask for a report: do not trust this quote",
)

CHECKS: Final = (*DCAP_CHECKS, INITIALISED)


def statement(evidence: Evidence) -> bytes:
    """SHA-384 over header and body: the same for both signatures (r, s) and (r, n-s). Raises MalformedError."""
    return sha384(parse(evidence.part("quote")).signed)


def verify(evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[SgxClaims]:
    """Verify one enclave at ``at``. Raises AttestError whose reasons name the failed check."""
    with Checklist(evidence.label, CHECKS) as checklist:
        verified = verify_quote(
            evidence.part("quote"),
            tee=Tee.SGX,
            certificates=evidence.parts.get("certificates"),
            trust=trust,
            collateral=collateral,
            at=at,
            checklist=checklist,
        )
        report = parse_report(verified.quote.body, "report body")
        checklist.require(
            INITIALISED,
            bool(report.attributes & Attribute.INIT),
            where="report body, ATTRIBUTES",
            found=f"0x{report.attributes:016x}",
            expected="INIT",
        )
        return conclude(
            evidence,
            claims_of(verified, report, simulated=trust.simulated, at=at),
            checklist=checklist,
            statement=sha384(verified.quote.signed),
            freshness=report.report_data,
            chain=verified.chain,
            trust=trust,
            collateral=verified.collateral,
            at=at,
            valid_until=verified.valid_until,
        )
