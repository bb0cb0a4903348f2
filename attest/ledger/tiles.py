"""Tiles (C2SP tlog-tiles): how a log's hashes and entries lie in files, and how proofs are read out of them.

A tile holds up to 256 consecutive subtree hashes of one level, 32 bytes each; level L's hashes are over 256**L entries. An entry
bundle holds the entries of a level 0 tile, each behind its length as u16 big-endian. Files are read through a function, so a log may
lie in a folder, in an archive or behind a web server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attest import limits
from attest.errors import MalformedError
from attest.ledger.checks import BUNDLE_TRAILING, BUNDLE_TRUNCATED, TILE_MISSING, TILE_PATH, TILE_SIZE
from attest.ledger.files import read_file
from attest.ledger.merkle import EMPTY_ROOT, HASH_BYTES, consistency_path, inclusion_path, split, tree_root
from attest.wire import Reader

WIDTH: Final = 256
"""Hashes in a full tile, entries in a full bundle."""

HEIGHT: Final = 8
"""Tree levels that one tile level spans."""

MAX_LEVEL: Final = 63
MAX_TILE_BYTES: Final = WIDTH * HASH_BYTES
MAX_BUNDLE_BYTES: Final = WIDTH * (2 + limits.MAX_ENTRY_BYTES)

_PATH: Final = re.compile(r"tile/(0|[1-9]\d?|entries)/((?:x\d{3}/){0,6}\d{3})(?:\.p/([1-9]\d{0,2}))?\Z", re.ASCII)

Read = Callable[[str, int], bytes | None]
"""Reads a file of the log: path relative to the log's folder and the most bytes it may have; None when there is no such file."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Name of a tile, or of an entry bundle when ``level`` is None: its number in its level, and how many hashes or entries it has."""

    level: int | None
    number: int
    width: int = WIDTH

    @property
    def full(self) -> bool:
        """Whether nothing can be added to it."""
        return self.width == WIDTH

    @property
    def path(self) -> str:
        """``tile/<level>/<number>[.p/<width>]``; the number in groups of three digits, all but the last behind an x."""
        digits = str(self.number)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{number}" + ("" if self.full else f".p/{self.width}")

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Read a path. Raises the failure of ``ledger.tile-path`` for anything but the one right spelling."""
        match = _PATH.match(path)
        TILE_PATH.require(match is not None, found=repr(path[:96]), expected="tile/<level>/<number>[.p/<width>]")
        if match is None:  # unreachable: says so to the type checker
            raise AssertionError
        level = None if match[1] == "entries" else int(match[1])
        tile = cls(level, int(match[2].replace("x", "").replace("/", "")), int(match[3] or WIDTH))
        TILE_PATH.require(
            tile.path == path and (level or 0) <= MAX_LEVEL and (match[3] is None or tile.width < WIDTH),
            found=repr(path[:96]),
            expected="level 0..63, width 1..255, no surplus zeros",
        )
        return tile


def read_from(folder: Path) -> Read:
    """Reads a log that lies in ``folder`` (the one with ``checkpoint`` and ``tile``)."""

    def read(path: str, limit: int) -> bytes | None:
        return read_file(folder / path, limit)

    return read


# -- bundles --------------------------------------------------------------------------------------------------------------


def encode_entry(entry: bytes) -> bytes:
    """An entry as it stands in a bundle: length as u16 big-endian, then the bytes."""
    return len(entry).to_bytes(2, "big") + entry


def parse_bundle(data: bytes, count: int, where: str) -> tuple[bytes, ...]:
    """The ``count`` entries of a bundle. Raises the failure of ``ledger.bundle-truncated`` or ``-trailing``."""
    reader = Reader(data, where)
    try:
        entries = tuple(reader.bytes(reader.uint_be(2, "length"), "entry") for _ in range(count))
    except MalformedError:
        raise BUNDLE_TRUNCATED.failure(found=f"{len(data)} bytes", expected=f"{count} whole entries", where=reader.where()) from None
    BUNDLE_TRAILING.require(reader.remaining == 0, found=f"{reader.remaining} bytes", expected="none", where=reader.where())
    return entries


# -- reading --------------------------------------------------------------------------------------------------------------


class TileTree:
    """A stored tree of ``size`` leaves. What it reads is untrusted until a proof or root made from it is checked against a checkpoint."""

    def __init__(self, read: Read, size: int) -> None:
        self._read: Final = read
        self.size: Final = size
        self._kept: Final[dict[tuple[int, int], bytes]] = {}

    def width(self, level: int, number: int) -> int:
        """Number of hashes that the tile has in a tree of this size; 0 when there is no such tile."""
        return max(0, min(WIDTH, (self.size >> HEIGHT * level) - number * WIDTH))

    def _file(self, tile: Tile, limit: int) -> tuple[Tile, bytes]:
        # A partial tile may be gone as soon as the full one is there (tlog-tiles, Partial Tiles).
        for name in (tile,) if tile.full else (tile, Tile(tile.level, tile.number)):
            data = self._read(name.path, limit)
            if data is not None:
                return name, data
        raise TILE_MISSING.failure(found="no such file", expected=tile.path)

    def tile(self, level: int, number: int) -> bytes:
        """The tile's hashes, concatenated. Raises the failure of ``ledger.tile-missing`` or ``ledger.tile-size``."""
        wanted = self.width(level, number)
        if wanted == 0:
            raise TILE_MISSING.failure(found=f"a tree of size {self.size}", expected=Tile(level, number).path)
        name, data = self._file(Tile(level, number, wanted), MAX_TILE_BYTES)
        TILE_SIZE.require(
            len(data) == name.width * HASH_BYTES, found=f"{len(data)} bytes", expected=f"{name.width * HASH_BYTES} bytes", where=name.path
        )
        return data[: wanted * HASH_BYTES]

    def bundle(self, number: int) -> tuple[bytes, ...]:
        """The bundle's entries. Raises the failure of ``ledger.tile-missing``, ``ledger.bundle-truncated`` or ``-trailing``."""
        wanted = self.width(0, number)
        if wanted == 0:
            raise TILE_MISSING.failure(found=f"a tree of size {self.size}", expected=Tile(None, number).path)
        name, data = self._file(Tile(None, number, wanted), MAX_BUNDLE_BYTES)
        return parse_bundle(data, name.width, name.path)[:wanted]

    def entry(self, index: int) -> bytes:
        """One entry."""
        return self.bundle(index // WIDTH)[index % WIDTH]

    def leaf(self, index: int) -> bytes:
        """The leaf hash of one entry, as the level 0 tile states it."""
        start = index % WIDTH * HASH_BYTES
        return self.tile(0, index // WIDTH)[start : start + HASH_BYTES]

    def subtree(self, start: int, end: int) -> bytes:
        """Hash over leaves ``start`` to ``end``: a subtree of this tree, complete or at its right edge."""
        size = end - start
        if size & (size - 1):
            middle = start + split(size)
            return tree_root((self.subtree(start, middle), self.subtree(middle, end)))
        level, height = divmod(size.bit_length() - 1, HEIGHT)
        first = start >> HEIGHT * level
        key = level, first // WIDTH
        if key not in self._kept:
            self._kept[key] = self.tile(*key)
        offset = first % WIDTH * HASH_BYTES
        return tree_root(hashes_of(self._kept[key][offset : offset + (HASH_BYTES << height)]))

    def root(self) -> bytes:
        """Root of the tree."""
        return self.subtree(0, self.size) if self.size else EMPTY_ROOT

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """Inclusion proof of leaf ``index``, its sibling first."""
        return self._hashes(inclusion_path(index, self.size))

    def consistency(self, old: int) -> tuple[bytes, ...]:
        """Consistency proof from the tree of size ``old`` to this one."""
        return self._hashes(consistency_path(old, self.size))

    def _hashes(self, ranges: Iterable[tuple[int, int]]) -> tuple[bytes, ...]:
        return tuple(self.subtree(start, end) for start, end in ranges)


def hashes_of(data: bytes) -> list[bytes]:
    """A tile's content as single hashes."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]
