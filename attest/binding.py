"""How a session's nonce, the recipient key and the device set get into the signed fields of reports.

Every field is length-prefixed and every use has its own domain name, so no two different inputs give the same digest by moving
bytes between fields. GPU evidence has one 32-byte field; a CPU report has 64 bytes and also covers the exact set of the other
devices, so a device cannot be swapped after the fact, nor taken from another guest's session. A TPM's quote has 32 bytes, because some
virtual TPMs take no more, and covers the set of accelerators: a CPU report covers the quote, and neither could be made first if each
covered the other. None of this proves that a GPU is physically attached to this guest (docs/limits.md, relay).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from attest.crypto import framed, sha256, sha384, sha512
from attest.recipient import Recipient


class Binding(StrEnum):
    """How the nonce in a report relates to the session. A closed list: an unknown name refuses the bundle."""

    ATTEST_1 = "attest/1"  # this module
    RAW_NONCE = "raw-nonce"  # the report carries the nonce as it is: shows freshness, binds no recipient, releases nothing


def device_field(nonce: bytes, recipient: Recipient) -> bytes:
    """What an accelerator's report must carry (32 bytes): SHA-256 over nonce and recipient."""
    return sha256(framed("attest-device/1", [nonce, recipient.canonical]))


def device_set(statements: Sequence[bytes]) -> bytes:
    """Digest of a set of devices (48 bytes): SHA-384 over their statements in ascending order; the empty set has one too."""
    return sha384(framed("attest-device-set/1", sorted(statements)))


def workload_field(nonce: bytes, recipient: Recipient, statements: Sequence[bytes]) -> bytes:
    """What a CPU TEE's report must carry (64 bytes): SHA-512 over nonce, recipient and the set of all other devices."""
    return sha512(framed("attest-workload/1", [nonce, recipient.canonical, device_set(statements)]))


def boot_field(nonce: bytes, recipient: Recipient, statements: Sequence[bytes]) -> bytes:
    """What a TPM's quote must carry as extraData (32 bytes): SHA-256 over nonce, recipient and the set of all accelerators."""
    return sha256(framed("attest-boot/1", [nonce, recipient.canonical, device_set(statements)]))
