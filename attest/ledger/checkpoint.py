"""Checkpoints (C2SP tlog-checkpoint): a signed note that says how many entries a log has and what their root is."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest import limits
from attest.checks import Check
from attest.ledger.checks import (
    CHECKPOINT_EXTENSION,
    CHECKPOINT_FORM,
    CHECKPOINT_ORIGIN,
    CHECKPOINT_ROOT,
    CHECKPOINT_SIZE,
    OTHER_LOG,
    ROLLBACK,
    SPLIT_VIEW,
)
from attest.ledger.merkle import HASH_BYTES, verify_consistency
from attest.ledger.note import SigningKey, VerifierKey, base64_field, verify_note

_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z", re.ASCII)


def decimal(text: str, check: Check, *, where: str) -> int:
    """A decimal number without sign and leading zeros, at most 2**63-1. Raises ``check``'s failure."""
    check.require(bool(_DECIMAL.match(text)), found=repr(text[:24]), expected="a decimal number without leading zeros", where=where)
    check.require(int(text) <= limits.MAX_TREE_SIZE, found=text, expected=f"at most {limits.MAX_TREE_SIZE}", where=where)
    return int(text)


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a checkpoint says: the log's origin, its number of entries, and the root over them (32 bytes). Untrusted on its own."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> TreeHead:
        """Read the text of the note: origin, size, root, one line each.

        Raises the failure of ``ledger.checkpoint-form``, ``-size``, ``-root`` or ``-extension``.
        """
        lines = text.split("\n")
        CHECKPOINT_FORM.require(
            len(lines) >= 4 and lines[-1] == "" and all(lines[:-1]),
            found=f"{len(lines) - 1} lines",
            expected="three lines: origin, tree size, root hash",
        )
        size = decimal(lines[1], CHECKPOINT_SIZE, where="line 2")
        root = base64_field(lines[2], CHECKPOINT_ROOT, where="line 3", size=HASH_BYTES)
        CHECKPOINT_EXTENSION.require(len(lines) == 4, found=repr(lines[3][:64]), expected="three lines", where="line 4")
        return cls(lines[0], size, root)

    def to_text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class VerifiedCheckpoint:
    """A tree head that the log's key signed; ``note`` is the signed note as received. Made by :func:`verify_checkpoint`."""

    head: TreeHead
    note: bytes

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.head.origin

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.head.size

    @property
    def root(self) -> bytes:
        """Root over the entries, 32 bytes."""
        return self.head.root


def verify_checkpoint(note: bytes, *, key: VerifierKey) -> VerifiedCheckpoint:
    """Check the note's signature by the log's ``key``, then read it.

    The origin must be the key's name: tlog-checkpoint recommends it, and without it a key that signs for two logs could pass one
    off as the other. Raises the failures of :func:`attest.ledger.note.verify_note`, of :meth:`TreeHead.parse`, or of
    ``ledger.checkpoint-origin``.
    """
    head = TreeHead.parse(verify_note(note, (key,)))
    CHECKPOINT_ORIGIN.require(head.origin == key.name, found=repr(head.origin[:64]), expected=repr(key.name))
    return VerifiedCheckpoint(head, note)


def sign_checkpoint(head: TreeHead, key: SigningKey) -> bytes:
    """The signed note of ``head``. The caller answers for never signing two roots of one size."""
    if head.origin != key.verifier.name:
        raise AssertionError("a log signs under its own origin only")
    return key.sign_note(head.to_text())


def verify_not_older(seen: VerifiedCheckpoint, newer: VerifiedCheckpoint) -> None:
    """Refuse a checkpoint of another log, one smaller than the last one seen, or another root for the same size.

    Raises the failure of ``ledger.other-log``, ``ledger.rollback`` or ``ledger.split-view``.
    """
    OTHER_LOG.require(seen.origin == newer.origin, found=repr(newer.origin), expected=repr(seen.origin))
    ROLLBACK.require(newer.size >= seen.size, found=f"tree size {newer.size}", expected=f"at least {seen.size}, which was seen before")
    SPLIT_VIEW.require(
        newer.size > seen.size or newer.root == seen.root,
        found=f"root {newer.root.hex()}",
        expected=f"root {seen.root.hex()}, seen before",
        where=f"tree size {seen.size}",
    )


def verify_extends(seen: VerifiedCheckpoint, newer: VerifiedCheckpoint, proof: Sequence[bytes]) -> None:
    """Check that the log only grew between two of its checkpoints: ``proof`` is the consistency proof from the seen one to the newer.

    Raises the failures of :func:`verify_not_older` and of :func:`attest.ledger.merkle.verify_consistency`.
    """
    verify_not_older(seen, newer)
    verify_consistency(seen.size, seen.root, newer.size, newer.root, proof)
