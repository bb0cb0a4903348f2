"""Receipts (C2SP tlog-proof): one file that shows, offline and for ever, that an entry stands in a log."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from attest import limits
from attest.errors import MalformedError
from attest.ledger.checkpoint import decimal, verify_checkpoint
from attest.ledger.checks import ENTRY_SIZE, RECEIPT_EXTRA, RECEIPT_FORM, RECEIPT_HASH, RECEIPT_INDEX
from attest.ledger.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from attest.ledger.note import VerifierKey, base64_field
from attest.wire import utf8

FORMAT: Final = "c2sp.org/tlog-proof@v1"
SUFFIX: Final = ".tlog-proof"
"""File name suffix of a receipt."""

_MAX_BYTES: Final = limits.MAX_CHECKPOINT_BYTES + 64 * (limits.MAX_PROOF_HASHES + 2)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an entry stands in a log, and the proof of it. Untrusted until :func:`verify_receipt`.

    ``index`` is zero-based; ``proof`` the inclusion proof, leaf's sibling first (32 bytes each); ``checkpoint`` the signed note.
    """

    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """The file form: format line, index line, one base64 line for each hash, a blank line, the checkpoint as it is."""
        hashes = "".join(base64.b64encode(item).decode() + "\n" for item in self.proof)
        return f"{FORMAT}\nindex {self.index}\n{hashes}\n".encode() + self.checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Read the file form; :meth:`to_bytes` gives the same bytes again.

        Raises the failure of ``ledger.receipt-form``, ``-extra``, ``-index`` or ``-hash``.
        """
        RECEIPT_FORM.require(len(data) <= _MAX_BYTES, found=f"{len(data)} bytes", expected=f"at most {_MAX_BYTES} bytes")
        top, blank, checkpoint = data.partition(b"\n\n")
        RECEIPT_FORM.require(bool(blank), found="no blank line", expected="a blank line before the checkpoint")
        try:
            lines = utf8(top, "receipt").split("\n")
        except MalformedError as error:
            raise RECEIPT_FORM.failure(found="bytes that are not UTF-8", expected="text", where=error.reasons[0].where) from None
        RECEIPT_FORM.require(lines[0] == FORMAT, found=repr(lines[0][:40]), expected=FORMAT, where="line 1")
        RECEIPT_EXTRA.require(not any(line.startswith("extra ") for line in lines), found="extra data", expected="none", where="line 2")
        RECEIPT_FORM.require(len(lines) > 1 and lines[1].startswith("index "), found="no index", expected="index <number>", where="line 2")
        index = decimal(lines[1].removeprefix("index "), RECEIPT_INDEX, where="line 2")
        RECEIPT_FORM.require(
            len(lines) - 2 <= limits.MAX_PROOF_HASHES, found=f"{len(lines) - 2} hashes", expected=f"at most {limits.MAX_PROOF_HASHES}"
        )
        proof = tuple(base64_field(line, RECEIPT_HASH, where=f"line {number}", size=HASH_BYTES) for number, line in enumerate(lines[2:], 3))
        return cls(index, proof, checkpoint)


@dataclass(frozen=True, slots=True)
class VerifiedEntry:
    """An entry that a log vouches for: where it stands, and the signed tree that it stands in. Made by :func:`verify_receipt`."""

    index: int
    leaf_hash: bytes
    origin: str
    size: int
    root: bytes


def verify_receipt(receipt: Receipt, entry: bytes, *, vkey: str) -> VerifiedEntry:
    """Check that the log of ``vkey`` (verifier key text) vouches for exactly these ``entry`` bytes.

    The hash is over the bytes as given: an entry that was parsed and written again is another entry. Steps: (1) the checkpoint is
    signed by the log's key and is the log's own; (2) the index lies in the tree; (3) the proof leads from the entry to the signed
    root. Raises an AttestError with the code of the check that failed.
    """
    ENTRY_SIZE.require(
        len(entry) <= limits.MAX_ENTRY_BYTES, found=f"{len(entry)} bytes", expected=f"at most {limits.MAX_ENTRY_BYTES} bytes"
    )
    checkpoint = verify_checkpoint(receipt.checkpoint, key=VerifierKey.parse(vkey))  # (1)
    leaf = leaf_hash(entry)
    verify_inclusion(leaf, receipt.index, checkpoint.size, receipt.proof, checkpoint.root)  # (2), (3)
    return VerifiedEntry(receipt.index, leaf, checkpoint.origin, checkpoint.size, checkpoint.root)
