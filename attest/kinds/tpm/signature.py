"""TPMT_SIGNATURE: its form, that it is of the scheme that the key is bound to, and that the key made it.

TPM 2.0 Library part 2, section 11.3.4. A restricted key has one scheme and one hash in its public area; the signature's own header is
never believed against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attest.checks import Check
from attest.crypto import verify_ecdsa, verify_rsa_pkcs1, verify_rsa_pss
from attest.errors import Outcome
from attest.kinds.tpm.algorithm import BANKS, Algorithm, name_of
from attest.kinds.tpm.public import Public
from attest.wire import Reader

_PART2: Final = "TPM 2.0 Library part 2, TPMT_SIGNATURE"

SIGNATURE_FORM: Final = Check(
    "tpm.signature-form",
    "form of the signature",
    _PART2,
    Outcome.MALFORMED,
    "send the TPMT_SIGNATURE that the TPM gave (tpm2_quote -f tss)",
)
SCHEME: Final = Check(
    "tpm.scheme",
    "signature scheme of the attestation key",
    _PART2 + "; TPMT_PUBLIC",
    fix="the signature must be of the one scheme and hash that the key's public area names",
)
DIGEST: Final = Check(
    "tpm.signature-hash",
    "hash of the signature",
    "NIST SP 800-131A rev 2",
    fix="create the attestation key with SHA-256, SHA-384 or SHA-512",
)
SIGNATURE: Final = Check(
    "tpm.signature",
    "signature of the quote",
    "TPM 2.0 Library part 3, TPM2_Quote",
    fix="the quote is altered, or another key signed it: collect quote, signature and key of one TPM",
)
SIGNATURE_CHECKS: Final = (SIGNATURE_FORM, SCHEME, DIGEST, SIGNATURE)

_MAX_RSA: Final = 512
_MAX_ECC: Final = 48


@dataclass(frozen=True, slots=True)
class Signature:
    """Scheme and hash as the header says, and one number (RSA) or r and s (ECDSA), big-endian."""

    scheme: int
    digest: int
    values: tuple[bytes, ...]


def parse_signature(data: bytes, name: str) -> Signature:
    """Read a TPMT_SIGNATURE. Raises MalformedError."""
    reader = Reader(data, name)
    where = reader.where()
    scheme, digest = reader.uint_be(2, "sigAlg"), reader.uint_be(2, "hash")
    SIGNATURE_FORM.require(
        scheme in (Algorithm.RSASSA, Algorithm.RSAPSS, Algorithm.ECDSA),
        where=where,
        found=name_of(scheme),
        expected="rsassa, rsapss or ecdsa",
    )
    most, count = (_MAX_ECC, 2) if scheme == Algorithm.ECDSA else (_MAX_RSA, 1)
    values = []
    for field in ("signatureR", "signatureS")[:count] if count == 2 else ("sig",):
        where = reader.where()
        size = reader.uint_be(2, f"size of {field}")
        SIGNATURE_FORM.require(0 < size <= most, where=where, found=f"{size} bytes", expected=f"1 to {most} bytes")
        values.append(reader.bytes(size, field))
    reader.end()
    return Signature(scheme, digest, tuple(values))


def verify_signature(signature: Signature, ak: Public, data: bytes, check: Check, name: str) -> None:
    """Verify ``signature`` by ``ak`` over ``data``. Raises a failure of ``tpm.scheme``, ``tpm.signature-hash`` or ``check``."""
    where = f"{name} offset 0x000"
    SCHEME.require(
        (signature.scheme, signature.digest) == (ak.scheme, ak.scheme_hash),
        where=where,
        found=f"{name_of(signature.scheme)} with {name_of(signature.digest)}",
        expected=f"{name_of(ak.scheme)} with {name_of(ak.scheme_hash)}, as the key's public area says",
    )
    DIGEST.require(signature.digest in BANKS, where=where, found=name_of(signature.digest), expected="sha256, sha384 or sha512")
    digest = BANKS[Algorithm(signature.digest)].value
    if signature.scheme == Algorithm.ECDSA:
        verify_ecdsa(ak.key, signature.values[0], signature.values[1], data, digest, check, where=where)
    elif signature.scheme == Algorithm.RSAPSS:
        verify_rsa_pss(ak.key, signature.values[0], data, digest, check, where=where)
    else:
        verify_rsa_pkcs1(ak.key, signature.values[0], data, digest, check, where=where)


def with_header(raw: bytes, ak: Public) -> bytes:
    """A TPMT_SIGNATURE around the bare RSA signature that some services send; the key's public area supplies scheme and hash."""
    return ak.scheme.to_bytes(2, "big") + ak.scheme_hash.to_bytes(2, "big") + len(raw).to_bytes(2, "big") + raw
