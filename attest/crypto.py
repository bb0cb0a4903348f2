"""The only door to digests and signature verification, with an allow-list of algorithms.

Every function takes bytes and keys, and either returns or raises; none returns a boolean that a caller could forget to look at.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from attest.checks import Check
from attest.errors import AttestError

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P384_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


def sha256(data: bytes | memoryview) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def sha384(data: bytes | memoryview) -> bytes:
    """SHA-384, 48 bytes."""
    return hashlib.sha384(data).digest()


def sha512(data: bytes | memoryview) -> bytes:
    """SHA-512, 64 bytes."""
    return hashlib.sha512(data).digest()


def framed(domain: str, fields: Sequence[bytes]) -> bytes:
    """Unambiguous concatenation for hashing: every field behind its length as u32 big-endian, the domain name first."""
    parts = [domain.encode(), *fields]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def same(left: bytes, right: bytes) -> bool:
    """Constant-time equality; different lengths are different."""
    return hmac.compare_digest(left, right)


def spki_sha256(key: CertificatePublicKeyTypes) -> str:
    """Hex SHA-256 over the DER SubjectPublicKeyInfo: how trust anchors are pinned."""
    return sha256(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).hex()


def verify_p256(key: object, signature: bytes, data: bytes | memoryview, check: Check, *, where: str = "") -> None:
    """ECDSA P-256 with SHA-256 over ``data``; ``signature`` is r then s, each 32 bytes big-endian.

    Raises ``check``'s failure when the key is not on P-256, r or s is outside 1..n-1, or the signature is wrong (FIPS 186-5 section 6.4.2).
    """
    _verify_ecdsa(key, _P256, signature, data, check, where)


def verify_p384(key: object, signature: bytes, data: bytes | memoryview, check: Check, *, where: str = "") -> None:
    """ECDSA P-384 with SHA-384 over ``data``; ``signature`` is r then s, each 48 bytes big-endian.

    Raises ``check``'s failure when the key is not on P-384, r or s is outside 1..n-1, or the signature is wrong (FIPS 186-5 section 6.4.2).
    """
    _verify_ecdsa(key, _P384, signature, data, check, where)


def p256_key(point: bytes, check: Check, *, where: str = "") -> ec.EllipticCurvePublicKey:
    """The P-256 key at ``point`` (x then y, 64 bytes). Raises ``check``'s failure when it is not on the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError:
        raise check.failure(found="a point that is not on the curve", expected="a P-256 public key", where=where) from None


@dataclass(frozen=True, slots=True)
class _Ecdsa:
    """One curve with the one digest that is used with it; ``size`` is that of r and of s."""

    name: str
    curve: type[ec.EllipticCurve]
    order: int
    size: int
    algorithm: ec.ECDSA
    digest: str


_P256: Final = _Ecdsa("P-256", ec.SECP256R1, P256_ORDER, 32, ec.ECDSA(hashes.SHA256()), "SHA-256")
_P384: Final = _Ecdsa("P-384", ec.SECP384R1, P384_ORDER, 48, ec.ECDSA(hashes.SHA384()), "SHA-384")


def _verify_ecdsa(key: object, form: _Ecdsa, signature: bytes, data: bytes | memoryview, check: Check, where: str) -> None:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, form.curve):
        raise check.failure(found=_key_name(key), expected=f"a {form.name} key", where=where)
    if len(signature) != 2 * form.size:
        raise check.failure(found=f"{len(signature)} bytes of signature", expected=f"{2 * form.size} bytes", where=where)
    r = int.from_bytes(signature[: form.size], "big")
    s = int.from_bytes(signature[form.size :], "big")
    if not (0 < r < form.order and 0 < s < form.order):
        raise check.failure(found="r or s outside 1..n-1", expected=f"an ECDSA {form.name} signature", where=where)
    try:
        key.verify(utils.encode_dss_signature(r, s), bytes(data), form.algorithm)
    except InvalidSignature:
        raise check.failure(
            found="a signature that this key did not make over these bytes",
            expected=f"a valid ECDSA {form.name}/{form.digest} signature",
            where=where,
        ) from None


def verify_ed25519(public: bytes, signature: bytes, data: bytes | memoryview, check: Check, *, where: str = "") -> None:
    """Ed25519 over ``data``; ``public`` is the 32-byte and ``signature`` the 64-byte form of RFC 8032 section 5.1.

    Raises ``check``'s failure when the key is not 32 bytes or the signature is wrong.
    """
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, bytes(data))
    except (ValueError, InvalidSignature):
        raise check.failure(
            found="a signature that this key did not make over these bytes", expected="a valid Ed25519 signature", where=where
        ) from None


def verify_p384_der(key: object, signature: bytes, data: bytes | memoryview, check: Check, *, where: str = "") -> None:
    """Like :func:`verify_p384` for a signature in DER (RFC 3279 section 2.2.3): certificates, CRLs and OCSP answers."""
    try:
        r, s = utils.decode_dss_signature(signature)
    except ValueError:
        raise check.failure(found="no DER ECDSA signature", expected="a DER ECDSA signature", where=where) from None
    # Out of range values must not wrap into 48 bytes; verify_p384 refuses zero.
    r, s = (value if 0 < value < P384_ORDER else 0 for value in (r, s))
    verify_p384(key, r.to_bytes(48, "big") + s.to_bytes(48, "big"), data, check, where=where)


_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
CURVE_ORDERS: Final = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": P384_ORDER,
}
"""Curves that :func:`verify_ecdsa` takes, and the order n of their base point (FIPS 186-5, SP 800-186 section 3.2.1)."""


def verify_rsa_pkcs1(key: object, signature: bytes, data: bytes | memoryview, digest: str, check: Check, *, where: str = "") -> None:
    """RSASSA-PKCS1-v1_5 over ``data`` (RFC 8017 section 8.2); ``digest`` is sha256, sha384 or sha512.

    Raises ``check``'s failure when the key is not RSA or the signature is wrong.
    """
    if not isinstance(key, rsa.RSAPublicKey):
        raise check.failure(found=_key_name(key), expected="an RSA key", where=where)
    try:
        key.verify(signature, bytes(data), padding.PKCS1v15(), _HASHES[digest])
    except InvalidSignature:
        raise _another(check, f"RSASSA-PKCS1-v1_5/{digest}", where) from None


def verify_rsa_pss(key: object, signature: bytes, data: bytes | memoryview, digest: str, check: Check, *, where: str = "") -> None:
    """RSASSA-PSS over ``data`` (RFC 8017 section 8.1), MGF1 with the same hash, salt of the hash's or of the largest possible length.

    Raises ``check``'s failure when the key is not RSA or the signature is wrong.
    """
    if not isinstance(key, rsa.RSAPublicKey):
        raise check.failure(found=_key_name(key), expected="an RSA key", where=where)
    algorithm = _HASHES[digest]
    for salt in (padding.PSS.DIGEST_LENGTH, padding.PSS.MAX_LENGTH):
        try:
            key.verify(signature, bytes(data), padding.PSS(padding.MGF1(algorithm), salt), algorithm)
        except InvalidSignature:
            continue
        return
    raise _another(check, f"RSASSA-PSS/{digest}", where)


def verify_ecdsa(key: object, r: bytes, s: bytes, data: bytes | memoryview, digest: str, check: Check, *, where: str = "") -> None:
    """ECDSA over ``data`` on P-256 or P-384; ``r`` and ``s`` are big-endian, of any length up to the field's.

    Raises ``check``'s failure when the key is on another curve, r or s is outside 1..n-1, or the signature is wrong.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVE_ORDERS:
        raise check.failure(found=_key_name(key), expected="a P-256 or P-384 key", where=where)
    order = CURVE_ORDERS[key.curve.name]
    halves = [int.from_bytes(half, "big") for half in (r, s)]
    if not all(0 < half < order for half in halves):
        raise check.failure(found="r or s outside 1..n-1", expected=f"an ECDSA signature on {key.curve.name}", where=where)
    try:
        key.verify(utils.encode_dss_signature(*halves), bytes(data), ec.ECDSA(_HASHES[digest]))
    except InvalidSignature:
        raise _another(check, f"ECDSA {key.curve.name}/{digest}", where) from None


def _another(check: Check, scheme: str, where: str) -> AttestError:
    return check.failure(
        found="a signature that this key did not make over these bytes", expected=f"a valid {scheme} signature", where=where
    )


def _key_name(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"an EC key on {key.curve.name}"
    return type(key).__name__
