"""TPM2_MakeCredential without a TPM: a secret that only one TPM can open, and only while it holds one certain key.

TPM 2.0 Library part 1, section 24 (credential protection), 11.4.10 (KDFa, KDFe) and annexes B.10.3 (OAEP) and C.6.1 (ECDH). What comes back
from TPM2_ActivateCredential shows that endorsement key and attestation key are in the same TPM.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from attest.checks import Check
from attest.kinds.tpm.algorithm import BANKS, SIZES, Algorithm, digest, name_of
from attest.kinds.tpm.identity import require_attributes
from attest.kinds.tpm.public import Attribute, Public

EK_ATTRIBUTES: Final = Check(
    "tpm.ek-attributes",
    "endorsement key that opens credentials for its TPM alone",
    "TCG EK Credential Profile 2.5, section B.3",
    fix="use the endorsement key of the TCG's template: tpm2_createek",
)
SECRET_BYTES: Final = 32
_MAGIC: Final = (0xBADCC0DE).to_bytes(4, "big") + (1).to_bytes(4, "big")  # header of tpm2-tools' credential files
_LABEL: Final = b"IDENTITY\0"
_REQUIRED: Final = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN | Attribute.RESTRICTED | Attribute.DECRYPT
_HASHES: Final[dict[int, hashes.HashAlgorithm]] = {Algorithm.SHA256: hashes.SHA256(), Algorithm.SHA384: hashes.SHA384()}


def make_credential(ek: Public, ak_name: bytes, secret: bytes, seed: bytes) -> bytes:
    """The credential file that ``tpm2_activatecredential`` reads.

    ek       endorsement key, whose certificate the caller verified
    ak_name  Name of the attestation key that the TPM must hold
    secret   what the TPM gives back, at most as long as the key's name digest; fresh and random
    seed     fresh and random, of the size of the key's name digest; used for an RSA key only

    Raises the failure of ``tpm.ek-attributes``.
    """
    require_attributes(ek, EK_ATTRIBUTES, _REQUIRED, Attribute.SIGN)
    EK_ATTRIBUTES.require(
        ek.name_algorithm in _HASHES and ek.symmetric == Algorithm.AES,
        where=ek.label,
        found=f"{name_of(ek.name_algorithm)} and {name_of(ek.symmetric)}",
        expected="sha256 or sha384, and aes",
    )
    size = SIZES[Algorithm(ek.name_algorithm)]
    if not len(secret) <= size == len(seed):
        raise ValueError("size of secret or seed")
    if isinstance(ek.key, rsa.RSAPublicKey):
        algorithm = _HASHES[ek.name_algorithm]
        encrypted = ek.key.encrypt(seed, padding.OAEP(padding.MGF1(algorithm), algorithm, _LABEL))
    else:
        seed, encrypted = _agree(ek, ek.key)
    key = kdfa(ek.name_algorithm, seed, b"STORAGE", ak_name, ek.symmetric_bits)
    stream = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    identity = stream.update(_sized(secret)) + stream.finalize()
    mac = hmac.new(
        kdfa(ek.name_algorithm, seed, b"INTEGRITY", b"", 8 * size), identity + ak_name, BANKS[Algorithm(ek.name_algorithm)].value
    )
    return _MAGIC + _sized(_sized(mac.digest()) + identity) + _sized(encrypted)


def kdfa(algorithm: int, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa (SP 800-108 in counter mode with HMAC): ``bits`` bits; ``label`` without its NUL, ``context`` is contextU, contextV is empty."""
    name = BANKS[Algorithm(algorithm)].value
    out = b""
    counter = 0
    while 8 * len(out) < bits:
        counter += 1
        out += hmac.new(key, counter.to_bytes(4, "big") + label + b"\0" + context + bits.to_bytes(4, "big"), name).digest()
    return out[: bits // 8]


def _agree(ek: Public, key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    """KDFe over a one-pass ECDH with a new key: the seed, and the TPM2B_ECC_POINT that lets the TPM do the same."""
    width = (key.key_size + 7) // 8
    private = ec.generate_private_key(key.curve)
    shared = private.exchange(ec.ECDH(), key)
    numbers, other = private.public_key().public_numbers(), key.public_numbers()
    x, y = numbers.x.to_bytes(width, "big"), numbers.y.to_bytes(width, "big")
    # One block is enough: the seed is as long as the digest (SP 800-56A, concatenation KDF).
    seed = digest(ek.name_algorithm, (1).to_bytes(4, "big") + shared + _LABEL + x + other.x.to_bytes(width, "big"))
    return seed, _sized(x) + _sized(y)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
