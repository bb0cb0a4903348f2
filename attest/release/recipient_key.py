"""The private half of a recipient key. It is made inside the TEE, and never leaves it."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

from attest import limits
from attest.errors import AttestError, MalformedError
from attest.keyfile import create_secret, read_secret
from attest.recipient import RSA_EXPONENT, Kem, Recipient
from attest.release.checks import RECIPIENT_FILE, WRAP_OPEN
from attest.release.suites import Suite, oaep
from attest.wire import pem_blocks

_SEED_BYTES: Final = 64  # ML-KEM private keys are kept as the seed d || z (FIPS 203 section 7.1)
_HYBRID_LABEL: Final = "ATTEST MLKEM768 X25519 PRIVATE KEY"
_Hybrid = tuple[MLKEM768PrivateKey, X25519PrivateKey]
_Single = X25519PrivateKey | EllipticCurvePrivateKey | rsa.RSAPrivateKey


class RecipientPrivateKey:
    """Private half of a recipient key: X25519, P-384, RSA, or both halves of the hybrid. Never printed, copied or pickled."""

    __slots__ = ("_key", "recipient")

    def __init__(self, key: _Single | _Hybrid) -> None:
        self._key: Final = key
        self.recipient: Final = _public(key)

    def __repr__(self) -> str:
        return f"<RecipientPrivateKey {self.recipient.kem} {self.recipient.thumbprint}>"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")

    @classmethod
    def generate(cls, kem: Kem) -> RecipientPrivateKey:
        """A new key pair."""
        if kem is Kem.X25519:
            return cls(X25519PrivateKey.generate())
        if kem is Kem.P384:
            return cls(generate_private_key(SECP384R1()))
        if kem is Kem.RSA2048_OAEP:
            return cls(rsa.generate_private_key(RSA_EXPONENT, 2048))
        return cls((MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()))

    # -- file ---------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write it into a new file of mode 0600. Raises the failure of ``keyfile.exists``.

        X25519, P-384 and RSA as PKCS#8 PEM; the hybrid as PEM of its own label, 64 bytes of ML-KEM seed and then 32 bytes of X25519 scalar,
        because no standard form for it is final.
        """
        if isinstance(self._key, tuple):
            body = base64.encodebytes(self._key[0].private_bytes_raw() + self._key[1].private_bytes_raw())
            data = f"-----BEGIN {_HYBRID_LABEL}-----\n".encode() + body + f"-----END {_HYBRID_LABEL}-----\n".encode()
        else:
            encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            data = self._key.private_bytes(encoding, form, serialization.NoEncryption())
        create_secret(path, data)

    @classmethod
    def load(cls, path: Path) -> RecipientPrivateKey:
        """Read what :meth:`save` wrote. Raises a failure of ``keyfile....``, or of ``wrap.recipient-file``."""
        data = read_secret(path, limit=limits.MAX_PEM_BYTES)
        try:
            return cls(_parse(bytes(data)))
        except (AttestError, ValueError, TypeError, UnsupportedAlgorithm):
            # Neither the content nor the library's words about it: both may hold key material.
            raise RECIPIENT_FILE.failure(found="another content", expected="a PEM private key", where=str(path)) from None
        finally:
            data[:] = bytes(len(data))

    # -- use ----------------------------------------------------------------------------------------------------------

    def open(self, sealed: bytes, *, info: bytes) -> bytes:
        """HPKE OpenBase (RFC 9180 section 6.1) with empty AAD, or RSA-OAEP. Raises the failure of ``wrap.open``."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            try:
                return self._key.decrypt(sealed, oaep(info))
            except ValueError:
                raise _unopened() from None
        key = MLKEM768X25519PrivateKey(*self._key) if isinstance(self._key, tuple) else self._key
        try:
            return Suite.of(self.recipient.kem).hpke.decrypt(sealed, key, info=info)
        except InvalidTag:
            raise _unopened() from None


def _unopened() -> AttestError:
    return WRAP_OPEN.failure(found="a ciphertext that does not open", expected="one for this recipient, token and key")


def _public(key: _Single | _Hybrid) -> Recipient:
    if isinstance(key, tuple):
        return Recipient(Kem.MLKEM768_X25519, key[0].public_key().public_bytes_raw() + key[1].public_key().public_bytes_raw())
    if isinstance(key, X25519PrivateKey):
        return Recipient(Kem.X25519, key.public_key().public_bytes_raw())
    if isinstance(key, rsa.RSAPrivateKey):
        return Recipient(Kem.RSA2048_OAEP, key.public_key().public_numbers().n.to_bytes(256, "big"))
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return Recipient(Kem.P384, point)


def _parse(data: bytes) -> _Single | _Hybrid:
    if re.match(rb"-----BEGIN ATTEST ", data):
        body = pem_blocks(data, _HYBRID_LABEL, "recipient key", most=1)[0]
        if len(body) != _SEED_BYTES + 32:
            raise MalformedError.at(RECIPIENT_FILE.id, "wrong size")
        return MLKEM768PrivateKey.from_seed_bytes(body[:_SEED_BYTES]), X25519PrivateKey.from_private_bytes(body[_SEED_BYTES:])
    key = serialization.load_pem_private_key(data, None)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048 and key.public_key().public_numbers().e == RSA_EXPONENT:
        return key
    if isinstance(key, X25519PrivateKey) or (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1)):
        return key
    raise MalformedError.at(RECIPIENT_FILE.id, "another kind of key")
