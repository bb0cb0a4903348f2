"""Check a whole log: every entry, every tile, every partial tile, the root and the signature. Reads only, needs no private key."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec

from attest import limits
from attest.errors import AttestError, Reason, error_for
from attest.ledger.checkpoint import VerifiedCheckpoint, verify_checkpoint, verify_not_older
from attest.ledger.checks import CHECKPOINT_MISSING, ROLLBACK, TILE_HASH, TREE_ROOT
from attest.ledger.edge import peaks_of, root_of
from attest.ledger.files import read_file
from attest.ledger.merkle import HASH_BYTES, leaf_hash, tree_root
from attest.ledger.note import VerifierKey
from attest.ledger.tiles import HEIGHT, MAX_BUNDLE_BYTES, MAX_TILE_BYTES, WIDTH, Tile, TileTree, encode_entry, hashes_of, read_from

P = ParamSpec("P")

MAX_REASONS: Final = 100
"""Of a log with more faults than this, the first ones are reported."""


@dataclass(frozen=True, slots=True)
class LogReport:
    """A log in which everything is as it should be.

    ``checkpoint`` is what it was checked against; ``tiles`` and ``bundles`` are how many of its files were checked, ``superseded`` how
    many partial ones of earlier sizes; ``ahead`` are files behind the checkpoint: an append that is under way, or one that was cut off
    and that the next open will finish.
    """

    checkpoint: VerifiedCheckpoint
    tiles: int
    bundles: int
    superseded: int
    ahead: tuple[str, ...]


def fsck(folder: Path, *, vkey: str) -> LogReport:
    """Check the log in ``folder`` (the one with ``checkpoint`` and ``tile``) against its verifier key.

    Every hash is computed again from the entries. May run while the log is written to. Raises an AttestError with one reason for each
    fault: codes of the checkpoint, ``ledger.tile-...``, ``ledger.bundle-...``, ``ledger.tree-root``, and ``ledger.rollback`` when there
    are entries behind the checkpoint that no append under way explains.
    """
    key = VerifierKey.parse(vkey)
    checkpoint = _checkpoint(folder, key)
    inspection = _Inspection(folder, checkpoint)
    inspection.levels()
    inspection.root()
    paths = _tile_paths(folder)
    newest = _checkpoint(folder, key)  # after the listing: whatever is in it is at most one append behind this checkpoint
    verify_not_older(checkpoint, newest)
    inspection.stray_files(paths, newest.size)
    inspection.close()
    return LogReport(checkpoint, inspection.tiles, inspection.bundles, inspection.superseded, tuple(inspection.ahead))


def _checkpoint(folder: Path, key: VerifierKey) -> VerifiedCheckpoint:
    note = read_file(folder / "checkpoint", limits.MAX_CHECKPOINT_BYTES)
    if note is None:
        raise CHECKPOINT_MISSING.failure(found="no checkpoint", expected="checkpoint", where=str(folder))
    return verify_checkpoint(note, key=key)


def _tile_paths(folder: Path) -> list[str]:
    """Every file below ``tile``, relative to the log's folder, sorted."""
    found = [Path(directory) / name for directory, _, names in os.walk(folder / "tile") for name in names]
    return sorted(path.relative_to(folder).as_posix() for path in found)


class _Inspection:
    """One pass over a log's files. Collects the faults, and counts what was looked at."""

    def __init__(self, folder: Path, checkpoint: VerifiedCheckpoint) -> None:
        self._folder: Final = folder
        self._checkpoint: Final = checkpoint
        self._read: Final = read_from(folder)
        self._tree: Final = TileTree(self._read, checkpoint.size)
        self._reasons: Final[list[Reason]] = []
        self._partial: Final[list[bytes]] = []
        self.ahead: Final[list[str]] = []
        self.tiles = self.bundles = self.superseded = 0

    def _attempt(self, read: Callable[P, bytes], *args: P.args, **kwargs: P.kwargs) -> bytes | None:
        try:
            return read(*args, **kwargs)
        except AttestError as error:
            self._fault(*error.reasons)
            return None

    def _fault(self, *reasons: Reason) -> None:
        """Keep a fault, and stop at the last one that is reported: a signed size can promise more entries than anybody can count."""
        self._reasons.extend(reasons)
        if len(self._reasons) >= MAX_REASONS:
            self.close()

    def close(self) -> None:
        """Raise when there was any fault."""
        if self._reasons:
            raise error_for(*self._reasons[:MAX_REASONS])

    def levels(self) -> None:
        """Every level from the entries up. Raises at the end of a level that cannot be read: those above would follow from nothing."""
        level, rows = 0, self._leaf_rows()
        while self._tree.size >> HEIGHT * level:
            hashes = b"".join(self._level(level, rows))
            if len(hashes) != (self._tree.size >> HEIGHT * (level + 1)) * HASH_BYTES:
                self.close()
            level += 1
            rows = (hashes[i : i + MAX_TILE_BYTES] for i in range(0, len(hashes), MAX_TILE_BYTES))

    def _leaf_rows(self) -> Iterator[bytes | None]:
        for number in range(-(-self._tree.size // WIDTH)):
            self.bundles += 1
            yield self._attempt(self._leaf_row, number)

    def _leaf_row(self, number: int) -> bytes:
        return b"".join(map(leaf_hash, self._tree.bundle(number)))

    def _level(self, level: int, rows: Iterable[bytes | None]) -> Iterator[bytes]:
        """Compare computed rows with the stored tiles; yield the hashes that the full ones give to the level above."""
        partial = b""
        for number, computed in enumerate(rows):
            self.tiles += 1
            stored = self._attempt(self._tree.tile, level, number)
            if computed is not None and stored is not None and computed != stored:
                self._differs(Tile(level, number, self._tree.width(level, number)), computed, stored)
            row = stored if computed is None else computed
            if row is not None and len(row) == MAX_TILE_BYTES:
                yield tree_root(hashes_of(row))
            elif row is not None:
                partial = row
        self._partial.append(partial)

    def _differs(self, tile: Tile, computed: bytes, stored: bytes) -> None:
        place, (left, right) = next(
            (place, pair) for place, pair in enumerate(zip(hashes_of(stored), hashes_of(computed), strict=True)) if pair[0] != pair[1]
        )
        self._fault(TILE_HASH.reason(found=left.hex(), expected=right.hex(), where=f"{tile.path}, hash {place}"))

    def root(self) -> None:
        """The root that the entries have must be the signed one."""
        root = root_of(peaks_of(self._partial))
        if root != self._checkpoint.root:
            self._fault(TREE_ROOT.reason(found=root.hex(), expected=self._checkpoint.root.hex(), where="checkpoint"))

    def stray_files(self, paths: Iterable[str], newest: int) -> None:
        """Every other file: a partial tile of an earlier size, an append under way, or a fault."""
        under_way = TileTree(self._read, newest + 1)
        for path in paths:
            try:
                tile = Tile.parse(path)
            except AttestError as error:
                self._fault(*error.reasons)
                continue
            width = self._tree.width(tile.level or 0, tile.number)
            if tile.width < width:
                self._superseded(tile)
            elif tile.width > under_way.width(tile.level or 0, tile.number):
                expected = f"one above tree size {newest}"
                self._fault(ROLLBACK.reason(found=f"the checkpoint of tree size {newest}", expected=expected, where=path))
            elif tile.width > width:
                self.ahead.append(path)

    def _superseded(self, tile: Tile) -> None:
        """A partial tile or bundle of an earlier size must be the beginning of the one of today."""
        data = self._read(tile.path, MAX_TILE_BYTES if tile.level is not None else MAX_BUNDLE_BYTES)
        if data is None:
            return  # the writer removed it just now
        self.superseded += 1
        expected = self._attempt(self._beginning, tile)
        if expected is not None and data != expected:
            self._fault(TILE_HASH.reason(found="other content", expected="the beginning of the newest tile", where=tile.path))

    def _beginning(self, tile: Tile) -> bytes:
        if tile.level is not None:
            return self._tree.tile(tile.level, tile.number)[: tile.width * HASH_BYTES]
        return b"".join(map(encode_entry, self._tree.bundle(tile.number)[: tile.width]))
