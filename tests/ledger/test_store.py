"""The writer of a ledger, in good weather. tests/ledger/test_faults.py has the bad."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from attest import limits
from attest.ledger.checkpoint import TreeHead, sign_checkpoint
from attest.ledger.fsck import fsck
from attest.ledger.merkle import EMPTY_ROOT, leaf_hash, tree_root
from attest.ledger.note import SigningKey
from attest.ledger.proof import verify_receipt
from attest.ledger.store import Ledger

CodeOf = Callable[[Callable[[], object]], str]


def folder_of(ledger: Ledger) -> Path:
    return ledger.public.parent


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# -- making and opening ------------------------------------------------------------------------------------------------------


def test_a_new_ledger(ledger: Ledger) -> None:
    assert (ledger.size, ledger.origin, ledger.checkpoint().root) == (0, "example.com/log", EMPTY_ROOT)
    assert ledger.vkey.startswith("example.com/log+")
    assert files_below(folder_of(ledger)) == {"public/checkpoint", "private/signing-key", "private/lock"}
    fsck(ledger.public, vkey=ledger.vkey)


def test_the_key_is_the_owners_alone(ledger: Ledger) -> None:
    private = folder_of(ledger) / "private"
    assert stat.S_IMODE((private / "signing-key").stat().st_mode) == 0o600
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    secret = (private / "signing-key").read_bytes().strip()
    ledger.append(b"entry")
    for name in files_below(ledger.public):
        assert secret[-20:] not in (ledger.public / name).read_bytes()
    assert secret.decode()[-20:] not in repr(vars(ledger))


def test_one_place_holds_one_ledger(ledger: Ledger, code_of: CodeOf) -> None:
    before = ledger.checkpoint()
    assert code_of(lambda: Ledger.create(folder_of(ledger), origin="example.com/log")) == "ledger.exists"
    assert ledger.checkpoint() == before


def test_a_log_without_its_key_is_not_overwritten(ledger: Ledger, code_of: CodeOf) -> None:
    ledger.append(b"entry")
    (folder_of(ledger) / "private/signing-key").unlink()
    assert code_of(lambda: Ledger.create(folder_of(ledger), origin="example.com/log")) == "ledger.exists"


def test_an_origin_that_is_no_key_name(tmp_path: Path, code_of: CodeOf) -> None:
    assert code_of(lambda: Ledger.create(tmp_path / "ledger", origin="two words")) == "ledger.key-name"
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_no_ledger_there(where: str, tmp_path: Path, code_of: CodeOf) -> None:
    assert code_of(lambda: Ledger.open(tmp_path / where)) == "ledger.missing"


def test_missing_parents_are_made(tmp_path: Path) -> None:
    assert Ledger.create(tmp_path / "a/b/c", origin="example.com/log").size == 0


def test_a_key_that_others_can_read(ledger: Ledger, code_of: CodeOf) -> None:
    (folder_of(ledger) / "private/signing-key").chmod(0o640)
    assert code_of(lambda: Ledger.open(folder_of(ledger))) == "ledger.key-mode"


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\n", b"x" * 5000])
def test_a_key_file_that_is_none(content: bytes, ledger: Ledger, code_of: CodeOf) -> None:
    (folder_of(ledger) / "private/signing-key").write_bytes(content)
    assert code_of(lambda: Ledger.open(folder_of(ledger))) == "ledger.key-file"


def test_the_key_of_another_log(ledger: Ledger, code_of: CodeOf) -> None:
    (folder_of(ledger) / "private/signing-key").write_text(SigningKey.generate("example.com/other").to_text() + "\n")
    assert code_of(lambda: Ledger.open(folder_of(ledger))) == "ledger.note-unsigned"


@pytest.mark.parametrize("entries", [0, 3])
def test_a_lost_checkpoint_never_starts_a_new_log(entries: int, ledger: Ledger, code_of: CodeOf) -> None:
    for number in range(entries):
        ledger.append(b"%d" % number)
    (ledger.public / "checkpoint").unlink()
    assert code_of(lambda: Ledger.open(folder_of(ledger))) == "ledger.checkpoint-missing"
    assert code_of(lambda: ledger.append(b"more")) == "ledger.checkpoint-missing"


# -- appending and reading ---------------------------------------------------------------------------------------------------


def test_every_receipt_verifies(grown: Ledger) -> None:
    for index in (0, 1, 127, 128, 254, 255, 256, 257, 298, 299):
        entry = grown.entry(index)
        assert entry == f"entry {index}".encode()
        verified = verify_receipt(grown.receipt(index), entry, vkey=grown.vkey)
        assert (verified.index, verified.size, verified.leaf_hash) == (index, 300, leaf_hash(entry))


def test_the_receipt_of_an_append(ledger: Ledger) -> None:
    for index in range(9):
        entry = b"%d" % index
        receipt = ledger.append(entry)
        assert receipt == ledger.receipt(index)
        verified = verify_receipt(receipt, entry, vkey=ledger.vkey)
        assert (verified.index, verified.size, verified.root) == (index, index + 1, ledger.checkpoint().root)


def test_old_receipts_stay_good(ledger: Ledger) -> None:
    receipts = [ledger.append(b"%d" % index) for index in range(5)]
    for index, receipt in enumerate(receipts):
        verify_receipt(receipt, b"%d" % index, vkey=ledger.vkey)


@pytest.mark.parametrize("entry", [b"", b"\0", bytes(limits.MAX_ENTRY_BYTES)])
def test_sizes_of_entries(entry: bytes, ledger: Ledger) -> None:
    verify_receipt(ledger.append(entry), entry, vkey=ledger.vkey)
    assert Ledger.open(folder_of(ledger)).entry(0) == entry


def test_an_entry_that_is_too_long(ledger: Ledger, code_of: CodeOf) -> None:
    assert code_of(lambda: ledger.append(bytes(limits.MAX_ENTRY_BYTES + 1))) == "ledger.entry-size"
    assert ledger.size == 0


@pytest.mark.parametrize("index", [-1, 300, 2**63])
def test_entries_that_are_not_there(index: int, grown: Ledger, code_of: CodeOf) -> None:
    assert code_of(lambda: grown.entry(index)) == "ledger.entry-index"
    assert code_of(lambda: grown.receipt(index)) == "ledger.entry-index"


def test_find(grown: Ledger) -> None:
    for index in (0, 255, 256, 299):
        assert grown.find(leaf_hash(f"entry {index}".encode())) == index
    assert grown.find(leaf_hash(b"another entry")) is None
    across = leaf_hash(b"entry 3")[16:] + leaf_hash(b"entry 4")[:16]
    assert grown.find(across) is None
    assert grown.find(b"") is None


def test_find_gives_the_newest(ledger: Ledger) -> None:
    for entry in (b"a", b"b", b"a", b"c"):
        ledger.append(entry)
    assert ledger.find(leaf_hash(b"a")) == 2


def test_opened_again(ledger: Ledger) -> None:
    receipt = ledger.append(b"entry")
    again = Ledger.open(folder_of(ledger))
    assert (again.vkey, again.size, again.receipt(0)) == (ledger.vkey, 1, receipt)
    again.append(b"second")
    assert ledger.size == 2  # the first instance sees what the second wrote
    assert ledger.append(b"third").index == 2
    assert again.append(b"fourth").index == 3
    fsck(ledger.public, vkey=ledger.vkey)


def test_partial_tiles_go_when_the_full_one_is_there(grown: Ledger) -> None:
    files = files_below(grown.public)
    assert {"tile/0/000", "tile/entries/000", "tile/1/000.p/1"} <= files
    assert {path for path in files if path.startswith(("tile/0/000.p", "tile/entries/000.p"))} == set()
    # Those of the unfinished tile stay: a checkpoint was signed over each (tlog-tiles, Partial Tiles).
    assert {f"tile/0/001.p/{width}" for width in range(1, 45)} <= files


def test_partial_tiles_that_a_crash_left_go_at_the_next_open(grown: Ledger, memory: Path) -> None:
    shutil.copytree(folder_of(grown), memory / "copy")
    left = [memory / "copy/public/tile" / name for name in ("0/000.p", "entries/000.p")]
    for folder in left:
        folder.mkdir()
        (folder / "255").write_bytes(b"")
    Ledger.open(memory / "copy")
    assert not any(folder.exists() for folder in left)
    assert (memory / "copy/public/tile/1/000.p/1").exists()


def test_appending_does_not_read_the_tree(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        ledger.append(b"%d" % index)
    read: list[str] = []
    whole = Ledger._read

    def reading(self: Ledger, path: str, limit: int) -> bytes | None:
        read.append(path)
        return whole(self, path, limit)

    monkeypatch.setattr(Ledger, "_read", reading)
    ledger.append(b"one more")
    assert read == ["checkpoint"]


def test_threads_of_one_process(ledger: Ledger) -> None:
    indices: list[int] = []

    def work(name: str) -> None:
        for number in range(15):
            entry = f"{name} {number}".encode()
            receipt = ledger.append(entry)
            verify_receipt(receipt, entry, vkey=ledger.vkey)
            assert ledger.entry(receipt.index) == entry
            indices.append(receipt.index)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(indices) == list(range(30))
    fsck(ledger.public, vkey=ledger.vkey)


# -- what somebody else did to the folder ------------------------------------------------------------------------------------


def test_an_older_checkpoint_is_noticed(ledger: Ledger, code_of: CodeOf) -> None:
    ledger.append(b"one")
    older = (ledger.public / "checkpoint").read_bytes()
    ledger.append(b"two")
    (ledger.public / "checkpoint").write_bytes(older)
    assert code_of(ledger.checkpoint) == "ledger.rollback"
    assert code_of(lambda: ledger.append(b"three")) == "ledger.rollback"


def test_an_older_checkpoint_is_led_forward_by_the_entries(ledger: Ledger) -> None:
    """A process that never saw the newer one finds the entries behind it, and comes to the same checkpoint, not to another."""
    ledger.append(b"one")
    older = (ledger.public / "checkpoint").read_bytes()
    ledger.append(b"two")
    newest = ledger.append(b"three").checkpoint
    (ledger.public / "checkpoint").write_bytes(older)
    assert Ledger.open(folder_of(ledger)).checkpoint().note == newest


def test_an_older_checkpoint_behind_a_full_tile(grown: Ledger, memory: Path) -> None:
    """Size 250 of 256: the partial tiles of the sizes after it are gone, only the full ones are left."""
    folder = memory / "copy"
    shutil.copytree(folder_of(grown), folder)
    (folder / "public/tile/1/000.p/1").unlink()
    key = SigningKey.parse((folder / "private/signing-key").read_text().strip())
    root = tree_root([leaf_hash(f"entry {index}".encode()) for index in range(250)])
    (folder / "public/checkpoint").write_bytes(sign_checkpoint(TreeHead("example.com/log", 250, root), key))
    assert Ledger.open(folder).checkpoint().note == grown.checkpoint().note
    fsck(folder / "public", vkey=grown.vkey)


def test_another_root_for_the_same_size(ledger: Ledger, code_of: CodeOf) -> None:
    ledger.append(b"one")
    key = SigningKey.parse((folder_of(ledger) / "private/signing-key").read_text().strip())
    (ledger.public / "checkpoint").write_bytes(sign_checkpoint(TreeHead(ledger.origin, 1, bytes(32)), key))
    assert code_of(ledger.checkpoint) == "ledger.split-view"
    assert code_of(lambda: ledger.append(b"two")) == "ledger.split-view"
    assert code_of(lambda: Ledger.open(folder_of(ledger))) == "ledger.tree-root"


@pytest.mark.parametrize(
    ("path", "change", "code"),
    [
        ("tile/0/000.p/3", lambda data: data[:-1] + b"\0", "ledger.tree-root"),
        ("tile/0/000.p/3", lambda data: data[:-1], "ledger.tile-size"),
        ("tile/0/000.p/3", None, "ledger.tile-missing"),
        ("tile/entries/000.p/3", lambda data: data.replace(b"two", b"owt"), "ledger.tile-hash"),
        ("tile/entries/000.p/3", lambda data: data + b"\0", "ledger.bundle-trailing"),
        ("tile/entries/000.p/3", lambda data: data[:-1], "ledger.bundle-truncated"),
        ("tile/entries/000.p/3", None, "ledger.tile-missing"),
        ("checkpoint", lambda data: data.replace(b"\n3\n", b"\n2\n"), "ledger.note-signature"),
        ("checkpoint", lambda data: data[:-1], "ledger.note-form"),
        ("tile/entries/000.p/4", lambda _: b"\0\x03ONE\0\x03two\0\x05three\0\x04four", "ledger.torn"),
        ("tile/entries/000.p/4", lambda _: b"\0\x03one\0\x03two\0\x05three\0\x04fou", "ledger.bundle-truncated"),
        ("tile/entries/000.p/4", lambda _: b"\0\x03one\0\x03two\0\x05three\0\x04four\0", "ledger.bundle-trailing"),
        ("tile/entries/000.p/4", lambda _: b"", "ledger.torn"),
    ],
)
def test_a_damaged_folder_is_not_written_to(
    path: str, change: Callable[[bytes], bytes] | None, code: str, ledger: Ledger, code_of: CodeOf
) -> None:
    for entry in (b"one", b"two", b"three"):
        ledger.append(entry)
    file = ledger.public / path
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes() if file.exists() else b""))
    before = (ledger.public / "checkpoint").read_bytes()
    assert code_of(lambda: Ledger.open(folder_of(ledger))) == code
    assert (ledger.public / "checkpoint").read_bytes() == before


def test_damage_shows_when_reading(ledger: Ledger, code_of: CodeOf) -> None:
    for entry in (b"one", b"two", b"three"):
        ledger.append(entry)
    bundle, tile = ledger.public / "tile/entries/000.p/3", ledger.public / "tile/0/000.p/3"
    bundle.write_bytes(bundle.read_bytes().replace(b"two", b"owt"))
    assert code_of(lambda: ledger.entry(1)) == "ledger.tile-hash"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    assert code_of(lambda: ledger.receipt(1)) == "ledger.tree-root"


def test_storage_that_refuses(ledger: Ledger, code_of: CodeOf) -> None:
    ledger.append(b"one")
    (ledger.public / "tile/0/000.p/1").unlink()
    (ledger.public / "tile/0/000.p/1").mkdir()
    assert code_of(lambda: Ledger.open(folder_of(ledger))) == "ledger.storage"
    assert code_of(lambda: Ledger.create(Path(os.devnull) / "ledger", origin="example.com/log")) == "ledger.storage"
