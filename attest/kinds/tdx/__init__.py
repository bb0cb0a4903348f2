"""Intel TDX: quotes of trust domains.

Evidence parts: ``quote``, a DCAP quote of version 4 or 5; optionally ``certificates``, the PCK chain in PEM for a quote that does not carry
it; ``event-log``, the CCEL without its padding; ``runtime-data``, the JSON of Azure's HCL report. TCB Info, QE Identity and CRLs are
collateral.
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
from attest.kinds.tdx.claims import TdxClaims
from attest.kinds.tdx.inspect import inspect
from attest.kinds.tdx.verify import CHECKS, NAME, statement, verify
from attest.trust import TrustStore


class Tdx:
    """The kind ``tdx`` (:class:`attest.evidence.Kind`)."""

    name: Final = NAME
    title: Final = "Intel TDX guest"
    principal: Final = "TdxGuest"
    claims_type: Final[type[TdxClaims]] = TdxClaims
    scope: Final = Scope.WORKLOAD
    parts: Final[tuple[str, ...]] = ("quote", "certificates", "event-log", "runtime-data")
    checks: Final[tuple[Check, ...]] = CHECKS

    def recognise(self, data: bytes) -> tuple[Evidence, ...]:
        """A TDX quote: raw, in hex or base64, or as member of a JSON object."""
        quote = find_quote(data, Tee.TDX)
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

    def verify(self, evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[TdxClaims]:
        """See :func:`attest.kinds.tdx.verify.verify`."""
        return verify(evidence, trust=trust, collateral=collateral, at=at)


TDX: Final[Kind] = Tdx()
