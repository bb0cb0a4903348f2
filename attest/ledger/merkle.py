"""Merkle tree hashes and proofs (RFC 6962 section 2.1, RFC 9162 section 2.1). Pure: hashes in, hashes out.

A subtree is written as the half-open range of leaf indices that it covers, ``(start, end)``. Proof generation says *which* subtrees
a proof consists of; whoever has the hashes (:mod:`attest.ledger.tiles`) looks them up. Hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attest.crypto import same, sha256
from attest.ledger.checks import (
    CONSISTENCY_LENGTH,
    CONSISTENCY_NEW_ROOT,
    CONSISTENCY_OLD_ROOT,
    CONSISTENCY_SIZES,
    INCLUSION_INDEX,
    INCLUSION_LENGTH,
    INCLUSION_ROOT,
)

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"")
"""Root of the tree without leaves (RFC 6962 section 2.1)."""

Range = tuple[int, int]


def leaf_hash(entry: bytes) -> bytes:
    """Hash of an entry as a leaf: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right)


def split(size: int) -> int:
    """The largest power of two smaller than ``size`` (RFC 6962's k); ``size`` is at least 2."""
    return 1 << (size - 1).bit_length() - 1


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """Root over consecutive subtree hashes of one height: over leaf hashes it is the tree's root."""
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        # An odd one out at the end moves up unchanged: the same tree as RFC 6962's recursive definition.
        above = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            above.append(row[-1])
        row = above
    return row[0]


# -- which subtrees a proof consists of -----------------------------------------------------------------------------------


def inclusion_path(index: int, size: int) -> tuple[Range, ...]:
    """Subtrees of the inclusion proof of leaf ``index`` in a tree of ``size`` leaves, the leaf's sibling first (RFC 6962 section 2.1.1).

    Raises the failure of ``ledger.inclusion-index`` unless 0 <= index < size.
    """
    _require_index(index, size)
    start, end = 0, size
    path: list[Range] = []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_path(old: int, new: int) -> tuple[Range, ...]:
    """Subtrees of the consistency proof between sizes ``old`` and ``new`` (RFC 6962 section 2.1.2).

    Empty when ``old`` is 0 or equal to ``new``. Raises the failure of ``ledger.consistency-sizes`` unless 0 <= old <= new.
    """
    _require_sizes(old, new)
    if old in (0, new):
        return ()
    start, end = 0, new
    path: list[Range] = []
    while end != old:
        middle = start + split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    if start != 0:
        # The old tree is not one complete subtree from the left: the verifier does not know this piece's hash.
        path.append((start, end))
    return tuple(reversed(path))


# -- verification ---------------------------------------------------------------------------------------------------------


def _require_index(index: int, size: int) -> None:
    INCLUSION_INDEX.require(0 <= index < size, found=f"index {index}", expected=f"an index below the tree size {size}")


def _require_sizes(old: int, new: int) -> None:
    CONSISTENCY_SIZES.require(
        0 <= old <= new, found=f"old size {old}, new size {new}", expected="an old size that is not above the new one"
    )


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` (a leaf hash) is leaf number ``index`` of the tree with ``size`` leaves and ``root``.

    RFC 9162 section 2.1.3.2. Raises the failure of ``ledger.inclusion-index``, ``-length`` or ``-root``.
    """
    _require_index(index, size)
    wanted = len(inclusion_path(index, size))
    INCLUSION_LENGTH.require(
        len(proof) == wanted and all(len(item) == HASH_BYTES for item in proof),
        found=f"{len(proof)} hashes",
        expected=f"{wanted} hashes of {HASH_BYTES} bytes",
    )
    # fn and sn are the RFC's: the node's number and the last one's, level by level. Once they are equal they stay so, and every
    # sibling from there on stands at the left. The RFC's inner loop skips levels then, to find the proof's end; its length is known here.
    fn, sn, computed = index, size - 1, leaf
    for sibling in proof:
        computed = node_hash(sibling, computed) if fn & 1 or fn == sn else node_hash(computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    INCLUSION_ROOT.require(same(computed, root), found=f"root {computed.hex()}", expected=f"root {root.hex()}")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (``new``, ``new_root``) begins with all leaves of the tree (``old``, ``old_root``), in order.

    RFC 9162 section 2.1.4.2; an old size of 0 needs no hashes, as in C2SP tlog-witness. Raises the failure of
    ``ledger.consistency-sizes``, ``-length``, ``-old-root`` or ``-new-root``.
    """
    _require_sizes(old, new)
    wanted = len(consistency_path(old, new))
    CONSISTENCY_LENGTH.require(
        len(proof) == wanted and all(len(item) == HASH_BYTES for item in proof),
        found=f"{len(proof)} hashes",
        expected=f"{wanted} hashes of {HASH_BYTES} bytes",
    )
    if old == 0:
        first, second = EMPTY_ROOT, new_root if new else EMPTY_ROOT
    else:
        first, second = _consistency_roots(old, old_root, new, proof)
    CONSISTENCY_OLD_ROOT.require(same(first, old_root), found=f"root {old_root.hex()}", expected=f"root {first.hex()}")
    CONSISTENCY_NEW_ROOT.require(same(second, new_root), found=f"root {new_root.hex()}", expected=f"root {second.hex()}")


def _consistency_roots(old: int, old_root: bytes, new: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The two roots that a proof of the right length leads to; ``old`` is at least 1."""
    if old == new:
        return old_root, old_root
    # A power of two is one complete subtree, whose hash is the old root itself and not part of the proof.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for item in path[1:]:
        if fn & 1 or fn == sn:
            first, second = node_hash(item, first), node_hash(item, second)
        else:
            second = node_hash(second, item)
        fn, sn = fn >> 1, sn >> 1
    return first, second
