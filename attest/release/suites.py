"""Suites that keys are wrapped with, one for each kind of recipient key: nobody chooses an algorithm, the key does.

HPKE (RFC 9180, base mode) for keys in software. A TPM cannot do HPKE with an RSA key, so for those it is RSA-OAEP with SHA-256 (RFC 8017
section 7.1), whose label carries the digest of ``info``: the same binding of the ciphertext to token, key and recipient.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PublicKey
from cryptography.hazmat.primitives.hpke import Suite as Hpke

from attest.crypto import sha256
from attest.recipient import RSA_EXPONENT, Kem, Recipient
from attest.wire import base64url

MLKEM768_PUBLIC_BYTES: Final = 1184
_TAG_BYTES: Final = 16

_RSA_BYTES: Final = 256

PublicKey = X25519PublicKey | EllipticCurvePublicKey | MLKEM768X25519PublicKey


class Suite(StrEnum):
    """Name of a suite in tokens and records. AEAD is AES-256-GCM in those of HPKE."""

    X25519 = "hpke-x25519-hkdf-sha256-aes256gcm"
    P384 = "hpke-p384-hkdf-sha384-aes256gcm"
    MLKEM768_X25519 = "hpke-mlkem768x25519-hkdf-sha256-aes256gcm"  # X-Wing KEM
    RSA2048_OAEP = "rsa2048-oaep-sha256"

    @classmethod
    def of(cls, kem: Kem) -> Suite:
        """The suite for a kind of recipient key."""
        return cls[kem.name]

    @property
    def hpke(self) -> Hpke:
        """The library's object. Raises KeyError for RSA-OAEP, which is not HPKE."""
        return Hpke(_ALGORITHMS[self].kem, _ALGORITHMS[self].kdf, AEAD.AES_256_GCM)

    def sealed_bytes(self, plain: int) -> int:
        """Size of ``enc || ciphertext || tag`` over ``plain`` bytes; of RSA-OAEP's one ciphertext."""
        if self is Suite.RSA2048_OAEP:
            return _RSA_BYTES
        return _ALGORITHMS[self].kem.enc_length() + plain + _TAG_BYTES


@dataclass(frozen=True, slots=True)
class _Algorithms:
    kem: KEM
    kdf: KDF


_ALGORITHMS: Final = {
    Suite.X25519: _Algorithms(KEM.X25519, KDF.HKDF_SHA256),
    Suite.P384: _Algorithms(KEM.P384, KDF.HKDF_SHA384),
    Suite.MLKEM768_X25519: _Algorithms(KEM.MLKEM768_X25519, KDF.HKDF_SHA256),
}


def public_key(recipient: Recipient) -> PublicKey:
    """The library's object for a recipient's public key."""
    if recipient.kem is Kem.P384:
        return EllipticCurvePublicKey.from_encoded_point(SECP384R1(), recipient.public)
    short = X25519PublicKey.from_public_bytes(recipient.public[-32:])
    if recipient.kem is Kem.X25519:
        return short
    return MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(recipient.public[:MLKEM768_PUBLIC_BYTES]), short)


def seal(plain: bytes | bytearray, recipient: Recipient, *, info: bytes) -> bytes:
    """HPKE SealBase (RFC 9180 section 6.1) with empty AAD: ``enc || ciphertext || tag``. ``info`` binds what it is for.

    RSA-OAEP for an RSA key (RFC 8017 section 7.1.1), with :func:`oaep` of ``info``.
    """
    if recipient.kem is Kem.RSA2048_OAEP:
        key = rsa.RSAPublicNumbers(RSA_EXPONENT, int.from_bytes(recipient.public, "big")).public_key()
        return key.encrypt(bytes(plain), oaep(info))
    return Suite.of(recipient.kem).hpke.encrypt(plain, public_key(recipient), info=info)


def oaep_label(info: bytes) -> str:
    """The label of RSA-OAEP: base64url of SHA-256 of ``info``, 43 characters.

    A TPM takes only text that ends in a NUL (TPM 2.0 Library part 3, TPM2_RSA_Decrypt), and tpm2-tools at most 63 characters of it.
    """
    return base64url(sha256(info))


def oaep(info: bytes) -> padding.OAEP:
    """OAEP with SHA-256, MGF1 with SHA-256, and the label for ``info``, NUL included."""
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), oaep_label(info).encode() + b"\0")
