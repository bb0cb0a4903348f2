"""Intel SGX: quotes of enclaves.

Evidence parts: ``quote``, a DCAP quote of version 3, 4 or 5; optionally ``certificates``, the PCK chain in PEM for a quote that does not
carry it. TCB Info, QE Identity and CRLs are collateral.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attest.checks import Check
from attest.dcap.quote import Tee, parse
from attest.dcap.recognise import find_quote
from attest.dcap.wanted import wanted
from attest.evidence import Collateral, Evidence, Kind, Scope, Verified, Wanted
from attest.kinds.sgx.claims import SgxClaims
from attest.kinds.sgx.inspect import inspect
from attest.kinds.sgx.verify import CHECKS, NAME, statement, verify
from attest.trust import TrustStore


class Sgx:
    """The kind ``sgx`` (:class:`attest.evidence.Kind`)."""

    name: Final = NAME
    title: Final = "Intel SGX enclave"
    principal: Final = "SgxEnclave"
    claims_type: Final[type[SgxClaims]] = SgxClaims
    scope: Final = Scope.WORKLOAD
    parts: Final[tuple[str, ...]] = ("quote", "certificates")
    checks: Final[tuple[Check, ...]] = CHECKS

    def recognise(self, data: bytes) -> tuple[Evidence, ...]:
        """An SGX quote: raw, in hex or base64, or as member of a JSON object."""
        quote = find_quote(data, Tee.SGX)
        return (Evidence.of(NAME, "cpu", {"quote": quote}),) if quote is not None else ()

    def statement(self, evidence: Evidence) -> bytes:
        """SHA-384 over header and body of the quote."""
        return statement(evidence)

    def inspect(self, evidence: Evidence) -> Mapping[str, str]:
        """Field name to readable value."""
        return inspect(evidence)

    def wanted(self, evidence: Evidence, collateral: Collateral) -> tuple[Wanted, ...]:
        """See :func:`attest.dcap.wanted.wanted`."""
        return wanted(parse(evidence.part("quote")), evidence.parts.get("certificates"), collateral)

    def verify(self, evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[SgxClaims]:
        """See :func:`attest.kinds.sgx.verify.verify`."""
        return verify(evidence, trust=trust, collateral=collateral, at=at)


SGX: Final[Kind] = Sgx()
