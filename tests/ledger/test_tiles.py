"""Tiles: paths, sizes, and the tree that is read out of them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import limits
from attest.ledger.edge import RightEdge
from attest.ledger.merkle import EMPTY_ROOT, consistency_path, inclusion_path, leaf_hash, tree_root, verify_consistency, verify_inclusion
from attest.ledger.tiles import Tile, TileTree, encode_entry, parse_bundle

CodeOf = Callable[[Callable[[], object]], str]

# -- paths -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(1, 999, 255), "tile/1/999.p/255"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(63, 1234067), "tile/63/x001/x234/067"),  # the example of tlog-tiles
        (Tile(None, 1234067, 8), "tile/entries/x001/x234/067.p/8"),
        (Tile(None, 7), "tile/entries/007"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/000/", "/tile/0/000",
        "tile/0/x000/001", "tile/0/001/x001", "tile/0/x001", "tile/0/001/002", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/000.p/257", "tile/0/000.p/999",
        "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/000.p/1/", "tile/0/000.p/1 ", "tile/entry/000",
        "tile/0/\u0660\u0660\u0660", "tile/0/000\n", "checkpoint", "", "tile/0/" + "x001/" * 7 + "001", "tile/0/../0/000",
    ],
)  # fmt: skip
def test_refused_paths(path: str, code_of: CodeOf) -> None:
    assert code_of(lambda: Tile.parse(path)) == "ledger.tile-path"


@given(level=st.none() | st.integers(0, 63), number=st.integers(0, 2**55), width=st.integers(1, 256))
def test_paths_read_back(level: int | None, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert Tile.parse(tile.path) == tile


# -- bundles -----------------------------------------------------------------------------------------------------------------


def test_a_bundle_is_u16_big_endian_lengths() -> None:
    assert encode_entry(b"") == b"\0\0"
    assert encode_entry(bytes(limits.MAX_ENTRY_BYTES))[:2] == b"\xff\xff"
    assert parse_bundle(b"\0\x03one\0\x00\0\x01x", 3, "bundle") == (b"one", b"", b"x")


@pytest.mark.parametrize(
    ("data", "count", "code"),
    [
        (b"\0\x03one", 2, "ledger.bundle-truncated"),
        (b"\0\x03on", 1, "ledger.bundle-truncated"),
        (b"\0", 1, "ledger.bundle-truncated"),
        (b"", 1, "ledger.bundle-truncated"),
        (b"\0\x03one\0", 1, "ledger.bundle-trailing"),
        (b"\0\x03one\0\x03two", 1, "ledger.bundle-trailing"),
        (b"\x03\0one", 1, "ledger.bundle-truncated"),  # little-endian
    ],
)
def test_refused_bundles(data: bytes, count: int, code: str, code_of: CodeOf) -> None:
    assert code_of(lambda: parse_bundle(data, count, "bundle")) == code


# -- trees -------------------------------------------------------------------------------------------------------------------

COUNT = 70_000
LEAVES = [struct.pack(">I", index) * 8 for index in range(COUNT)]  # leaf hashes may be any 32 bytes


def stored(size: int) -> dict[str, bytes]:
    """The tiles of a tree straight from the definition in tlog-tiles: MTH(D[(n*256+i) * 256**l : (n*256+i+1) * 256**l])."""
    files, row, level = {}, LEAVES[:size], 0
    while row:
        for start in range(0, len(row), 256):
            part = row[start : start + 256]
            files[Tile(level, start // 256, len(part)).path] = b"".join(part)
        row = [tree_root(row[start : start + 256]) for start in range(0, len(row) - 255, 256)]
        level += 1
    return files


def tree(size: int, files: dict[str, bytes] | None = None) -> TileTree:
    files = stored(size) if files is None else files
    return TileTree(lambda path, _limit: files.get(path), size)


def test_the_example_of_the_specification() -> None:
    """tlog-tiles, Partial Tiles: what a tree of 70,000 consists of."""
    files = stored(70_000)
    level = [[path for path in files if path.startswith(f"tile/{number}/")] for number in range(4)]
    assert [len(names) for names in level] == [274, 2, 1, 0]
    assert sorted(path for path in files if ".p/" in path) == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert sorted(stored(256)) == ["tile/0/000", "tile/1/000.p/1"]


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000])
def test_roots_and_edges(size: int) -> None:
    root = tree_root(LEAVES[:size])
    assert tree(size).root() == root
    edge = RightEdge.of(tree(size))
    assert (edge.size, edge.root) == (size, root)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, COUNT), data=st.data())
def test_proofs_out_of_tiles(size: int, data: st.DataObject) -> None:
    files = stored(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    read = tree(size, files)
    root = tree_root(LEAVES[:size])
    proof = read.inclusion(index)
    assert proof == tuple(tree_root(LEAVES[start:end]) for start, end in inclusion_path(index, size))
    verify_inclusion(read.leaf(index), index, size, proof, root)
    proof = read.consistency(old)
    assert proof == tuple(tree_root(LEAVES[start:end]) for start, end in consistency_path(old, size))
    verify_consistency(old, tree_root(LEAVES[:old]), size, root, proof)


@pytest.mark.parametrize("start", [0, 250, 65_530])
def test_growing_an_edge_writes_the_tiles_of_the_definition(start: int) -> None:
    edge, files = RightEdge.of(tree(start)), stored(start)
    for size in range(start + 1, start + 20):
        proof = edge.next_proof
        edge, written = edge.append(LEAVES[size - 1])
        files |= {tile.path: data for tile, data in written}
        expected = stored(size)
        assert {path: files[path] for path in expected} == expected
        assert {tile.path for tile, _ in written} <= set(expected)
        assert edge == RightEdge.of(tree(size, expected))
        verify_inclusion(LEAVES[size - 1], size - 1, size, proof, edge.root)


def test_a_full_tile_stands_in_for_a_partial_one() -> None:
    """tlog-tiles, Partial Tiles: the partial one may be gone as soon as the full one is there."""
    files = stored(512)
    files |= stored(256)  # the tile above is still unfinished, so its partial ones are all there
    for size in range(257, 512):
        assert tree(size, files).root() == tree_root(LEAVES[:size])


@pytest.mark.parametrize(
    ("size", "path", "content", "code"),
    [
        (256, "tile/0/000", bytes(255 * 32), "ledger.tile-size"),
        (256, "tile/0/000", bytes(257 * 32), "ledger.tile-size"),
        (256, "tile/0/000", bytes(256 * 32 + 1), "ledger.tile-size"),
        (10, "tile/0/000.p/10", bytes(9 * 32), "ledger.tile-size"),
        (512, "tile/1/000.p/2", bytes(32), "ledger.tile-size"),
        (10, "tile/0/000.p/10", bytes(11 * 32), "ledger.tile-size"),
        (10, "tile/0/000.p/10", b"", "ledger.tile-size"),
        (10, "tile/0/000.p/10", None, "ledger.tile-missing"),
        (300, "tile/1/000.p/1", None, "ledger.tile-missing"),
    ],
)
def test_refused_tiles(size: int, path: str, content: bytes | None, code: str, code_of: CodeOf) -> None:
    files = stored(size)
    assert path in files
    del files[path]
    if content is not None:
        files[path] = content
    assert code_of(lambda: [tree(size, files).inclusion(index) for index in (0, size - 1)]) == code


def test_an_edge_is_read_from_whole_tiles(code_of: CodeOf) -> None:
    for content, code in [(bytes(9 * 32), "ledger.tile-size"), (bytes(11 * 32), "ledger.tile-size"), (None, "ledger.tile-missing")]:
        read = TileTree(lambda _path, _limit, content=content: content, 10)  # type: ignore[misc]
        assert code_of(lambda read=read: RightEdge.of(read)) == code  # type: ignore[misc]


def test_bundles_of_another_length_than_the_tile(code_of: CodeOf) -> None:
    three = b"".join(encode_entry(entry) for entry in (b"a", b"b", b"c"))
    for size, code in [(2, "ledger.bundle-trailing"), (4, "ledger.bundle-truncated")]:
        read = TileTree(lambda path, _limit: three if path.startswith("tile/entries/000.p/") else None, size)
        assert code_of(lambda read=read: read.bundle(0)) == code  # type: ignore[misc]
        assert code_of(lambda read=read: read.entry(1)) == code  # type: ignore[misc]


def test_what_a_tree_does_not_have(code_of: CodeOf) -> None:
    assert tree(0).root() == EMPTY_ROOT
    assert code_of(lambda: tree(10).tile(0, 1)) == "ledger.tile-missing"
    assert code_of(lambda: tree(10).bundle(1)) == "ledger.tile-missing"
    assert code_of(lambda: tree(10).inclusion(10)) == "ledger.inclusion-index"
    assert code_of(lambda: tree(10).consistency(11)) == "ledger.consistency-sizes"


def test_reads_are_bounded() -> None:
    """A reader is told how much it may read, before it reads."""
    asked: dict[str, int] = {}

    def read(path: str, limit: int) -> bytes | None:
        asked[path] = limit
        return None

    for call in (TileTree(read, 1).root, lambda: TileTree(read, 1).bundle(0)):
        with pytest.raises(Exception, match="failed"):
            call()
    assert asked["tile/0/000.p/1"] == 8192
    assert asked["tile/entries/000.p/1"] == 256 * 65_537


def test_leaf_hashes_are_of_entries() -> None:
    read = {"tile/0/000.p/1": leaf_hash(b"one"), "tile/entries/000.p/1": b"\0\x03one"}
    one = TileTree(lambda path, _limit: read.get(path), 1)
    assert leaf_hash(one.entry(0)) == one.leaf(0) == one.root()
