"""TPM2B_PUBLIC, the public area of a key: what a TPM enforces about it, and the Name that stands for all of it.

TPM 2.0 Library part 2, section 12.2 (TPMT_PUBLIC); part 1, section 16 (Names). Big-endian throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from attest.checks import Check
from attest.errors import Outcome
from attest.kinds.tpm.algorithm import BANKS, Algorithm, digest, name_of
from attest.wire import Reader

PUBLIC: Final = Check(
    "tpm.public",
    "form of a key's public area",
    "TPM 2.0 Library part 2, TPM2B_PUBLIC",
    Outcome.MALFORMED,
    "send the public area as the TPM gives it (tpm2_readpublic -f tss)",
)
STRENGTH: Final = Check(
    "tpm.key-strength",
    "strength of a key",
    "NIST SP 800-131A rev 2; FIPS 186-5",
    fix="create the key as RSA of at least 2048 bits, or on P-256 or P-384",
)
PUBLIC_CHECKS: Final = (PUBLIC, STRENGTH)

_CURVES: Final[dict[int, ec.EllipticCurve]] = {3: ec.SECP256R1(), 4: ec.SECP384R1()}
_WITH_HASH: Final = frozenset({Algorithm.RSASSA, Algorithm.RSAPSS, Algorithm.OAEP, Algorithm.ECDSA, Algorithm.ECDH})
_EXPONENT: Final = 65537
_MAX: Final = 1024


class Attribute(IntFlag):
    """TPMA_OBJECT: what the TPM lets be done with a key."""

    FIXED_TPM = 1 << 1  # it can never be in another TPM
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4  # it can never get another parent
    SENSITIVE_DATA_ORIGIN = 1 << 5  # the TPM made it; it was not brought in
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16  # signs only what the TPM made, decrypts only for the TPM
    DECRYPT = 1 << 17
    SIGN = 1 << 18
    X509_SIGN = 1 << 19

    @property
    def words(self) -> str:
        """ "fixedTPM+restricted+sign": as tpm2-tools spell them."""
        return "+".join(_WORDS[flag] for flag in Attribute if flag in self) or "none"


_WORDS: Final = {
    Attribute.FIXED_TPM: "fixedtpm",
    Attribute.ST_CLEAR: "stclear",
    Attribute.FIXED_PARENT: "fixedparent",
    Attribute.SENSITIVE_DATA_ORIGIN: "sensitivedataorigin",
    Attribute.USER_WITH_AUTH: "userwithauth",
    Attribute.ADMIN_WITH_POLICY: "adminwithpolicy",
    Attribute.NO_DA: "noda",
    Attribute.ENCRYPTED_DUPLICATION: "encryptedduplication",
    Attribute.RESTRICTED: "restricted",
    Attribute.DECRYPT: "decrypt",
    Attribute.SIGN: "sign",
    Attribute.X509_SIGN: "x509sign",
}


@dataclass(frozen=True, slots=True)
class Public:
    """A parsed public area, of a key that is RSA or on a NIST curve.

    label        what the key is for, in messages
    area         the TPMT_PUBLIC as received: what the Name covers
    scheme       signature or encryption scheme, NULL when the key has none; scheme_hash NULL likewise
    symmetric    algorithm that a storage key protects its children with, NULL for others; symmetric_bits 0 likewise
    policy       authPolicy digest, empty when there is none
    key          the public key
    """

    label: str
    area: bytes
    name_algorithm: int
    attributes: Attribute
    policy: bytes
    symmetric: int
    symmetric_bits: int
    scheme: int
    scheme_hash: int
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey

    @property
    def name(self) -> bytes:
        """The Name: nameAlg as u16, then the digest of the area under it."""
        return self.name_algorithm.to_bytes(2, "big") + digest(self.name_algorithm, self.area)

    @property
    def words(self) -> str:
        """ "RSA 2048" or "EC secp256r1"."""
        key = self.key
        return f"RSA {key.key_size}" if isinstance(key, rsa.RSAPublicKey) else f"EC {key.curve.name}"


def parse_public(data: bytes, label: str) -> Public:
    """Read a TPM2B_PUBLIC. Raises MalformedError, or the failure of ``tpm.public`` or ``tpm.key-strength``."""
    outer = Reader(data, label)
    size = outer.uint_be(2, "size")
    area = outer.bytes(size, "publicArea")
    outer.end()
    reader = Reader(area, label, base=2)
    where = reader.where()
    kind, name_algorithm = reader.uint_be(2, "type"), reader.uint_be(2, "nameAlg")
    PUBLIC.require(kind in (Algorithm.RSA, Algorithm.ECC), where=where, found=name_of(kind), expected="rsa or ecc")
    STRENGTH.require(
        name_algorithm in BANKS, where=where, found=f"nameAlg {name_of(name_algorithm)}", expected="nameAlg sha256, sha384 or sha512"
    )
    where = reader.where()
    bits = reader.uint_be(4, "objectAttributes")
    unknown = bits & ~sum(Attribute)
    PUBLIC.require(not unknown, where=where, found=f"reserved attributes 0x{unknown:x}", expected="none")
    policy = _tpm2b(reader, "authPolicy")
    symmetric, symmetric_bits = _symmetric(reader)
    scheme, scheme_hash = _scheme(reader)
    key = _rsa(reader) if kind == Algorithm.RSA else _ecc(reader)
    reader.end()
    return Public(label, area, name_algorithm, Attribute(bits), policy, symmetric, symmetric_bits, scheme, scheme_hash, key)


def _tpm2b(reader: Reader, field: str) -> bytes:
    size = reader.uint_be(2, f"size of {field}")
    return reader.bytes(size if size <= _MAX else reader.remaining + 1, field)


def _symmetric(reader: Reader) -> tuple[int, int]:
    where = reader.where()
    algorithm = reader.uint_be(2, "symmetric")
    if algorithm == Algorithm.NULL:
        return algorithm, 0
    PUBLIC.require(algorithm == Algorithm.AES, where=where, found=name_of(algorithm), expected="null or aes")
    bits, mode = reader.uint_be(2, "symmetric keyBits"), reader.uint_be(2, "symmetric mode")
    PUBLIC.require(mode == Algorithm.CFB, where=where, found=name_of(mode), expected="cfb")
    return algorithm, bits


def _scheme(reader: Reader) -> tuple[int, int]:
    where = reader.where()
    scheme = reader.uint_be(2, "scheme")
    if scheme in (Algorithm.NULL, Algorithm.RSAES):
        return scheme, Algorithm.NULL
    PUBLIC.require(scheme in _WITH_HASH, where=where, found=name_of(scheme), expected="rsassa, rsapss, ecdsa, oaep, ecdh or null")
    return scheme, reader.uint_be(2, "scheme hash")


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    where = reader.where()
    bits, exponent = reader.uint_be(2, "keyBits"), reader.uint_be(4, "exponent") or _EXPONENT
    modulus = _tpm2b(reader, "modulus")
    number = int.from_bytes(modulus, "big")
    STRENGTH.require(bits >= 2048, where=where, found=f"RSA {bits}", expected="at least 2048 bits")
    STRENGTH.require(exponent == _EXPONENT, where=where, found=f"exponent {exponent}", expected=str(_EXPONENT))
    PUBLIC.require(
        len(modulus) * 8 == bits and number.bit_length() == bits and number % 2 == 1,
        where=where,
        found=f"a modulus of {number.bit_length()} bits in {len(modulus)} bytes",
        expected=f"an odd one of {bits} bits",
    )
    try:
        return rsa.RSAPublicNumbers(exponent, number).public_key()
    except ValueError as error:
        raise PUBLIC.failure(where=where, found=str(error), expected="an RSA key") from None


def _ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    where = reader.where()
    curve = _CURVES.get(number := reader.uint_be(2, "curveID"))
    if curve is None:
        raise STRENGTH.failure(where=where, found=f"curve 0x{number:04x}", expected="P-256 or P-384")
    kdf = reader.uint_be(2, "kdf")
    PUBLIC.require(kdf == Algorithm.NULL, where=where, found=f"kdf {name_of(kdf)}", expected="null")
    x, y = _tpm2b(reader, "x"), _tpm2b(reader, "y")
    try:
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve).public_key()
    except ValueError:
        raise PUBLIC.failure(where=where, found="no point of the curve", expected=f"a point on {curve.name}") from None
