"""The signed things that a quote rests on, verified and remembered: PCK chain, TCB Info, QE Identity, CRLs.

Each function here does what depends on bytes and on the pinned root only, and keeps the result by digest (see cache.py). Windows are part
of what comes back; :mod:`attest.dcap.verify` judges them, and the revocation of every certificate, on every call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtensionOID

from attest import limits
from attest.checks import Check
from attest.crypto import sha256, verify_p256
from attest.dcap.cache import Cache
from attest.dcap.checks import CRL_FORM, PCK_EXTENSION, PCK_ROLE, SIGNER_ROLE
from attest.dcap.collateral import SignedDocument
from attest.dcap.pck import PckPlatform, read_platform
from attest.evidence import ClaimEnum, CollateralItem
from attest.pki import (
    INTEL_PCK,
    INTEL_TCB_SIGNING,
    AuthenticCrl,
    ChainProfile,
    VerifiedChain,
    load_certificates,
    load_crl,
    read_crl,
    verify_chain,
)
from attest.pki.certificate import common_name
from attest.trust import Role, TrustStore

ROOT_NAME: Final = "Intel SGX Root CA"
PCK_NAME: Final = "Intel SGX PCK Certificate"
SIGNER_NAME: Final = "Intel SGX TCB Signing"
_CRL_EXTENSIONS: Final = frozenset({ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER})


class PckCa(ClaimEnum):
    """Which of Intel's CAs certified the platform: that of single-package processors, or that of scalable platforms."""

    PROCESSOR = "processor"
    PLATFORM = "platform"


PCK_CAS: Final = {"Intel SGX PCK Processor CA": PckCa.PROCESSOR, "Intel SGX PCK Platform CA": PckCa.PLATFORM}


@dataclass(frozen=True, slots=True)
class IntelChain:
    """A verified chain with what is asked of it on every call, read once.

    serials   serial numbers, leaf first
    key       public key of the leaf
    """

    chain: VerifiedChain
    fingerprints: tuple[str, ...]
    serials: tuple[int, ...]
    not_before: datetime
    not_after: datetime
    key: CertificatePublicKeyTypes


@dataclass(frozen=True, slots=True)
class PckChain:
    """The PCK chain of a platform, and what its leaf says about it."""

    intel: IntelChain
    ca: PckCa
    platform: PckPlatform


_chains: Final[Cache[IntelChain]] = Cache(256)
_platforms: Final[Cache[PckChain]] = Cache(256)
_signatures: Final[Cache[str]] = Cache(512)
_crls: Final[Cache[AuthenticCrl]] = Cache(64)
_loaded: Final[Cache[x509.CertificateRevocationList]] = Cache(64)


def pck_chain(pem: bytes, *, trust: TrustStore, at: datetime) -> PckChain:
    """The PCK chain in ``pem``, leaf first, valid at ``at``. Raises NotAuthenticError, MalformedError."""
    digest = sha256(pem)
    intel = _chain(pem, digest, INTEL_PCK, trust, at, "PCK chain")
    known = _platforms.get((digest, trust.digest))
    if known is not None:
        return known
    ca = PCK_CAS[common_name(intel.chain.certificates[1].subject)]
    platform = read_platform(intel.chain.leaf)
    if bool(platform.instance_id) is not (ca is PckCa.PLATFORM):
        raise PCK_EXTENSION.failure(
            where="PCK certificate",
            found=f"{'a' if platform.instance_id else 'no'} platform instance, issued by the {ca} CA",
            expected="one on certificates of the Platform CA only",
        )
    return _platforms.put((digest, trust.digest), PckChain(intel, ca, platform))


def signer_chain(pem: bytes, *, trust: TrustStore, at: datetime, name: str) -> IntelChain:
    """The chain of a document's signer. Raises NotAuthenticError, MalformedError.

    Intel's root signs the TCB signing certificate itself. Without this check any key under the root could sign a TCB Info: one extracted
    from a platform too, which would then vouch for itself.
    """
    return _chain(pem, sha256(pem), INTEL_TCB_SIGNING, trust, at, f"{name}, issuer chain")


# Common names, leaf first: what each certificate may be used for is in nothing else.
_ROLES: Final = {
    INTEL_PCK.name: (PCK_ROLE, ((PCK_NAME,), tuple(PCK_CAS), (ROOT_NAME,))),
    INTEL_TCB_SIGNING.name: (SIGNER_ROLE, ((SIGNER_NAME,), (ROOT_NAME,))),
}


def _chain(pem: bytes, digest: bytes, profile: ChainProfile, trust: TrustStore, at: datetime, name: str) -> IntelChain:
    key = (profile.name, digest, trust.digest)
    known = _chains.get(key)
    if known is not None and known.not_before <= at <= known.not_after:
        return known
    certificates = load_certificates(pem, name, most=limits.MAX_CHAIN_LENGTH)
    names = [common_name(certificate.subject) for certificate in certificates]
    check, roles = _ROLES[profile.name]
    if len(names) != len(roles) or not all(own in allowed for own, allowed in zip(names, roles, strict=True)):
        raise check.failure(where=name, found=", ".join(names), expected=", ".join(" or ".join(allowed) for allowed in roles))
    chain = verify_chain(certificates, profile=profile, anchors=trust.for_role(Role.INTEL_SGX_ROOT), at=at, name=name)
    return _chains.put(
        key,
        IntelChain(
            chain,
            chain.fingerprints,
            tuple(certificate.serial_number for certificate in chain.certificates),
            chain.not_before,
            chain.not_after,
            chain.leaf.public_key(),
        ),
    )


D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Opened(Generic[D]):
    """A document read but not yet verified, and the digest of its item."""

    document: SignedDocument
    value: D
    digest: str


def verify_document(item: Opened[D], signer: IntelChain, check: Check, name: str) -> None:
    """The signature over the member's own bytes. Raises ``check``'s failure."""
    key = (item.digest, signer.fingerprints[0])
    if _signatures.get(key) is None:
        verify_p256(signer.key, item.document.signature, item.document.signed, check, where=name)
        _signatures.put(key, signer.fingerprints[0])


def loaded_crl(item: CollateralItem) -> x509.CertificateRevocationList:
    """A CRL before anything of it is verified. Raises MalformedError."""
    known = _loaded.get((item.digest,))
    return known if known is not None else _loaded.put((item.digest,), load_crl(item.data, f"CRL {item.name}"))


def authentic_crl(item: CollateralItem, *, chain: IntelChain, issuer: int) -> AuthenticCrl:
    """A CRL of certificate ``issuer`` of a chain. Raises NotAuthenticError, MalformedError."""
    key = (item.digest, chain.fingerprints[issuer])
    known = _crls.get(key)
    if known is not None:
        return known
    name = f"CRL {item.name}"
    crl = read_crl(item.data, issuer=chain.chain.certificates[issuer], name=name, loaded=loaded_crl(item))
    missing = _CRL_EXTENSIONS - {item.oid for item in crl.crl.extensions}
    if missing:
        raise CRL_FORM.failure(where=name, found="no CRL number or no authority key identifier", expected="both")
    return _crls.put(key, crl)


def require_not_revoked(crls: Sequence[AuthenticCrl], chain: IntelChain, subjects: Sequence[int], at: datetime) -> datetime | None:
    """Judge certificates of a chain by every CRL of their issuer, at ``at``.

    Any CRL that lists one refuses, however old it is. Returns until when the freshest CRL speaks, or None when none speaks at ``at``.
    """
    until: datetime | None = None
    for crl in crls:
        if any(chain.serials[index] in crl.revoked for index in subjects):
            for index in subjects:
                crl.require_good(chain.chain.certificates[index])
            raise AssertionError("a revoked certificate has a good answer")
        end = crl.next_update
        if end is not None and crl.this_update <= at < end:
            until = end if until is None else max(until, end)
    return until
