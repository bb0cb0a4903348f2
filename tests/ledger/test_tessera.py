"""A log that another implementation wrote: the test data of Tessera (transparency-dev/tessera), 15 entries, a checkpoint after each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attest.errors import AttestError
from attest.ledger.checkpoint import VerifiedCheckpoint, verify_checkpoint, verify_extends
from attest.ledger.fsck import fsck
from attest.ledger.merkle import leaf_hash, tree_root
from attest.ledger.note import VerifierKey
from attest.ledger.proof import Receipt, verify_receipt
from attest.ledger.tiles import TileTree, read_from

pytestmark = pytest.mark.corpus

ENTRIES = 15


@pytest.fixture(scope="module")
def log(corpus: Path) -> Path:
    return corpus / "nitro-cca-tokens/tlog/tessera-testdata"


@pytest.fixture(scope="module")
def vkey(corpus: Path) -> str:
    return (corpus / "nitro-cca-tokens/tlog/tessera-testdata.vkey").read_text().strip()


@pytest.fixture(scope="module")
def checkpoints(log: Path, vkey: str) -> list[VerifiedCheckpoint]:
    key = VerifierKey.parse(vkey)
    return [verify_checkpoint((log / f"checkpoint.{size}").read_bytes(), key=key) for size in range(ENTRIES + 1)]


def test_checkpoints_and_roots(log: Path, checkpoints: list[VerifiedCheckpoint]) -> None:
    entries = TileTree(read_from(log), ENTRIES).bundle(0)
    for size, checkpoint in enumerate(checkpoints):
        assert (checkpoint.origin, checkpoint.size) == ("example.com/log/testdata", size)
        assert checkpoint.root == tree_root([leaf_hash(entry) for entry in entries[:size]])
        assert checkpoint.root == TileTree(read_from(log), size).root()
    assert (log / "checkpoint").read_bytes() == checkpoints[-1].note


def test_every_inclusion_proof(log: Path, vkey: str, checkpoints: list[VerifiedCheckpoint]) -> None:
    for size, checkpoint in enumerate(checkpoints):
        tree = TileTree(read_from(log), size)
        for index in range(size):
            receipt = Receipt.from_bytes(Receipt(index, tree.inclusion(index), checkpoint.note).to_bytes())
            assert verify_receipt(receipt, tree.entry(index), vkey=vkey).index == index


def test_every_consistency_proof(log: Path, checkpoints: list[VerifiedCheckpoint]) -> None:
    for new in checkpoints:
        for old in checkpoints[: new.size + 1]:
            verify_extends(old, new, TileTree(read_from(log), new.size).consistency(old.size))


def test_roots_of_other_sizes_are_refused(
    log: Path, checkpoints: list[VerifiedCheckpoint], code_of: Callable[[Callable[[], object]], str]
) -> None:
    for old in checkpoints[1:-1]:
        assert code_of(lambda old=old: verify_extends(checkpoints[-1], old, ())) == "ledger.rollback"  # type: ignore[misc]


def test_every_bit_of_a_checkpoint(vkey: str, checkpoints: list[VerifiedCheckpoint]) -> None:
    key, note = VerifierKey.parse(vkey), checkpoints[-1].note
    for bit in range(len(note) * 8):
        changed = bytearray(note)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AttestError):
            verify_checkpoint(bytes(changed), key=key)


def test_the_whole_log(log: Path, vkey: str) -> None:
    report = fsck(log, vkey=vkey)
    assert (report.checkpoint.size, report.superseded) == (ENTRIES, 2 * (ENTRIES - 1))
