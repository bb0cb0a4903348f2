"""Verify a TPM quote: made by a TPM, by a key that is known to be in one, over these PCR values; and what log and recipient key add to it.

The steps are numbered as docs/checks.md lists them. Which PCR values, programs or settings are good is a policy's business.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from attest.checks import Check, Checklist
from attest.crypto import sha384
from attest.errors import AttestError
from attest.evidence import Evidence, Verified, conclude
from attest.kinds.tpm.claims import TpmClaims, claims_of
from attest.kinds.tpm.eventlog import LOG_CHECKS, parse_event_log
from attest.kinds.tpm.firmware import FIRMWARE_CHECKS, Boot, read_boot
from attest.kinds.tpm.identity import IDENTITY_CHECKS, RECIPIENT_CHECKS, verify_identity, verify_resident_key
from attest.kinds.tpm.ima import IMA_CHECKS, IMA_PCR, IMA_REPLAY, ImaList, parse_ima, replay_ima
from attest.kinds.tpm.pcrs import PCR_CHECKS, QuotedPcrs, parse_pcrs, verify_pcrs
from attest.kinds.tpm.public import PUBLIC_CHECKS, parse_public
from attest.kinds.tpm.report import REPORT_CHECKS, Quote, bank_of, parse_quote
from attest.kinds.tpm.signature import SIGNATURE, SIGNATURE_CHECKS, Signature, parse_signature, verify_signature
from attest.trust import TrustStore
from attest.wire import parse_time

MEMORY: Final = Check(
    "tpm.memory",
    "memory hidden from the operator of the machine",
    "TPM 2.0 Library part 1, section 9 (trust boundary): a TPM protects its own memory only",
    limitation=True,
)
RUNNING: Final = Check(
    "tpm.running-state",
    "what runs now, not what was booted",
    "PCRs record what was measured at its start; TPM 2.0 Library part 1, section 17",
    limitation=True,
)

CHECKS: Final = (
    *REPORT_CHECKS, *PUBLIC_CHECKS, *SIGNATURE_CHECKS, *IDENTITY_CHECKS, *PCR_CHECKS, *LOG_CHECKS, *FIRMWARE_CHECKS, *IMA_CHECKS,
    *RECIPIENT_CHECKS, MEMORY, RUNNING,
)  # fmt: skip

_FOREVER: Final = parse_time("9999-12-31T23:59:59Z", "end of an enrolment")


def statement(evidence: Evidence) -> bytes:
    """SHA-384 over the TPMS_ATTEST of the quote. Raises MalformedError."""
    data = evidence.part("quote")
    parse_quote(data)
    return sha384(data)


def verify(evidence: Evidence, *, trust: TrustStore, at: datetime) -> Verified[TpmClaims]:
    """Verify one quote at ``at``. Raises AttestError whose reasons name the failed check and the device.

    1. form of the statement  2. attestation key, its strength  3. scheme and signature  4. who vouches for the key
    5. PCR values under their signed labels  6. event log  7. IMA list  8. recipient key in the TPM
    """
    try:
        return _verify(evidence, trust=trust, at=at)
    except AttestError as error:
        raise error.about(evidence.label) from None


def _verify(evidence: Evidence, *, trust: TrustStore, at: datetime) -> Verified[TpmClaims]:
    with Checklist(evidence.label, CHECKS) as checks:
        data = evidence.part("quote")
        quote = parse_quote(data)  # (1)
        _passed(checks, REPORT_CHECKS)
        ak = parse_public(evidence.part("ak"), "ak")  # (2)
        _passed(checks, PUBLIC_CHECKS, ak.words)
        signature = parse_signature(evidence.part("signature"), "signature")  # (3)
        verify_signature(signature, ak, data, SIGNATURE, "signature")
        _passed(checks, SIGNATURE_CHECKS)
        identity = verify_identity(evidence, ak, quote.statement.qualified_signer, checks, trust=trust, at=at)  # (4)
        pcrs = _pcrs(evidence, quote, signature, checks)  # (5)
        boot, has_log = _log(evidence, quote, pcrs, checks)  # (6)
        ima = _ima(evidence, quote, pcrs, checks)  # (7)
        resident = verify_resident_key(evidence, ak, pcrs, checks)  # (8)
        checks.not_checked(MEMORY, "a TPM says what was booted; whoever has the machine can still read or change its memory and its buses")
        checks.not_checked(RUNNING, "a program that was measured and then taken over still has its good measurement")
        return conclude(
            evidence,
            claims_of(
                quote=quote, ak=ak, identity=identity, pcrs=pcrs, boot=boot, log=has_log, ima=ima, resident=resident,
                simulated=trust.simulated,
            ),
            checklist=checks,
            statement=sha384(data),
            freshness=quote.statement.extra_data,
            chain=identity.chain.fingerprints if identity.chain is not None else (),
            trust=trust,
            collateral=(),
            at=at,
            valid_until=identity.chain.not_after if identity.chain is not None else _FOREVER,
            resident=resident.recipient if resident is not None else None,
        )  # fmt: skip


def _passed(checks: Checklist, done: tuple[Check, ...], detail: str = "") -> None:
    for check in done:
        checks.passed(check, detail)


def _pcrs(evidence: Evidence, quote: Quote, signature: Signature, checks: Checklist) -> QuotedPcrs:
    pcrs = verify_pcrs(quote, parse_pcrs(evidence.part("pcrs")), signature.digest)
    _passed(checks, PCR_CHECKS, " + ".join(map(str, quote.selections)))
    return pcrs


def _log(evidence: Evidence, quote: Quote, pcrs: QuotedPcrs, checks: Checklist) -> tuple[Boot, bool]:
    bank = bank_of(quote.selections).bank
    log = parse_event_log(evidence.part("event-log") if "event-log" in evidence.parts else b"")
    boot = read_boot(log, bank, pcrs.banks[bank])
    detail = (
        f"{len(log.events)} events explain PCRs {', '.join(map(str, sorted(boot.explained)))}"
        if log.events
        else "nothing to check: no event log was sent"
    )
    _passed(checks, (*LOG_CHECKS, *FIRMWARE_CHECKS), detail)
    return boot, bool(log.events)


def _ima(evidence: Evidence, quote: Quote, pcrs: QuotedPcrs, checks: Checklist) -> ImaList | None:
    if "ima" not in evidence.parts:
        _passed(checks, IMA_CHECKS, "nothing to check: no IMA list was sent")
        return None
    bank = bank_of(quote.selections).bank
    entries = parse_ima(evidence.part("ima"))
    values = pcrs.banks[bank]
    IMA_REPLAY.require(IMA_PCR in values, where="quote", found=f"PCR {IMA_PCR} is not quoted", expected=f"PCR {IMA_PCR} in the quote")
    replayed = replay_ima(entries, bank, values[IMA_PCR])
    _passed(checks, IMA_CHECKS, f"{len(replayed.attested)} entries attested, {replayed.behind} behind them not")
    return replayed
