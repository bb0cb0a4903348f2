"""Verify a DCAP quote as Intel's Quote Verification Library does, and stricter where its answers leave something to the caller.

What the body means, and what a policy thinks of a TCB status, is judged elsewhere; a status other than Revoked is a finding, not a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from attest.checks import Checklist, CheckResult, Status
from attest.crypto import p256_key, sha256, verify_p256
from attest.dcap.basis import Basis, certify, establish, known_basis, remember, require_not_revoked_now
from attest.dcap.cache import Cache
from attest.dcap.checks import (
    ATTESTATION_KEY,
    EXTRACTED_KEY,
    MODULE_LEVEL,
    QE_LEVEL,
    QE_MATCH,
    QE_REPORT_SIGNATURE,
    QUOTE_CHECKS,
    QUOTE_SIGNATURE,
    TCB_LEVEL,
    TCB_REVOKED,
    TDX_MODULE,
    TEE,
)
from attest.dcap.documents import QeIdentity, TcbInfo
from attest.dcap.endorsements import PckChain
from attest.dcap.quote import BodyType, Quote, Tee, parse
from attest.dcap.tcb import TcbResult, evaluate, module_identity
from attest.evidence import Collateral
from attest.trust import TrustStore

_DEBUG: Final = 1 << 1  # SGX ATTRIBUTES.DEBUG
_SVN2: Final = 584  # TEE_TCB_SVN2 in the bodies of TD 1.5


@dataclass(frozen=True, slots=True)
class VerifiedQuote:
    """A quote whose signatures lead to Intel's root, and what its collateral says about the platform.

    chain         hex SHA-256 of the PCK chain's certificates, leaf first
    collateral    hex SHA-256 of every piece of collateral that this rests on
    evaluation    the lower of the two evaluation data numbers of TCB Info and QE Identity
    issued        when the older of the two was issued
    valid_until   the earliest end of validity of all that this rests on
    """

    quote: Quote
    pck: PckChain
    tcb: TcbResult
    chain: tuple[str, ...]
    collateral: tuple[str, ...]
    evaluation: int
    issued: datetime
    valid_until: datetime


def verify_quote(
    data: bytes, *, tee: Tee, certificates: bytes | None, trust: TrustStore, collateral: Collateral, at: datetime, checklist: Checklist
) -> VerifiedQuote:
    """Verify a quote of a ``tee`` at ``at`` (aware).

    certificates   PCK chain in PEM for a quote that only names its PCK certificate; None takes it from the collateral
    checklist      of the kind; gets a result for every check of :data:`attest.dcap.checks.DCAP_CHECKS`, and of TDX_CHECKS for TDX

    1. form of the quote  2. PCK chain to the pinned root, roles, platform  3. QE report by the PCK key, attestation key by the QE report,
    quote by the attestation key  4. TCB Info and QE Identity for this platform, by the TCB signing key  5. CRLs  6. windows
    7. quoting enclave and TDX module against their identities  8. TCB levels

    Raises AttestError whose reasons name the failed check.
    """
    quote = parse(data)  # (1)
    checklist.adopt(_FORM)
    checklist.require(TEE, quote.tee is tee, where="quote offset 0x004", found=quote.tee.name, expected=tee.name)
    key, basis = known_basis(quote, certificates, trust, collateral, at)
    if basis is not None:
        checklist.adopt(basis.results)
        _signatures(quote, basis.pck, checklist)  # (3)
        require_not_revoked_now(basis, at)
    else:
        pck, stored = certify(quote, certificates, trust, collateral, at, checklist)  # (2)
        certified = checklist.results()[len(_FORM) + 1 :]
        _signatures(quote, pck, checklist)  # (3)
        before = len(checklist.results())
        basis = establish(quote, pck, stored, trust, collateral, at, checklist)  # (4, 5, 6)
        basis = remember(key, basis, (*certified, *checklist.results()[before:]))
    tcb = _judge_tcb(quote, basis, checklist)  # (7, 8)
    return VerifiedQuote(quote, basis.pck, tcb, basis.pck.intel.fingerprints, basis.digests, basis.evaluation, basis.issued, basis.end)


_FORM: Final = tuple(CheckResult(check, Status.PASSED) for check in QUOTE_CHECKS)


# -- signatures -----------------------------------------------------------------------------------------------------------

_attestation_keys: Final[Cache[ec.EllipticCurvePublicKey]] = Cache(256)


def _signatures(quote: Quote, pck: PckChain, checklist: Checklist) -> None:
    # All parts but the last have a fixed size, so no two different inputs give the same bytes.
    fixed = (pck.intel.fingerprints[0].encode(), quote.qe_report_bytes, quote.qe_signature, quote.attestation_key, quote.qe_auth)
    key = (sha256(b"".join(fixed)),)
    attestation_key = _attestation_keys.get(key)
    if attestation_key is None:
        verify_p256(pck.intel.key, quote.qe_signature, quote.qe_report_bytes, QE_REPORT_SIGNATURE, where="QE report")
        expected = sha256(quote.attestation_key + quote.qe_auth) + bytes(32)
        ATTESTATION_KEY.require(
            quote.qe_report.report_data == expected,
            where="QE report, REPORTDATA",
            found=quote.qe_report.report_data.hex(),
            expected=expected.hex(),
        )
        attestation_key = _attestation_keys.put(key, p256_key(quote.attestation_key, ATTESTATION_KEY, where="attestation key"))
    checklist.passed(QE_REPORT_SIGNATURE, pck.intel.fingerprints[0])
    checklist.passed(ATTESTATION_KEY)
    verify_p256(attestation_key, quote.signature, quote.signed, QUOTE_SIGNATURE, where="quote")
    checklist.passed(QUOTE_SIGNATURE)


# -- against the identities ---------------------------------------------------------------------------------------------------


def _qe_match(quote: Quote, identity: QeIdentity, checklist: Checklist) -> None:
    report = quote.qe_report
    attributes = report.attributes.to_bytes(8, "little") + report.xfrm.to_bytes(8, "little")
    masked = bytes(value & mask for value, mask in zip(attributes, identity.attributes_mask, strict=True))
    for field, found, expected in (
        ("MRSIGNER", report.mr_signer.hex(), identity.mr_signer.hex()),
        ("ISVPRODID", str(report.isv_prod_id), str(identity.isv_prod_id)),
        ("MISCSELECT under its mask", f"{report.misc_select & identity.misc_select_mask:08x}", f"{identity.misc_select:08x}"),
        ("ATTRIBUTES under its mask", masked.hex(), identity.attributes.hex()),
        ("ATTRIBUTES.DEBUG", str(bool(report.attributes & _DEBUG)), "False"),
    ):
        QE_MATCH.require(found == expected, where=f"QE report, {field}", found=found, expected=expected)
    checklist.passed(QE_MATCH, f"ISVSVN {report.isv_svn}")


def _svns(quote: Quote) -> tuple[bytes, ...]:
    """TEE_TCB_SVN at launch and, in bodies of TD 1.5, now."""
    if quote.body_type is BodyType.SGX:
        return ()
    if quote.body_type is BodyType.TD10:
        return (quote.body[:16],)
    return quote.body[:16], quote.body[_SVN2 : _SVN2 + 16]


def _module_match(quote: Quote, info: TcbInfo, svn: bytes, checklist: Checklist) -> None:
    """MRSIGNERSEAM (48 bytes at 64) and SEAMATTRIBUTES (8 at 112): equal to the identity, and the attributes all zero."""
    identity = module_identity(info, svn)
    signer, attributes = quote.body[64:112], quote.body[112:120]
    TDX_MODULE.require(signer == identity.mr_signer, where="TD report, MRSIGNERSEAM", found=signer.hex(), expected=identity.mr_signer.hex())
    TDX_MODULE.require(
        attributes == identity.attributes and not any(attributes),
        where="TD report, SEAMATTRIBUTES",
        found=attributes.hex(),
        expected=f"{identity.attributes.hex()}, and zero: no other value is specified",
    )
    checklist.passed(TDX_MODULE, identity.id or "tdxModule")


_judgements: Final[Cache[tuple[TcbResult, tuple[CheckResult, ...]]]] = Cache(256)


def _judge_tcb(quote: Quote, basis: Basis, checklist: Checklist) -> TcbResult:
    """Steps 7 and 8: a function of the QE report, the PCK certificate, both documents, and what of the body speaks of the TDX module."""
    svns = _svns(quote)
    module = quote.body[64:120] if svns else b""
    key: tuple[str | bytes, ...] = (
        basis.info.digest,
        basis.identity.digest,
        basis.pck.intel.fingerprints[0],
        quote.qe_report_bytes,
        module,
        *svns,
    )
    known = _judgements.get(key)
    if known is not None:
        checklist.adopt(known[1])
        return known[0]
    before = len(checklist.results())
    _qe_match(quote, basis.identity.value, checklist)
    if svns:
        _module_match(quote, basis.info.value, svns[0], checklist)
    tcb = evaluate(basis.info.value, basis.identity.value, basis.pck.platform, quote.qe_report.isv_svn, svns)
    _record_tcb(tcb, checklist, tdx=bool(svns))
    checklist.not_checked(EXTRACTED_KEY, "a signature cannot tell a processor from somebody who holds its key")
    return _judgements.put(key, (tcb, checklist.results()[before:]))[0]


def _record_tcb(tcb: TcbResult, checklist: Checklist, *, tdx: bool) -> None:
    if tcb.revoked:
        raise TCB_REVOKED.failure(
            where="TCB Info and QE Identity",
            found=f"{tcb.launch.status} of {tcb.launch.date[:10]}" + (f", now {tcb.current.status}" if tcb.current else ""),
            expected="a TCB that is not revoked",
        )
    launch = tcb.launch
    checklist.passed(TCB_LEVEL, explain(tcb))
    checklist.passed(QE_LEVEL, f"{launch.qe.status} of {launch.qe.date[:10]}")
    if tdx:
        checklist.passed(
            MODULE_LEVEL, f"{launch.module.status} of {launch.module.date[:10]}" if launch.module else "part of the platform's level"
        )
    checklist.passed(TCB_REVOKED)


def explain(tcb: TcbResult) -> str:
    """The TCB in a sentence: status, since when, what falls short, which advisories apply."""
    words = [f"{tcb.status}: the platform is at the level of {tcb.launch.date[:10]}"]
    if tcb.shortfalls:
        words.append("; ".join(tcb.shortfalls))
    if tcb.launch.advisories:
        words.append(f"advisories {', '.join(tcb.launch.advisories)}")
    return "; ".join(words)
