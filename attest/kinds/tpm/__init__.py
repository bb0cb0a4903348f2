"""TPM 2.0: quotes, with what a firmware event log, a Linux IMA list and a key inside the TPM add to them.

Evidence parts: ``quote`` (TPMS_ATTEST), ``signature`` (TPMT_SIGNATURE), ``ak`` (TPM2B_PUBLIC of the attestation key) and ``pcrs`` (as
tpm2_quote writes them) always. Where there are any: ``ak-certificates`` (PEM, leaf first, root last), ``event-log``
(binary_bios_measurements), ``ima`` (ascii_runtime_measurements); and for a decryption key in this TPM ``recipient`` (TPM2B_PUBLIC),
``certification`` (TPMS_ATTEST), ``certification-signature`` (TPMT_SIGNATURE) and ``recipient-policy`` (TPML_PCR_SELECTION of its policy).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attest.checks import Check
from attest.evidence import Collateral, Evidence, Kind, Scope, Verified, Wanted
from attest.kinds.tpm.claims import TpmClaims
from attest.kinds.tpm.inspect import inspect
from attest.kinds.tpm.recognise import NAME, PARTS, recognise
from attest.kinds.tpm.verify import CHECKS, statement, verify
from attest.trust import TrustStore


class Tpm:
    """The kind ``tpm`` (:class:`attest.evidence.Kind`)."""

    name: Final = NAME
    title: Final = "TPM 2.0"
    principal: Final = "Tpm"
    claims_type: Final[type[TpmClaims]] = TpmClaims
    scope: Final = Scope.BOOT
    parts: Final[tuple[str, ...]] = PARTS
    checks: Final[tuple[Check, ...]] = CHECKS

    def recognise(self, data: bytes) -> tuple[Evidence, ...]:
        """See :func:`attest.kinds.tpm.recognise.recognise`."""
        return recognise(data)

    def statement(self, evidence: Evidence) -> bytes:
        """SHA-384 over the quote."""
        return statement(evidence)

    def inspect(self, evidence: Evidence) -> Mapping[str, str]:
        """Field name to readable value."""
        return inspect(evidence)

    def wanted(self, evidence: Evidence, collateral: Collateral) -> tuple[Wanted, ...]:  # noqa: ARG002
        """Nothing: whoever vouches for the key is in the trust store, or came with it."""
        return ()

    def verify(self, evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[TpmClaims]:  # noqa: ARG002
        """See :func:`attest.kinds.tpm.verify.verify`; no collateral is used."""
        return verify(evidence, trust=trust, at=at)


TPM: Final[Kind] = Tpm()
