"""The right edge of a growing tree: all that is needed to add a leaf without reading the tree. O(log n) hashes and partial tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attest.ledger.merkle import EMPTY_ROOT, HASH_BYTES, node_hash, tree_root
from attest.ledger.tiles import HEIGHT, WIDTH, Tile, TileTree, hashes_of


def peaks_of(partial: Sequence[bytes]) -> tuple[bytes, ...]:
    """Hashes of the complete subtrees that a tree consists of, from the largest at the left to the smallest at the right.

    ``partial`` is the content of the unfinished tile of each level, level 0 first, b"" where a level has none.
    """
    peaks: list[bytes] = []
    for data in reversed(partial):
        row = hashes_of(data)
        for height in reversed(range(HEIGHT)):
            if len(row) >= 1 << height:
                peaks.append(tree_root(row[: 1 << height]))
                del row[: 1 << height]
    return tuple(peaks)


def root_of(peaks: Sequence[bytes]) -> bytes:
    """Root of the tree that consists of ``peaks``."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


@dataclass(frozen=True, slots=True)
class RightEdge:
    """A tree of ``size`` leaves as its writer keeps it; ``partial`` and ``peaks`` as in :func:`peaks_of`."""

    size: int
    partial: tuple[bytes, ...]
    peaks: tuple[bytes, ...]

    @classmethod
    def of(cls, tree: TileTree) -> RightEdge:
        """Read the edge of a stored tree: one tile of each level. Raises the failures of :meth:`TileTree.tile`."""
        partial: list[bytes] = []
        level = 0
        while tree.size >> HEIGHT * level:
            number, width = divmod(tree.size >> HEIGHT * level, WIDTH)
            partial.append(tree.tile(level, number) if width else b"")
            level += 1
        return cls(tree.size, tuple(partial), peaks_of(partial))

    @property
    def root(self) -> bytes:
        """Root of the tree."""
        return root_of(self.peaks)

    @property
    def next_proof(self) -> tuple[bytes, ...]:
        """Inclusion proof of the leaf that comes next, in the tree that it completes: the peaks, from right to left."""
        return self.peaks[::-1]

    def append(self, leaf: bytes) -> tuple[RightEdge, tuple[tuple[Tile, bytes], ...]]:
        """The edge with one more leaf hash, and the tiles that this writes, lowest level first."""
        peaks, merged = list(self.peaks), leaf
        for _ in range((~self.size & (self.size + 1)).bit_length() - 1):
            merged = node_hash(peaks.pop(), merged)
        peaks.append(merged)

        partial, written = list(self.partial), []
        addition, position = leaf, self.size
        for level in range(len(partial) + 1):
            number = position // WIDTH
            data = (partial[level] if level < len(partial) else b"") + addition
            written.append((Tile(level, number, len(data) // HASH_BYTES), data))
            partial[level : level + 1] = [b"" if len(data) == WIDTH * HASH_BYTES else data]
            if partial[level]:
                break
            # The tile is full: its root is the next hash of the level above.
            addition, position = tree_root(hashes_of(data)), number
        return RightEdge(self.size + 1, tuple(partial), tuple(peaks)), tuple(written)
