"""What quotes of one platform rest on beside their own signatures: PCK chain, TCB Info, QE Identity, CRLs, and when all of it holds.

The whole of it is kept for the next quote of the platform, by the digests of every byte it was made from. Within its windows nothing in it
depends on the time; outside them, and where the choice among several documents depends on the time, it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from attest import limits
from attest.checks import Check, Checklist, CheckResult
from attest.crypto import sha256
from attest.dcap import collateral as dcap_collateral
from attest.dcap.cache import Cache
from attest.dcap.checks import (
    COLLATERAL_FORM,
    CRL_FORM,
    FMSPC,
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
    ROOT_CRL,
    SIGNER_CHAIN,
    SIGNER_ROLE,
    TCB_INFO,
    TCB_INFO_SIGNATURE,
    TCB_INFO_TEE,
    TCB_INFO_TIME,
)
from attest.dcap.documents import QeIdentity, TcbInfo, read_qe_identity, read_tcb_info
from attest.dcap.endorsements import (
    PCK_NAME,
    IntelChain,
    Opened,
    PckChain,
    authentic_crl,
    loaded_crl,
    pck_chain,
    require_not_revoked,
    signer_chain,
    verify_document,
)
from attest.dcap.pck import PckPlatform
from attest.dcap.quote import CertificationType, Quote, Tee
from attest.errors import AttestError, NotAuthenticError
from attest.evidence import Collateral, CollateralItem, CollateralType
from attest.pki import AuthenticCrl, load_certificates
from attest.pki.certificate import common_name
from attest.pki.chain import EXPIRED, NOT_YET_VALID
from attest.trust import TrustStore
from attest.wire import format_time

Asked = tuple[Check, tuple[AuthenticCrl, ...], IntelChain, tuple[int, ...]]
"""One question of revocation: by which CRLs, of which certificates (by index) of which chain."""

Key = tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Basis:
    """Everything that quotes of one platform rest on with one set of collateral, and when that is so.

    begin, end  within them, end excluded, every certificate, document and CRL is in its window
    sole        whether there was one document of each sort to choose from: otherwise the choice depends on the time
    results     of the checks that were done on the way
    """

    pck: PckChain
    info: Opened[TcbInfo]
    identity: Opened[QeIdentity]
    revocation: tuple[Asked, ...]
    digests: tuple[str, ...]
    evaluation: int
    issued: datetime
    begin: datetime
    end: datetime
    sole: bool
    results: tuple[CheckResult, ...] = ()


_bases: Final[Cache[Basis]] = Cache(256)
_OURS: Final = frozenset({CollateralType.TCB_INFO, CollateralType.QE_IDENTITY, CollateralType.CRL, CollateralType.CERTIFICATES})


def known_basis(
    quote: Quote, certificates: bytes | None, trust: TrustStore, collateral: Collateral, at: datetime
) -> tuple[Key, Basis | None]:
    """The basis that was made from the same bytes, when all of it holds at ``at``; and the key to :func:`remember` another by."""
    key = _key(quote, certificates, trust, collateral)
    basis = _bases.get(key)
    return key, basis if basis is not None and basis.begin <= at < basis.end else None


def remember(key: Key, basis: Basis, results: tuple[CheckResult, ...]) -> Basis:
    """The basis with the results of its checks, kept when it can be used again."""
    basis = replace(basis, results=results)
    return _bases.put(key, basis) if basis.sole else basis


def _key(quote: Quote, certificates: bytes | None, trust: TrustStore, collateral: Collateral) -> Key:
    certification = quote.certification
    return (
        sha256(certification.pem),
        sha256(certificates) if certificates is not None else b"",
        certification.type.name,
        certification.ppid,
        certification.pce_id,
        quote.tee.name,
        trust.digest,
        *(item.digest for item in collateral.items if item.type in _OURS),
    )


def establish(
    quote: Quote, pck: PckChain, stored: tuple[str, ...], trust: TrustStore, collateral: Collateral, at: datetime, checklist: Checklist
) -> Basis:
    """Documents, their signatures, revocation, windows: steps 4 to 6 of :func:`attest.dcap.verify.verify_quote`, with its errors."""
    info, info_signer = _tcb_info(quote, pck.platform, trust, collateral, at, checklist)  # (4)
    identity, identity_signer = _qe_identity(quote, trust, collateral, at, checklist)
    checklist.passed(COLLATERAL_FORM)
    checklist.passed(SIGNER_ROLE)
    checklist.passed(SIGNER_CHAIN, info_signer.fingerprints[0])
    revocation, until = _revocation(pck, (info_signer, identity_signer), collateral, at, checklist)  # (5)
    for document, check in ((info, TCB_INFO_TIME), (identity, QE_IDENTITY_TIME)):  # (6)
        _require_current(document.value, check, at)
        checklist.passed(check, f"until {format_time(document.value.next_update)}")
    crls = tuple({crl.digest: crl for _, lists, _, _ in revocation for crl in lists}.values())
    chains = (pck.intel, info_signer, identity_signer)
    return Basis(
        pck,
        info,
        identity,
        revocation,
        (info.digest, identity.digest, *(crl.digest for crl in crls), *stored),
        min(info.value.evaluation_number, identity.value.evaluation_number),
        min(info.value.issued, identity.value.issued),
        max(info.value.issued, identity.value.issued, *(own.not_before for own in chains), *(crl.this_update for crl in crls)),
        min(info.value.next_update, identity.value.next_update, until, *(own.not_after for own in chains)),
        len(collateral.of_type(CollateralType.TCB_INFO)) == len(collateral.of_type(CollateralType.QE_IDENTITY)) == 1 and len(crls) == 2,
    )


# -- PCK certificate ------------------------------------------------------------------------------------------------------


def certify(
    quote: Quote, certificates: bytes | None, trust: TrustStore, collateral: Collateral, at: datetime, checklist: Checklist
) -> tuple[PckChain, tuple[str, ...]]:
    """The PCK chain (step 2), and the digest of the collateral that it came from, if it did."""
    certification = quote.certification
    stored: tuple[str, ...] = ()
    pem, source = certification.pem, "the quote"
    if certification.type is not CertificationType.PCK_CHAIN:
        if certificates is not None:
            pem, source = certificates, "the evidence"
        else:
            item = _stored_chain(collateral, certification.type)
            pem, source, stored = item.data, f"collateral {item.name}", (item.digest,)
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
    return pck, stored


def _stored_chain(collateral: Collateral, kind: CertificationType) -> CollateralItem:
    """The one PCK chain in the collateral: a quote of types 1 to 4 does not carry its own."""
    found = [item for item in collateral.of_type(CollateralType.CERTIFICATES) if _is_pck_chain(item)]
    if len(found) != 1:
        raise PCK_CERTIFICATE.failure(
            where=f"certification data of type {int(kind)}", found=f"{len(found)} PCK chains in the collateral", expected="exactly 1"
        )
    return found[0]


def _is_pck_chain(item: CollateralItem) -> bool:
    try:
        first = load_certificates(item.data, item.name, most=limits.MAX_CHAIN_LENGTH)[0]
    except AttestError:
        return False  # of another vendor: what matters here must be readable, and is read again
    return common_name(first.subject) == PCK_NAME


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
    fmspc = platform.fmspc.hex().upper()
    if not found:
        raise TCB_INFO.failure(where="collateral", found="no TCB Info", expected=f"one for {quote.tee.name}, FMSPC {fmspc}")
    of_tee = [item for item in found if item.value.tee is quote.tee]
    TCB_INFO_TEE.require(bool(of_tee), where="TCB Info, id", found=f"a TCB Info for {found[0].value.tee.name}", expected=quote.tee.name)
    of_family = [item for item in of_tee if item.value.fmspc == platform.fmspc]
    FMSPC.require(bool(of_family), where="TCB Info, fmspc", found=of_tee[0].value.fmspc.hex().upper(), expected=f"{fmspc}, as the PCK says")
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


def _revocation(
    pck: PckChain, signers: tuple[IntelChain, ...], collateral: Collateral, at: datetime, checklist: Checklist
) -> tuple[tuple[Asked, ...], datetime]:
    """Leaf by the CRL of its CA; that CA and the collateral's signers by the CRL of the root. Every CRL of an issuer counts."""
    chain = pck.intel
    _, authority, root = chain.chain.certificates
    lists: Mapping[int, list[AuthenticCrl]] = {1: [], 2: []}
    for item in collateral.of_type(CollateralType.CRL):
        name = loaded_crl(item).issuer
        for index, certificate in ((1, authority), (2, root)):
            if name == certificate.subject:
                lists[index].append(authentic_crl(item, chain=chain, issuer=index))
    checklist.passed(CRL_FORM)
    asked: list[Asked] = []
    ends: list[datetime] = []
    for check, index, subjects in (
        (PCK_CRL, 1, ((chain, (0,)),)),
        (ROOT_CRL, 2, ((chain, (1, 2)), *((signer, (0,)) for signer in {signer.fingerprints: signer for signer in signers}.values()))),
    ):
        found = tuple(lists[index])
        who = "Intel SGX Root CA" if index == 2 else f"Intel SGX PCK {pck.ca.value.capitalize()} CA"
        check.require(bool(found), where="collateral", found=f"no CRL of {who}", expected="a current one")
        for own, members in subjects:
            asked.append((check, found, own, members))
            ends.append(_until(asked[-1], at))
        checklist.passed(check, f"{who}, until {format_time(ends[-1])}")
    return tuple(asked), min(ends)


def _until(asked: Asked, at: datetime) -> datetime:
    check, found, own, members = asked
    until = require_not_revoked(found, own, members, at)
    if until is None:
        windows = ", ".join(f"{_time(crl.this_update)} to {_time(crl.next_update)}" for crl in found)
        raise check.failure(where=found[0].name, found=f"judged at {format_time(at)}", expected=windows)
    return until


def require_not_revoked_now(basis: Basis, at: datetime) -> None:
    """Every question of revocation again, at ``at``. Raises as :func:`establish` does."""
    for asked in basis.revocation:
        _until(asked, at)


def _time(time: datetime | None) -> str:
    return format_time(time) if time is not None else "never"
