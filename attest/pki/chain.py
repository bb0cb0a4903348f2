"""Certificate chains of exact length under a named profile, to a root pinned by the hash of its key.

A chain of fixed length in a given order needs no path building, so the path rules of RFC 5280 section 6.1 are stated here, each with its
own code, and cryptography checks the signatures. Its generic path validation cannot be used: it refuses the RSASSA-PSS encoding of every
AMD chain ("forbidden signature algorithm") and the dates of every NVIDIA RIM chain (GeneralizedTime before 2050, RFC 5280 section 4.1.2.5).
The tests compare the two on chains that it can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from attest.checks import Check
from attest.crypto import spki_sha256
from attest.pki.certificate import (
    BASIC,
    extension,
    is_ca,
    key_words,
    place,
    require_aware,
    require_readable,
    require_valid,
    short,
    unknown_critical,
)

LENGTH: Final = Check(
    "pki.chain.length",
    "certificate chain length",
    "RFC 5280 section 6.1; the vendor's profile fixes the length",
    fix="send the whole chain, leaf first and root last, with no certificate missing, repeated or added",
)
LINK: Final = Check(
    "pki.chain.link",
    "order of the certificate chain",
    "RFC 5280 section 6.1.3 (a)(4)",
    fix="send the chain leaf first; the issuer of each certificate must be the subject of the next",
)
ANCHOR: Final = Check(
    "pki.chain.anchor",
    "pinned root of the certificate chain",
    "RFC 5280 section 6.1.1 (d)",
    fix="the root is not one that this trust store pins for this purpose: check which device, and which trust store, this is",
)
ROOT_SIGNATURE: Final = Check(
    "pki.chain.root-signature",
    "self-signature of the root certificate",
    "RFC 5280 section 3.2",
    fix="the root certificate has the pinned key but was not signed with it: get the root from the vendor",
)
ALGORITHM: Final = Check(
    "pki.chain.algorithm",
    "key and signature algorithms of the certificate chain",
    "RFC 5280 section 4.1.1.2; the vendor's profile fixes them",
    fix="the vendor never issues such a certificate; do not trust the source of this chain",
)
NOT_YET_VALID: Final = Check(
    "pki.chain.not-yet-valid",
    "start of the certificate's validity",
    "RFC 5280 section 4.1.2.5",
    fix="check the time at which the evidence is judged",
)
EXPIRED: Final = Check(
    "pki.chain.expired",
    "end of the certificate's validity",
    "RFC 5280 section 4.1.2.5",
    fix="get a new certificate from the vendor; judge recorded evidence at the time it was recorded",
)
CONSTRAINTS: Final = Check(
    "pki.chain.constraints",
    "CA constraints of the certificate chain",
    "RFC 5280 sections 4.2.1.3 and 4.2.1.9",
    fix="an issuer must be a CA that may sign certificates, and the leaf must be neither; do not trust the source of this chain",
)
PATH_LENGTH: Final = Check(
    "pki.chain.path-length",
    "path length constraint of the certificate chain",
    "RFC 5280 section 4.2.1.9",
    fix="a CA may not have issued this many CAs below it; do not trust the source of this chain",
)
CRITICAL: Final = Check(
    "pki.chain.critical-extension",
    "critical extensions of the certificate chain",
    "RFC 5280 section 4.2",
    fix="the certificate carries a critical extension that this version does not know; a newer version may",
)
SIGNATURE: Final = Check(
    "pki.chain.signature",
    "signatures of the certificate chain",
    "RFC 5280 section 6.1.3 (a)(1)",
    fix="the certificate was altered or was issued by somebody else; get the chain again from the device",
)
CHAIN_CHECKS: Final = (
    LENGTH,
    LINK,
    ANCHOR,
    ROOT_SIGNATURE,
    ALGORITHM,
    NOT_YET_VALID,
    EXPIRED,
    CONSTRAINTS,
    PATH_LENGTH,
    CRITICAL,
    SIGNATURE,
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A pinned root: its common name and the hex SHA-256 of its DER SubjectPublicKeyInfo."""

    name: str
    spki_sha256: str


_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A chain that passed every check of its profile. Made only in this package.

    profile       name of the profile it was verified under
    certificates  leaf first, root last
    anchor        the pin that the root's key matched
    not_before    latest start, and
    not_after     earliest end of validity among the certificates (aware UTC)
    """

    profile: str
    certificates: tuple[x509.Certificate, ...]
    anchor: Anchor
    not_before: datetime
    not_after: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("VerifiedChain is made by verification only")

    def __reduce__(self) -> str:
        raise TypeError("VerifiedChain cannot be copied or pickled: verify again")

    @property
    def leaf(self) -> x509.Certificate:
        """The end-entity certificate."""
        return self.certificates[0]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Hex SHA-256 of each certificate's DER, leaf first."""
        return tuple(_fingerprint(certificate) for certificate in self.certificates)


@lru_cache(maxsize=512)
def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def conclude_chain(profile: ChainProfile, certificates: tuple[x509.Certificate, ...], anchor: Anchor) -> VerifiedChain:
    """Seal a chain whose every check passed; called last by the functions of this package that verify one."""
    return VerifiedChain(
        profile.name,
        certificates,
        anchor,
        max(certificate.not_valid_before_utc for certificate in certificates),
        min(certificate.not_valid_after_utc for certificate in certificates),
        _SEAL,
    )


class KeyType(Enum):
    """The keys that vendors use, and with them the one signature algorithm of each."""

    P256 = "EC secp256r1"  # signs with ECDSA and SHA-256
    P384 = "EC secp384r1"  # signs with ECDSA and SHA-384
    RSA4096 = "RSA 4096"  # signs with RSASSA-PSS, SHA-384, MGF1 with SHA-384, 48 bytes of salt


@dataclass(frozen=True, slots=True)
class ChainProfile:
    """What a vendor's chains look like.

    keys        key type of each certificate, leaf first and root last; so also the exact length
    leaf_usage  whether the leaf has keyUsage with digitalSignature; if not it has no keyUsage that would make it a CA
    """

    name: str
    keys: tuple[KeyType, ...]
    leaf_usage: bool = True


# As observed on every chain of these kinds that NVIDIA and AMD have published. NVIDIA's own verifier demands the same lengths
# (nv-local-gpu-verifier 2.7.3). AMD: 57230, Versioned Chip Endorsement Key Certificate and KDS Interface.
NVIDIA_DEVICE: Final = ChainProfile("nvidia-device", (KeyType.P384,) * 5)
NVIDIA_RIM: Final = ChainProfile("nvidia-rim", (KeyType.P384,) * 4)
AMD_VCEK: Final = ChainProfile("amd-vcek", (KeyType.P384, KeyType.RSA4096, KeyType.RSA4096), leaf_usage=False)
AMD_VLEK: Final = ChainProfile("amd-vlek", (KeyType.P384, KeyType.RSA4096, KeyType.RSA4096), leaf_usage=False)
# Intel SGX PCK Certificate and CRL Profile Specification; Intel SGX and TDX Provisioning Certification Service API version 4.
INTEL_PCK: Final = ChainProfile("intel-pck", (KeyType.P256,) * 3)
INTEL_TCB_SIGNING: Final = ChainProfile("intel-tcb-signing", (KeyType.P256,) * 2)

_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


def verify_chain(
    certificates: Sequence[x509.Certificate], *, profile: ChainProfile, anchors: Sequence[Anchor], at: datetime, name: str
) -> VerifiedChain:
    """Verify a chain, leaf first and root last, at ``at`` (aware). ``name`` says which chain, for messages.

    1. exact length  2. leaf issued by the first authority, by name
    3. the authorities: each issued by the next, by name; root key pinned; key types and signature algorithms; CA constraints, path
       lengths, critical extensions; signatures, the root's own included
    4. the leaf: key type and signature algorithm  5. validity of every certificate
    6. the leaf: constraints, critical extensions, signature

    Raises NotAuthenticError with the check that failed and the index of the certificate (the leaf is 0), MalformedError for a certificate
    that cannot be read, ValueError for a naive ``at``.
    """
    at = require_aware(at)
    chain = tuple(certificates)
    LENGTH.require(len(chain) == len(profile.keys), where=name, found=f"{len(chain)} certificates", expected=f"{len(profile.keys)}")  # (1)
    leaf = chain[0]
    require_readable(leaf, f"{name}, certificate 0")
    where = place(name, 0, leaf)
    require_link(leaf, chain[1], where)  # (2)
    anchor = _verify_authorities(chain[1:], profile, tuple(anchors), name)  # (3)
    _require_key(leaf, profile.keys[0], where)  # (4)
    require_signature_algorithm(leaf, profile.keys[1], ALGORITHM, where)
    for index, certificate in enumerate(chain):  # (5)
        require_valid(certificate, at, not_yet=NOT_YET_VALID, expired=EXPIRED, where=place(name, index, certificate))
    _require_leaf(leaf, profile, where)  # (6)
    _require_known_extensions(leaf, where)
    _require_signature(leaf, chain[1], 0, where)
    return conclude_chain(profile, chain, anchor)


# Nothing here depends on the time, and the same few authorities come with every piece of evidence: remembered by their bytes.
@lru_cache(maxsize=256)
def _verify_authorities(authorities: tuple[x509.Certificate, ...], profile: ChainProfile, anchors: tuple[Anchor, ...], name: str) -> Anchor:
    """Everything about the certificates above the leaf but their validity. Returns the pin that the root matches."""
    last = len(authorities) - 1
    for index, certificate in enumerate(authorities, 1):
        require_readable(certificate, f"{name}, certificate {index}")
    places = tuple(place(name, index, certificate) for index, certificate in enumerate(authorities, 1))
    for index, where in enumerate(places):
        require_link(authorities[index], authorities[min(index + 1, last)], where)
    anchor = require_anchor(authorities[-1], anchors, places[-1])
    for index, where in enumerate(places):
        _require_key(authorities[index], profile.keys[index + 1], where)
    for index, where in enumerate(places):
        require_signature_algorithm(authorities[index], profile.keys[min(index + 2, last + 1)], ALGORITHM, where)
    for index, where in enumerate(places):
        require_issuer(authorities[index], below=index, where=where)
        _require_known_extensions(authorities[index], where)
    # Without its own signature everything in the root but the pinned key could be somebody's invention.
    ROOT_SIGNATURE.require(
        _self_signed(authorities[-1]),
        where=places[-1],
        found="a signature that the root's key did not make",
        expected="a self-signed root",
    )
    for index, where in enumerate(places[:-1]):
        _require_signature(authorities[index], authorities[index + 1], index + 1, where)
    return anchor


@lru_cache(maxsize=32)
def _self_signed(root: x509.Certificate) -> bool:
    """Remembered by the root's bytes: the same root stands above chains of several profiles."""
    return is_signed_by(root, root)


def _require_known_extensions(certificate: x509.Certificate, where: str) -> None:
    unknown = unknown_critical(certificate.extensions, BASIC)
    CRITICAL.require(not unknown, where=where, found=f"critical extension {unknown}", expected="none that is unknown")


def _require_signature(certificate: x509.Certificate, issuer: x509.Certificate, index: int, where: str) -> None:
    SIGNATURE.require(
        is_signed_by(certificate, issuer),
        where=where,
        found="a signature that its issuer's key did not make",
        expected=f"a signature by certificate {index + 1}",
    )


def require_link(certificate: x509.Certificate, issuer: x509.Certificate, where: str) -> None:
    """The issuer's name, as the certificate gives it, is the subject of the next."""
    if certificate.issuer != issuer.subject:
        raise LINK.failure(
            where=where,
            found=f"issuer {short(certificate.issuer.rfc4514_string())}",
            expected=f"the subject of the next: {short(issuer.subject.rfc4514_string())}",
        )


def require_anchor(root: x509.Certificate, anchors: Sequence[Anchor], where: str) -> Anchor:
    """The pin whose key the root has."""
    digest = spki_sha256(root.public_key())
    for anchor in anchors:
        if anchor.spki_sha256 == digest:
            return anchor
    pins = ", ".join(f"{anchor.name} {anchor.spki_sha256}" for anchor in anchors)
    raise ANCHOR.failure(where=where, found=f"key {digest}", expected=pins or "a pinned root, and none is pinned for this purpose")


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether names link and the issuer's key made the signature, with the algorithm that the certificate names inside and outside."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


_CURVES: Final[dict[type[ec.EllipticCurve], KeyType]] = {ec.SECP256R1: KeyType.P256, ec.SECP384R1: KeyType.P384}


def key_type(certificate: x509.Certificate) -> KeyType | None:
    """The type of a certificate's key, or None when it is none that vendors use."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(type(key.curve))
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == 4096:
        return KeyType.RSA4096
    return None


def _require_key(certificate: x509.Certificate, expected: KeyType, where: str) -> None:
    if key_type(certificate) is not expected:  # the key is put into words only for a refusal
        raise ALGORITHM.failure(where=where, found=f"{key_words(certificate)} key", expected=f"{expected.value} key")


def require_signature_algorithm(
    signed: x509.Certificate | x509.CertificateRevocationList, issuer_key: KeyType, check: Check, where: str
) -> None:
    """The one algorithm that a key type signs with, parameters included (RFC 5758 section 3.2, RFC 4055 section 3.1)."""
    oid = signed.signature_algorithm_oid
    if issuer_key is KeyType.P256:
        good = oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256
        expected = "ECDSA with SHA-256"
    elif issuer_key is KeyType.P384:
        good = oid == SignatureAlgorithmOID.ECDSA_WITH_SHA384
        expected = "ECDSA with SHA-384"
    else:
        good = (
            oid == SignatureAlgorithmOID.RSASSA_PSS
            and signed.signature_algorithm_parameters == _PSS
            and isinstance(signed.signature_hash_algorithm, hashes.SHA384)
        )
        expected = "RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt"
    check.require(good, where=where, found=f"signature algorithm {oid.dotted_string}, or its parameters", expected=expected)


def _require_leaf(leaf: x509.Certificate, profile: ChainProfile, where: str) -> None:
    CONSTRAINTS.require(not is_ca(leaf), where=where, found="a CA certificate", expected="a leaf that is not a CA")
    usage = extension(leaf, x509.KeyUsage)
    CONSTRAINTS.require(
        usage is None or not (usage.value.key_cert_sign or usage.value.crl_sign),
        where=where,
        found="keyUsage of a CA",
        expected="a leaf that may not sign certificates or CRLs",
    )
    CONSTRAINTS.require(
        not profile.leaf_usage or (usage is not None and usage.value.digital_signature),
        where=where,
        found="no keyUsage digitalSignature",
        expected="keyUsage digitalSignature",
    )


def require_issuer(certificate: x509.Certificate, *, below: int, where: str) -> None:
    """An issuing certificate: a CA, critically so, that may sign certificates, with ``below`` CAs under it in the chain."""
    basic = extension(certificate, x509.BasicConstraints)
    CONSTRAINTS.require(
        basic is not None and basic.critical and basic.value.ca,
        where=where,
        found="no critical basicConstraints with CA",
        expected="a CA certificate",
    )
    usage = extension(certificate, x509.KeyUsage)
    CONSTRAINTS.require(
        usage is not None and usage.value.key_cert_sign,
        where=where,
        found="no keyUsage keyCertSign",
        expected="a CA that may sign certificates",
    )
    # Must be critical by RFC 5280 section 4.2.1.10, which refuses it below; one that is not would be ignored.
    CONSTRAINTS.require(
        extension(certificate, x509.NameConstraints) is None, where=where, found="nameConstraints", expected="no nameConstraints"
    )
    allowed = basic.value.path_length if basic is not None else 0
    PATH_LENGTH.require(allowed is None or below <= allowed, where=where, found=f"{below} CAs below it", expected=f"at most {allowed}")
