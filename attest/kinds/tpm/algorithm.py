"""Algorithm identifiers of the TCG registry that a quote, a key or an event log can name (TPM 2.0 Library part 2, table TPM_ALG_ID)."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Final

from attest.evidence import ClaimEnum


class Algorithm(IntEnum):
    """TPM_ALG_ID. Those of weak or exotic hashes are known only so that refusals can name them."""

    RSA = 0x0001
    SHA1 = 0x0004
    AES = 0x0006
    KEYEDHASH = 0x0008
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    SM3_256 = 0x0012
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECC = 0x0023
    SYMCIPHER = 0x0025
    SHA3_256 = 0x0027
    SHA3_384 = 0x0028
    SHA3_512 = 0x0029
    CFB = 0x0043


class PcrBank(ClaimEnum):
    """Hash of the PCR bank that claims are taken from."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


SIZES: Final = {
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
    Algorithm.SHA384: 48,
    Algorithm.SHA512: 64,
    Algorithm.SM3_256: 32,
    Algorithm.SHA3_256: 32,
    Algorithm.SHA3_384: 48,
    Algorithm.SHA3_512: 64,
}
"""Digest size of each hash, in bytes."""

BANKS: Final = {Algorithm.SHA256: PcrBank.SHA256, Algorithm.SHA384: PcrBank.SHA384, Algorithm.SHA512: PcrBank.SHA512}
"""The hashes that are trusted: SHA-1 is not (NIST SP 800-131A rev 2), the others are in no TPM that was seen."""


def digest(algorithm: int, data: bytes) -> bytes:
    """``data`` under one of :data:`BANKS`. Raises KeyError for another algorithm: the caller has refused it before."""
    return hashlib.new(BANKS[Algorithm(algorithm)].value, data).digest()


def name_of(algorithm: int) -> str:
    """ "sha256", or "algorithm 0x0099": for messages."""
    try:
        return Algorithm(algorithm).name.lower()
    except ValueError:
        return f"algorithm 0x{algorithm:04x}"
