"""Verify a DCAP quote as Intel's Quote Verification Library does, and stricter where its answers leave something to the caller.

What the body means, and what a policy thinks of a TCB status, is judged elsewhere; a status other than Revoked is a finding, not a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from attest import limits
from attest.checks import Check, Checklist
from attest.crypto import p256_key, sha256, verify_p256
from attest.dcap import collateral as dcap_collateral
from attest.dcap.cache import Cache
from attest.dcap.checks import (
    ATTESTATION_KEY,
    COLLATERAL_FORM,
    CRL_FORM,
    EXTRACTED_KEY,
    FMSPC,
    MODULE_LEVEL,
    PCE_ID,
    PCK_CERTIFICATE,
    PCK_CERTIFIED,
    PCK_CHAIN,
    PCK_CRL,
    PCK_EXTENSION,
    PCK_ROLE,
    QE_IDENTITY,
    QE_IDENTITY_SIGNATURE,
    QE_IDENTITY_TEE,
    QE_IDENTITY_TIME,
    QE_LEVEL,
    QE_MATCH,
    QE_REPORT_SIGNATURE,
    QUOTE_CHECKS,
    QUOTE_SIGNATURE,
    ROOT_CRL,
    SIGNER_CHAIN,
    SIGNER_ROLE,
    TCB_INFO,
    TCB_INFO_SIGNATURE,
    TCB_INFO_TEE,
    TCB_INFO_TIME,
    TCB_LEVEL,
    TCB_REVOKED,
    TDX_MODULE,
    TEE,
)
from attest.dcap.documents import QeIdentity, TcbInfo, read_qe_identity, read_tcb_info
from attest.dcap.endorsements import (
    PCK_NAME,
    IntelChain,
    Opened,
    PckChain,
    authentic_crl,
    pck_chain,
    require_not_revoked,
    signer_chain,
    verify_document,
)
from attest.dcap.pck import PckPlatform
from attest.dcap.quote import BodyType, CertificationType, Quote, Tee, parse
from attest.dcap.tcb import TcbResult, evaluate, module_identity
from attest.errors import AttestError, NotAuthenticError
from attest.evidence import Collateral, CollateralItem, CollateralType
from attest.pki import AuthenticCrl, load_certificates, load_crl
from attest.pki.certificate import common_name
from attest.pki.chain import EXPIRED, NOT_YET_VALID
from attest.trust import TrustStore
from attest.wire import format_time

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
    for check in QUOTE_CHECKS:
        checklist.passed(check)
    checklist.require(TEE, quote.tee is tee, where="quote offset 0x004", found=quote.tee.name, expected=tee.name)
    pck = _pck(quote, certificates, trust, collateral, at, checklist)  # (2)
    _signatures(quote, pck, checklist)  # (3)
    info, info_signer = _tcb_info(quote, pck.platform, trust, collateral, at, checklist)  # (4)
    identity, identity_signer = _qe_identity(quote, trust, collateral, at, checklist)
    checklist.passed(COLLATERAL_FORM)
    checklist.passed(SIGNER_ROLE)
    checklist.passed(SIGNER_CHAIN, info_signer.fingerprints[0])
    crls, crl_until = _revocation(pck, (info_signer, identity_signer), collateral, at, checklist)  # (5)
    for document, check in ((info, TCB_INFO_TIME), (identity, QE_IDENTITY_TIME)):  # (6)
        _require_current(document.value, check, at)
        checklist.passed(check, f"until {format_time(document.value.next_update)}")
    _qe_match(quote, identity.value, checklist)  # (7)
    svns = _svns(quote)
    if svns:
        _module_match(quote, info.value, svns[0], checklist)
    tcb = evaluate(info.value, identity.value, pck.platform, quote.qe_report.isv_svn, svns)  # (8)
    _record_tcb(tcb, bool(svns), checklist)
    checklist.not_checked(EXTRACTED_KEY, "a signature cannot tell a processor from somebody who holds its key")
    return VerifiedQuote(
        quote,
        pck,
        tcb,
        pck.intel.fingerprints,
        (info.digest, identity.digest, *crls),
        min(info.value.evaluation_number, identity.value.evaluation_number),
        min(info.value.issued, identity.value.issued),
        min(
            pck.intel.not_after,
            info.value.next_update,
            identity.value.next_update,
            info_signer.not_after,
            identity_signer.not_after,
            crl_until,
        ),
    )


# -- PCK certificate ------------------------------------------------------------------------------------------------------


def _pck(
    quote: Quote, certificates: bytes | None, trust: TrustStore, collateral: Collateral, at: datetime, checklist: Checklist
) -> PckChain:
    certification = quote.certification
    pem, source = certification.pem, "the quote"
    if certification.type is not CertificationType.PCK_CHAIN:
        pem, source = (certificates, "the evidence") if certificates is not None else _stored_chain(collateral, certification.type)
    pck = pck_chain(pem, trust=trust, at=at)
    checklist.passed(PCK_CERTIFICATE, f"from {source}")
    checklist.passed(PCK_ROLE, pck.ca.value)
    checklist.passed(PCK_CHAIN, f"{pck.intel.chain.anchor.name} {pck.intel.chain.anchor.spki_sha256}")
    checklist.passed(PCK_EXTENSION, f"FMSPC {pck.platform.fmspc.hex()}")
    if certification.type is CertificationType.PCK_LEAF:
        leaf = load_certificates(certification.pem, "certification data", most=1)[0]
        PCK_CERTIFIED.require(
            leaf == pck.intel.chain.leaf, where="certification data", found="another certificate", expected="the leaf of the PCK chain"
        )
    for name, found, expected in (
        ("PCE id", certification.pce_id[::-1], pck.platform.pce_id),
        ("PPID", certification.ppid, pck.platform.ppid),
    ):
        PCK_CERTIFIED.require(
            not found or found == expected, where=f"certification data, {name}", found=found.hex(), expected=expected.hex()
        )
    checklist.passed(PCK_CERTIFIED)
    return pck


def _stored_chain(collateral: Collateral, kind: CertificationType) -> tuple[bytes, str]:
    """The one PCK chain in the collateral: a quote of types 1 to 4 does not carry its own."""
    found = [item for item in collateral.of_type(CollateralType.CERTIFICATES) if _is_pck_chain(item)]
    if len(found) != 1:
        raise PCK_CERTIFICATE.failure(
            where=f"certification data of type {int(kind)}", found=f"{len(found)} PCK chains in the collateral", expected="exactly 1"
        )
    return found[0].data, f"collateral {found[0].name}"


def _is_pck_chain(item: CollateralItem) -> bool:
    try:
        first = load_certificates(item.data, item.name, most=limits.MAX_CHAIN_LENGTH)[0]
    except AttestError:
        return False  # of another vendor: what matters here must be readable, and is read again
    return common_name(first.subject) == PCK_NAME


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


# -- collateral -----------------------------------------------------------------------------------------------------------

D = TypeVar("D", TcbInfo, QeIdentity)

_tcb_infos: Final[Cache[Opened[TcbInfo]]] = Cache(128)
_qe_identities: Final[Cache[Opened[QeIdentity]]] = Cache(128)


def _open_tcb_info(item: CollateralItem) -> Opened[TcbInfo]:
    known = _tcb_infos.get((item.digest,))
    if known is None:
        document = dcap_collateral.read_document(item.data, dcap_collateral.TCB_INFO, item.name)
        known = _tcb_infos.put((item.digest,), Opened(document, read_tcb_info(document.value), item.digest))
    return known


def _open_qe_identity(item: CollateralItem) -> Opened[QeIdentity]:
    known = _qe_identities.get((item.digest,))
    if known is None:
        document = dcap_collateral.read_document(item.data, dcap_collateral.QE_IDENTITY, item.name)
        known = _qe_identities.put((item.digest,), Opened(document, read_qe_identity(document.value), item.digest))
    return known


def _tcb_info(
    quote: Quote, platform: PckPlatform, trust: TrustStore, collateral: Collateral, at: datetime, checklist: Checklist
) -> tuple[Opened[TcbInfo], IntelChain]:
    found = [_open_tcb_info(item) for item in collateral.of_type(CollateralType.TCB_INFO)]
    fmspc, fetch = platform.fmspc.hex().upper(), f"attest collateral fetch --fmspc {platform.fmspc.hex()} --tee {quote.tee.name.lower()}"
    if not found:
        raise TCB_INFO.failure(where="collateral", found="no TCB Info", expected=f"one for {quote.tee.name}, FMSPC {fmspc}", fix=fetch)
    of_tee = [item for item in found if item.value.tee is quote.tee]
    TCB_INFO_TEE.require(
        bool(of_tee), where="TCB Info, id", found=f"a TCB Info for {found[0].value.tee.name}", expected=quote.tee.name, fix=fetch
    )
    of_family = [item for item in of_tee if item.value.fmspc == platform.fmspc]
    FMSPC.require(
        bool(of_family), where="TCB Info, fmspc", found=of_tee[0].value.fmspc.hex().upper(), expected=f"{fmspc}, as the PCK says", fix=fetch
    )
    matching = [item for item in of_family if item.value.pce_id == platform.pce_id]
    PCE_ID.require(
        bool(matching), where="TCB Info, pceId", found=of_family[0].value.pce_id.hex(), expected=f"{platform.pce_id.hex()}, as the PCK says"
    )
    chosen = _newest(matching, at)
    signer = _signer(chosen, TCB_INFO_SIGNATURE, TCB_INFO_TIME, "TCB Info", trust, at)
    for check in (TCB_INFO, TCB_INFO_TEE, FMSPC, PCE_ID):
        checklist.passed(check)
    checklist.passed(TCB_INFO_SIGNATURE, f"{chosen.digest}, evaluation data number {chosen.value.evaluation_number}")
    return chosen, signer


def _qe_identity(
    quote: Quote, trust: TrustStore, collateral: Collateral, at: datetime, checklist: Checklist
) -> tuple[Opened[QeIdentity], IntelChain]:
    found = [_open_qe_identity(item) for item in collateral.of_type(CollateralType.QE_IDENTITY)]
    expected = "QE" if quote.tee is Tee.SGX else "TD_QE"
    QE_IDENTITY.require(bool(found), where="collateral", found="no QE Identity", expected=f"the QE Identity {expected}")
    matching = [item for item in found if item.value.tee is quote.tee]
    QE_IDENTITY_TEE.require(bool(matching), where="QE Identity, id", found="that of the other TEE", expected=expected)
    chosen = _newest(matching, at)
    signer = _signer(chosen, QE_IDENTITY_SIGNATURE, QE_IDENTITY_TIME, "QE Identity", trust, at)
    checklist.passed(QE_IDENTITY)
    checklist.passed(QE_IDENTITY_TEE, expected)
    checklist.passed(QE_IDENTITY_SIGNATURE, f"{chosen.digest}, evaluation data number {chosen.value.evaluation_number}")
    return chosen, signer


def _newest(documents: list[Opened[D]], at: datetime) -> Opened[D]:
    """Of several documents the strictest: of those that speak at ``at``, the one with the highest evaluation data number."""
    if len(documents) == 1:
        return documents[0]
    order: Callable[[Opened[D]], tuple[bool, int, datetime]] = lambda item: (  # noqa: E731  # one expression, used once
        item.value.issued <= at <= item.value.next_update,
        item.value.evaluation_number,
        item.value.issued,
    )
    return max(documents, key=order)


def _signer(document: Opened[D], signature: Check, time: Check, name: str, trust: TrustStore, at: datetime) -> IntelChain:
    """The signer's chain and the signature. A signer whose certificate has run out makes the document stale, not false."""
    try:
        chain = signer_chain(document.document.chain, trust=trust, at=at, name=name)
    except NotAuthenticError as error:
        if error.code not in (EXPIRED.id, NOT_YET_VALID.id):
            raise
        raise time.failure(
            where=f"{name}, {error.reasons[0].where}", found=error.reasons[0].found, expected=error.reasons[0].expected
        ) from None
    verify_document(document, chain, signature, name)
    return chain


def _require_current(document: TcbInfo | QeIdentity, check: Check, at: datetime) -> None:
    begin, end = document.issued, document.next_update
    if not begin <= at <= end:
        raise check.failure(
            where="issueDate" if at < begin else "nextUpdate",
            found=f"judged at {format_time(at)}",
            expected=f"{format_time(begin)} to {format_time(end)}",
        )


_issuers: Final[Cache[x509.Name]] = Cache(64)


def _crl_issuer(item: CollateralItem) -> x509.Name:
    known = _issuers.get((item.digest,))
    return known if known is not None else _issuers.put((item.digest,), load_crl(item.data, f"CRL {item.name}").issuer)


def _revocation(
    pck: PckChain, signers: tuple[IntelChain, ...], collateral: Collateral, at: datetime, checklist: Checklist
) -> tuple[tuple[str, ...], datetime]:
    """Leaf by the CRL of its CA; that CA and the collateral's signers by the CRL of the root. Every CRL of an issuer counts."""
    chain = pck.intel
    _, authority, root = chain.chain.certificates
    lists: Mapping[int, list[AuthenticCrl]] = {1: [], 2: []}
    for item in collateral.of_type(CollateralType.CRL):
        name = _crl_issuer(item)
        for index, certificate in ((1, authority), (2, root)):
            if name == certificate.subject:
                lists[index].append(authentic_crl(item.data, item.digest, chain=chain, issuer=index, name=f"CRL {item.name}"))
    checklist.passed(CRL_FORM)
    ends: list[datetime] = []
    for check, index, subjects in (
        (PCK_CRL, 1, ((chain, (0,)),)),
        (ROOT_CRL, 2, ((chain, (1, 2)), *((signer, (0,)) for signer in signers))),
    ):
        found = lists[index]
        who = "Intel SGX Root CA" if index == 2 else f"Intel SGX PCK {pck.ca.value.capitalize()} CA"
        check.require(bool(found), where="collateral", found=f"no CRL of {who}", expected="a current one")
        for own, members in subjects:
            until = require_not_revoked(found, own, members, at)
            if until is None:
                windows = ", ".join(f"{_time(crl.this_update)} to {_time(crl.next_update)}" for crl in found)
                raise check.failure(where=f"CRL of {who}", found=f"judged at {format_time(at)}", expected=windows)
            ends.append(until)
        checklist.passed(check, f"{who}, until {format_time(ends[-1])}")
    return tuple(crl.digest for index in (1, 2) for crl in lists[index]), min(ends)


def _time(time: datetime | None) -> str:
    return format_time(time) if time is not None else "never"


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


def _record_tcb(tcb: TcbResult, tdx: bool, checklist: Checklist) -> None:
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
