"""A ledger whose operator is the enemy of its auditor: it signs what it likes, and fills the folder with what it likes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attest.errors import AttestError
from attest.ledger.checkpoint import TreeHead, sign_checkpoint
from attest.ledger.files import read_file
from attest.ledger.fsck import MAX_REASONS, fsck
from attest.ledger.note import SigningKey
from attest.ledger.store import Ledger

ORIGIN = "example.com/hostile"


@pytest.fixture
def log(tmp_path: Path) -> Ledger:
    made = Ledger.create(tmp_path / "log", origin=ORIGIN)
    for number in range(3):
        made.append(b"entry %d" % number)
    return made


def test_a_signed_size_that_nobody_can_count_to_ends_at_the_first_faults(log: Ledger) -> None:
    key = SigningKey.parse((log.public.parent / "private" / "signing-key").read_text().strip())
    (log.public / "checkpoint").write_bytes(sign_checkpoint(TreeHead(ORIGIN, 2**62, b"\0" * 32), key))
    with pytest.raises(AttestError) as refused:
        fsck(log.public, vkey=log.vkey)
    assert refused.value.code == "ledger.tile-missing"
    assert len(refused.value.reasons) == MAX_REASONS


@pytest.mark.parametrize("path", ["checkpoint", "tile/entries/000.p/3", "tile/0/000.p/1"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(log: Ledger, path: str) -> None:
    place = log.public / path
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(OSError, match="not a regular file"):
        fsck(log.public, vkey=log.vkey)
    if path == "checkpoint":
        with pytest.raises(AttestError) as refused:
            Ledger.open(log.public.parent)
        assert refused.value.code == "ledger.storage"


def test_a_folder_in_place_of_a_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(8):
        with pytest.raises(OSError, match="not a regular file"):
            read_file(tmp_path, 10)
    assert len(os.listdir("/proc/self/fd")) == before
