"""Chains of certificates for TPM keys: endorsement keys (EK) and attestation keys (AK).

Clouds and chip vendors use different lengths, key types and signature hashes, so there is no fixed profile: one to four authorities, each
RSA of at least 2048 bits or on P-256 or P-384, signed with RSASSA-PKCS1-v1_5 or ECDSA and SHA-256, SHA-384 or SHA-512.
TCG EK Credential Profile 2.5; TCG Infrastructure, "TPM 2.0 Keys for Device Identity and Attestation" 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, ObjectIdentifier, SignatureAlgorithmOID

from attest.checks import Check
from attest.pki.certificate import (
    BASIC,
    extension,
    is_ca,
    key_words,
    place,
    require_aware,
    require_readable,
    require_valid,
    unknown_critical,
)
from attest.pki.chain import (
    ALGORITHM,
    CONSTRAINTS,
    CRITICAL,
    EXPIRED,
    LENGTH,
    NOT_YET_VALID,
    ROOT_SIGNATURE,
    SIGNATURE,
    Anchor,
    ChainProfile,
    VerifiedChain,
    conclude_chain,
    is_signed_by,
    require_anchor,
    require_issuer,
    require_link,
)

MOST: Final = 5
EK_EKU: Final = ObjectIdentifier("2.23.133.8.1")

TPM_LEAF: Final = Check(
    "pki.tpm.leaf",
    "use of a TPM key's certificate",
    "RFC 5280 section 4.2.1.3; TCG EK Credential Profile 2.5, section 3.5",
    fix="an attestation key's certificate lets it sign, an endorsement key's lets it decrypt: use the one that belongs to this key",
)
TPM_PKI_CHECKS: Final = (TPM_LEAF,)

AK: Final = ChainProfile("tpm-ak", ())
EK: Final = ChainProfile("tpm-ek", ())

_SIGNATURES: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    }
)
_LEAF_CRITICAL: Final = BASIC | {ExtensionOID.SUBJECT_ALTERNATIVE_NAME}  # names the chip; read by nobody here


def verify_tpm_chain(
    certificates: Sequence[x509.Certificate], *, profile: ChainProfile, anchors: Sequence[Anchor], at: datetime, name: str
) -> VerifiedChain:
    """Verify the chain of an attestation key (:data:`AK`) or endorsement key (:data:`EK`), leaf first and root last, at ``at`` (aware).

    1. length  2. names link, root pinned  3. keys and algorithms  4. authorities are CAs, leaf is none and may do what its profile needs
    5. critical extensions  6. validity  7. signatures, the root's own included

    Raises NotAuthenticError with the check that failed, MalformedError for a certificate that cannot be read.
    """
    at = require_aware(at)
    chain = tuple(certificates)
    LENGTH.require(2 <= len(chain) <= MOST, where=name, found=f"{len(chain)} certificates", expected=f"2 to {MOST}")  # (1)
    for index, certificate in enumerate(chain):
        require_readable(certificate, f"{name}, certificate {index}")
    places = [place(name, index, certificate) for index, certificate in enumerate(chain)]
    issuers = (*chain[1:], chain[-1])
    for certificate, issuer, where in zip(chain, issuers, places, strict=True):  # (2)
        require_link(certificate, issuer, where)
    anchor = require_anchor(chain[-1], anchors, places[-1])
    for index, (certificate, where) in enumerate(zip(chain, places, strict=True)):
        _require_algorithms(certificate, where)  # (3)
        if index:  # (4)
            require_issuer(certificate, below=index - 1, where=where)
        unknown = unknown_critical(certificate.extensions, BASIC if index else _LEAF_CRITICAL)  # (5)
        CRITICAL.require(not unknown, where=where, found=f"critical extension {unknown}", expected="none that is unknown")
        require_valid(certificate, at, not_yet=NOT_YET_VALID, expired=EXPIRED, where=where)  # (6)
    _require_leaf(chain[0], profile, places[0])
    for index, (certificate, issuer) in enumerate(zip(chain, issuers, strict=True)):  # (7)
        check = SIGNATURE if certificate is not chain[-1] else ROOT_SIGNATURE
        check.require(
            is_signed_by(certificate, issuer),
            where=places[index],
            found="a signature that its issuer's key did not make",
            expected="a signature by the next certificate, or by itself",
        )
    return conclude_chain(profile, chain, anchor)


def _require_algorithms(certificate: x509.Certificate, where: str) -> None:
    key = certificate.public_key()
    good = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    )
    ALGORITHM.require(good, where=where, found=f"{key_words(certificate)} key", expected="RSA of at least 2048 bits, P-256 or P-384")
    oid = certificate.signature_algorithm_oid
    ALGORITHM.require(
        oid in _SIGNATURES, where=where, found=f"signature algorithm {oid.dotted_string}", expected="RSASSA-PKCS1-v1_5 or ECDSA with SHA-2"
    )


def _require_leaf(leaf: x509.Certificate, profile: ChainProfile, where: str) -> None:
    CONSTRAINTS.require(not is_ca(leaf), where=where, found="a CA certificate", expected="a leaf that is not a CA")
    extended = extension(leaf, x509.KeyUsage)
    usage = extended.value if extended is not None else None
    CONSTRAINTS.require(
        usage is not None and not (usage.key_cert_sign or usage.crl_sign),
        where=where,
        found="no keyUsage, or that of a CA",
        expected="keyUsage without signing of certificates or CRLs",
    )
    signs = usage is not None and usage.digital_signature
    decrypts = usage is not None and (usage.key_encipherment or usage.key_agreement)
    if profile is AK:
        TPM_LEAF.require(signs and not decrypts, where=where, found="another use", expected="keyUsage digitalSignature alone")
        return
    TPM_LEAF.require(decrypts, where=where, found="another use", expected="keyUsage keyEncipherment or keyAgreement")
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    TPM_LEAF.require(
        purposes is not None and EK_EKU in purposes.value,
        where=where,
        found="no such extendedKeyUsage",
        expected=f"{EK_EKU.dotted_string} (tcg-kp-EKCertificate)",
    )
