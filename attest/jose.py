"""Compact JWS (RFC 7515) with the one algorithm ES384, and the keys that make and check it.

The header is exactly ``{"alg":"ES384","kid":...,"typ":...}``: everything else that JOSE allows there (``jku``, ``jwk``, ``x5c``, ``crit``,
``b64``, ``zip``) lets a sender choose how he is checked, and is refused. The payload is handed out only after the signature was checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWS
from jwt.exceptions import InvalidTokenError

from attest import limits
from attest.checks import Check
from attest.crypto import sha256
from attest.errors import AttestError, MalformedError
from attest.keyfile import create_secret, read_secret
from attest.wire import Fields, Json, base64url, base64url_bytes, canonical_json

ALGORITHM: Final = "ES384"
_SIGNATURE_BYTES: Final = 96
_JWS: Final = PyJWS(algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """Public half of a token issuer's key: a point on P-384, 97 bytes, uncompressed."""

    public: bytes

    def __post_init__(self) -> None:
        """Raises MalformedError for anything but an uncompressed point on the curve."""
        try:
            if len(self.public) != 97 or self.public[0] != 4:
                raise ValueError(f"{len(self.public)} bytes")
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), self.public)
        except ValueError as error:
            _bad_key(str(error) or "no point on the curve")

    @property
    def thumbprint(self) -> str:
        """JWK thumbprint (RFC 7638, SHA-256, base64url): the ``kid`` of everything that this key signs."""
        return base64url(sha256(canonical_json(self.to_jwk())))

    def to_jwk(self) -> dict[str, Json]:
        """Public JWK (RFC 7518 section 6.2)."""
        return {"kty": "EC", "crv": "P-384", "x": base64url(self.public[1:49]), "y": base64url(self.public[49:])}

    @classmethod
    def from_jwk(cls, fields: Fields) -> IssuerKey:
        """Read a public JWK of exactly these four members. Raises MalformedError."""
        if (fields.text("kty"), fields.text("crv")) != ("EC", "P-384"):
            _bad_key(f"{fields.text('kty')} {fields.text('crv')}")
        x, y = fields.base64url("x"), fields.base64url("y")
        fields.done()
        if len(x) != 48 or len(y) != 48:
            _bad_key("coordinates of the wrong size")
        return cls(b"\x04" + x + y)

    def to_pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM, as openssl reads it."""
        return self._key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, data: bytes) -> IssuerKey:
        """Read the PEM form. Raises MalformedError."""
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            _bad_key(str(error))
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
            _bad_key(type(key).__name__)
        return cls(_point(key))

    def _key(self) -> ec.EllipticCurvePublicKey:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), self.public)


class IssuerPrivateKey:
    """Private half of a token issuer's key. Never printed, copied or pickled; its file has mode 0600."""

    __slots__ = ("_key", "public")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(key.curve, ec.SECP384R1):
            _bad_key(f"a key on {key.curve.name}")
        self._key: Final = key
        self.public: Final = IssuerKey(_point(key.public_key()))

    def __repr__(self) -> str:
        return f"<IssuerPrivateKey {self.public.thumbprint}>"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")

    @classmethod
    def generate(cls) -> IssuerPrivateKey:
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP384R1()))

    def save(self, path: Path) -> None:
        """Write it as PKCS#8 PEM into a new file. Raises the failure of ``keyfile.exists``."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        create_secret(path, self._key.private_bytes(encoding, form, serialization.NoEncryption()))

    @classmethod
    def load(cls, path: Path) -> IssuerPrivateKey:
        """Read what :meth:`save` wrote. Raises a failure of ``keyfile....`` or MalformedError."""
        data = read_secret(path, limit=limits.MAX_PEM_BYTES)
        try:
            key = serialization.load_pem_private_key(bytes(data), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            _bad_key("no PKCS#8 PEM key")  # the library's own words may quote the content
        finally:
            data[:] = bytes(len(data))
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            _bad_key(type(key).__name__)
        return cls(key)

    def sign(self, payload: bytes, *, typ: str) -> str:
        """Compact JWS over ``payload`` with header type ``typ``."""
        return _JWS.encode(payload, self._key, algorithm=ALGORITHM, headers={"typ": typ, "kid": self.public.thumbprint})


def verify_jws(text: str, *, key: IssuerKey, typ: str, limit: int, form: Check, signature: Check) -> bytes:
    """Payload of a compact JWS of type ``typ`` that ``key`` signed.

    Raises the failure of ``form`` for another shape, size, header, type or algorithm, and that of ``signature`` when the key id is
    another one or the signature is wrong.
    """
    form.require(len(text) <= limit, found=f"{len(text)} characters", expected=f"at most {limit}")
    parts = text.split(".")
    form.require(len(parts) == 3, found=f"{len(parts) - 1} dots", expected="three parts with two dots between")
    try:
        header, _, made = (base64url_bytes(part, name) for part, name in zip(parts, ("header", "payload", "signature"), strict=True))
        fields = Fields.parse(header, "header")
        kid, named = fields.text("kid"), {name: fields.text(name) for name in ("alg", "typ")}
        fields.done()
    except MalformedError as error:
        raise form_failure(form, error) from None
    for name, expected in (("alg", ALGORITHM), ("typ", typ)):
        form.require(named[name] == expected, found=named[name], expected=expected, where=f"header: {name}")
    form.require(len(made) == _SIGNATURE_BYTES, found=f"{len(made)} bytes", expected=f"{_SIGNATURE_BYTES} bytes", where="signature")
    signature.require(kid == key.thumbprint, found=f"key {kid[:64]}", expected=f"key {key.thumbprint}", where="header: kid")
    try:
        payload: object = _JWS.decode(text, key._key(), algorithms=[ALGORITHM])
    except InvalidTokenError:
        raise signature.failure(
            found="a signature that this key did not make over this content", expected="a valid ES384 signature"
        ) from None
    if not isinstance(payload, bytes):
        raise AssertionError("a JWS payload is bytes")
    return payload


def form_failure(form: Check, error: AttestError) -> AttestError:
    """``form``'s failure, saying what a strict reader found wrong."""
    reason = error.reasons[0]
    found = f"{reason.message}: {reason.found}" if reason.found else reason.message
    return form.failure(found=found, expected=reason.expected, where=reason.where)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _bad_key(found: str) -> NoReturn:
    raise MalformedError.at(
        "jose.key", "not a usable issuer key", found=found, expected="a P-384 key", fix="get it from the broker with: attest key issuer"
    )
