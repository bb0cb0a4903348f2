"""Merkle hashes and proofs, against a second definition written straight from RFC 6962 section 2.1."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestError
from attest.ledger import merkle

# -- RFC 6962 section 2.1, word for word, on lists of entries ----------------------------------------------------------------


def mth(entries: list[bytes]) -> bytes:
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = power_below(len(entries))
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, entries: list[bytes]) -> list[bytes]:
    if len(entries) == 1:
        return []
    k = power_below(len(entries))
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: list[bytes], *, known: bool) -> list[bytes]:
    if m == len(entries):
        return [] if known else [mth(entries)]
    k = power_below(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], known=known), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], known=False), mth(entries[:k])]


def sides(m: int, n: int) -> str:
    """On which side the sibling stands at each step of a path: what a verifier can see of index and size."""
    if n == 1:
        return ""
    k = power_below(n)
    return sides(m, k) + "R" if m < k else sides(m - k, n - k) + "L"


def entries_of(n: int) -> list[bytes]:
    return [f"entry {i}".encode() for i in range(n)]


def codes(call: Callable[[], object]) -> str:
    with pytest.raises(AttestError) as caught:
        call()
    return caught.value.code


def accepts(call: Callable[[], object]) -> bool:
    try:
        call()
    except AttestError:
        return False
    return True


# -- known answers -----------------------------------------------------------------------------------------------------------

# The leaves and roots that Certificate Transparency implementations share as test data.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_known_roots(size: int) -> None:
    assert merkle.tree_root([merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size]
    assert mth(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 31, 32, 33, 100, 200])
def test_roots_by_definition(size: int) -> None:
    entries = entries_of(size)
    assert merkle.tree_root([merkle.leaf_hash(entry) for entry in entries]) == mth(entries)


# -- proofs ------------------------------------------------------------------------------------------------------------------


def test_every_inclusion_path_is_the_rfcs() -> None:
    entries = entries_of(40)
    for size in range(1, 41):
        for index in range(size):
            ranges = merkle.inclusion_path(index, size)
            assert [mth(entries[start:end]) for start, end in ranges] == path(index, entries[:size])


def test_every_consistency_path_is_the_rfcs() -> None:
    entries = entries_of(40)
    for new in range(1, 41):
        for old in range(1, new):
            ranges = merkle.consistency_path(old, new)
            assert [mth(entries[start:end]) for start, end in ranges] == subproof(old, entries[:new], known=True)


def test_every_proof_of_small_trees_verifies() -> None:
    entries = entries_of(40)
    roots = [mth(entries[:size]) for size in range(41)]
    for new in range(1, 41):
        for index in range(new):
            merkle.verify_inclusion(merkle.leaf_hash(entries[index]), index, new, path(index, entries[:new]), roots[new])
        for old in range(new):
            proof = subproof(old, entries[:new], known=True) if old else []
            merkle.verify_consistency(old, roots[old], new, roots[new], proof)
        merkle.verify_consistency(new, roots[new], new, roots[new], [])


trees = st.integers(1, 200).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@settings(max_examples=150, deadline=None)
@given(tree=trees, bit=st.integers(0, 255), other=st.integers(0, 220))
def test_inclusion_holds_and_no_change_does(tree: tuple[int, int], bit: int, other: int) -> None:
    size, index = tree
    entries = entries_of(size)
    root, proof, leaf = mth(entries), path(index, entries), merkle.leaf_hash(entries[index])
    merkle.verify_inclusion(leaf, index, size, proof, root)
    assert codes(lambda: merkle.verify_inclusion(flip(leaf, bit), index, size, proof, root)) == "ledger.inclusion-root"
    assert codes(lambda: merkle.verify_inclusion(leaf, index, size, proof, flip(root, bit))) == "ledger.inclusion-root"
    for place in range(len(proof)):
        changed = [*proof[:place], flip(proof[place], bit), *proof[place + 1 :]]
        assert codes(lambda changed=changed: merkle.verify_inclusion(leaf, index, size, changed, root)) == "ledger.inclusion-root"  # type: ignore[misc]
    if other != index:
        assert not accepts(lambda: merkle.verify_inclusion(leaf, other, size, proof, root))
    # A path says on which side each sibling stands and no more; the size itself is vouched for by the checkpoint's signature.
    same_shape = index < other and sides(index, other) == sides(index, size)
    assert accepts(lambda: merkle.verify_inclusion(leaf, index, other, proof, root)) is same_shape


@settings(max_examples=150, deadline=None)
@given(tree=trees, bit=st.integers(0, 255), other=st.integers(0, 220))
def test_consistency_holds_and_no_change_does(tree: tuple[int, int], bit: int, other: int) -> None:
    new, old = tree[0], tree[1] + 1
    entries = entries_of(new)
    old_root, new_root, proof = mth(entries[:old]), mth(entries), subproof(old, entries, known=True)
    merkle.verify_consistency(old, old_root, new, new_root, proof)
    assert not accepts(lambda: merkle.verify_consistency(old, flip(old_root, bit), new, new_root, proof))
    assert codes(lambda: merkle.verify_consistency(old, old_root, new, flip(new_root, bit), proof)) == "ledger.consistency-new-root"
    for place in range(len(proof)):
        changed = [*proof[:place], flip(proof[place], bit), *proof[place + 1 :]]
        assert not accepts(lambda changed=changed: merkle.verify_consistency(old, old_root, new, new_root, changed))  # type: ignore[misc]
    if other != old:
        assert not accepts(lambda: merkle.verify_consistency(other, old_root, new, new_root, proof))


# -- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "size", "change", "code"),
    [
        (7, 7, "", "ledger.inclusion-index"),
        (0, 0, "", "ledger.inclusion-index"),
        (-1, 7, "", "ledger.inclusion-index"),
        (3, 7, "short", "ledger.inclusion-length"),
        (3, 7, "long", "ledger.inclusion-length"),
        (3, 7, "31 bytes", "ledger.inclusion-length"),
        (3, 7, "reversed", "ledger.inclusion-root"),
        (0, 1, "long", "ledger.inclusion-length"),
    ],
)
def test_wrong_inclusion_proofs(index: int, size: int, change: str, code: str) -> None:
    entries = entries_of(7)
    proof = path(min(max(index, 0), 6), entries[:size] or entries)
    proof = {
        "short": proof[:-1],
        "long": [*proof, bytes(32)],
        "31 bytes": [proof[0][:31], *proof[1:]] if proof else [],
        "reversed": proof[::-1],
    }.get(change, proof)
    leaf = merkle.leaf_hash(entries[index % 7])
    assert codes(lambda: merkle.verify_inclusion(leaf, index, size, proof, mth(entries[:size]))) == code


@pytest.mark.parametrize(
    ("old", "new", "change", "code"),
    [
        (5, 4, "", "ledger.consistency-sizes"),
        (-1, 4, "", "ledger.consistency-sizes"),
        (3, 7, "short", "ledger.consistency-length"),
        (3, 7, "long", "ledger.consistency-length"),
        (3, 7, "empty", "ledger.consistency-length"),
        (3, 7, "31 bytes", "ledger.consistency-length"),
        (3, 7, "reversed", "ledger.consistency-old-root"),
        (0, 7, "long", "ledger.consistency-length"),
        (7, 7, "long", "ledger.consistency-length"),
    ],
)
def test_wrong_consistency_proofs(old: int, new: int, change: str, code: str) -> None:
    entries = entries_of(7)
    proof = subproof(old, entries[:new], known=True) if 0 < old <= new else []
    proof = {
        "short": proof[:-1],
        "long": [*proof, bytes(32)],
        "empty": [],
        "31 bytes": [item[:31] for item in proof],
        "reversed": proof[::-1],
    }.get(change, proof)
    roots = [mth(entries[:size]) for size in range(8)]
    assert codes(lambda: merkle.verify_consistency(old, roots[old], new, roots[new], proof)) == code


@pytest.mark.parametrize(
    ("old", "old_root", "new", "new_root", "code"),
    [
        (7, mth(entries_of(7)), 7, mth(entries_of(6)), "ledger.consistency-new-root"),
        (0, mth(entries_of(1)), 7, mth(entries_of(7)), "ledger.consistency-old-root"),
        (0, merkle.EMPTY_ROOT, 0, mth(entries_of(7)), "ledger.consistency-new-root"),
    ],
    ids=["same size, other root", "empty tree with a root", "still empty, other root"],
)
def test_roots_that_cannot_be(old: int, old_root: bytes, new: int, new_root: bytes, code: str) -> None:
    assert codes(lambda: merkle.verify_consistency(old, old_root, new, new_root, [])) == code


def test_a_leaf_is_not_a_node() -> None:
    """Second preimage: the two hashes of a node, given as an entry, are not that node (RFC 6962 section 2.1)."""
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
