"""The recipient: the public key that a released key is wrapped to, whose private half lives only inside the TEE."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

from attest.crypto import framed, sha256
from attest.errors import MalformedError
from attest.wire import Fields, Json, base64url


class Kem(StrEnum):
    """Key encapsulation that a recipient key is for: HPKE (RFC 9180), or RSA-OAEP, which every TPM can open (RFC 8017 section 7.1).

    Values are claim values in policies.
    """

    X25519 = "x25519"
    P384 = "p384"
    MLKEM768_X25519 = "mlkem768_x25519"
    RSA2048_OAEP = "rsa2048_oaep"


_SIZES: Final = {Kem.X25519: 32, Kem.P384: 97, Kem.MLKEM768_X25519: 1184 + 32, Kem.RSA2048_OAEP: 256}
RSA_EXPONENT: Final = 65537
"""The one public exponent of RSA recipient keys; only the modulus is kept."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key: X25519 (32 bytes), P-384 (97 bytes, uncompressed point), the hybrid ML-KEM-768 then X25519 (1216 bytes), or the modulus
    of an RSA key with exponent 65537 (256 bytes, big-endian).
    """

    kem: Kem
    public: bytes

    def __post_init__(self) -> None:
        """Raises MalformedError for a wrong size, a point off the curve or a weak key."""
        if len(self.public) != _SIZES[self.kem]:
            raise _malformed("recipient key has the wrong size", f"{len(self.public)} bytes", f"{_SIZES[self.kem]} bytes for {self.kem}")
        try:
            if self.kem is Kem.P384:
                ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), self.public)
                if self.public[0] != 4:
                    raise ValueError("compressed point")
            elif self.kem is Kem.MLKEM768_X25519:
                MLKEM768PublicKey.from_public_bytes(self.public[:1184])
            elif self.kem is Kem.RSA2048_OAEP:
                modulus = int.from_bytes(self.public, "big")
                if modulus.bit_length() != 2048 or modulus % 2 == 0:
                    raise ValueError("not an odd number of 2048 bits")
        except ValueError as error:
            raise _malformed("recipient key is not a public key", str(error), f"a valid {self.kem} key") from None
        if self.kem in (Kem.X25519, Kem.MLKEM768_X25519):
            # RFC 7748 section 6.1: a low-order point gives the all-zero shared secret, which cryptography refuses.
            try:
                x25519.X25519PrivateKey.from_private_bytes(b"\x01" * 32).exchange(
                    x25519.X25519PublicKey.from_public_bytes(self.public[-32:])
                )
            except ValueError:
                raise _malformed("recipient key is a low-order point", self.public[-32:].hex(), "a usable X25519 key") from None

    @property
    def canonical(self) -> bytes:
        """The bytes that reports bind."""
        return framed("attest-recipient/1", [self.kem.value.encode(), self.public])

    @property
    def thumbprint(self) -> str:
        """Hex SHA-256 of :attr:`canonical`."""
        return sha256(self.canonical).hex()

    def to_jwk(self) -> dict[str, Json]:
        """Public JWK (RFC 7517; RFC 8037 for X25519; RFC 7518 section 6.3 for RSA; key type AKP for the hybrid)."""
        if self.kem is Kem.X25519:
            return {"kty": "OKP", "crv": "X25519", "x": base64url(self.public)}
        if self.kem is Kem.P384:
            return {"kty": "EC", "crv": "P-384", "x": base64url(self.public[1:49]), "y": base64url(self.public[49:])}
        if self.kem is Kem.RSA2048_OAEP:
            return {"kty": "RSA", "alg": "RSA-OAEP-256", "n": base64url(self.public), "e": _E}
        return {"kty": "AKP", "alg": "MLKEM768-X25519", "pub": base64url(self.public)}

    @classmethod
    def from_jwk(cls, fields: Fields) -> Recipient:
        """Read a public JWK. Raises MalformedError, also for a private key: it must never travel."""
        kty = fields.text("kty")
        if kty == "OKP":
            _expect(fields, "crv", "X25519")
            recipient = cls(Kem.X25519, fields.base64url("x"))
        elif kty == "EC":
            _expect(fields, "crv", "P-384")
            recipient = cls(Kem.P384, b"\x04" + fields.base64url("x") + fields.base64url("y"))
        elif kty == "AKP":
            _expect(fields, "alg", "MLKEM768-X25519")
            recipient = cls(Kem.MLKEM768_X25519, fields.base64url("pub"))
        elif kty == "RSA":
            _expect(fields, "alg", "RSA-OAEP-256")
            _expect(fields, "e", _E)
            recipient = cls(Kem.RSA2048_OAEP, fields.base64url("n"))
        else:
            raise _malformed("recipient key has an unknown type", kty, "OKP, EC, AKP or RSA")
        fields.done()
        return recipient


_E: Final = base64url(RSA_EXPONENT.to_bytes(3, "big"))


def _expect(fields: Fields, key: str, value: str) -> None:
    if fields.text(key) != value:
        raise _malformed(f"recipient key has an unknown {key}", fields.text(key), value)


def _malformed(message: str, found: str, expected: str) -> MalformedError:
    return MalformedError.at("recipient.key", message, found=found, expected=expected, fix="create one with: attest recipient create")
