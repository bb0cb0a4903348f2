"""The whole-log check."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from attest.checks import Check
from attest.errors import AttestError
from attest.ledger import checks, fsck
from attest.ledger.checkpoint import TreeHead, sign_checkpoint
from attest.ledger.merkle import tree_root
from attest.ledger.note import SigningKey
from attest.ledger.store import Ledger
from attest.ledger.tiles import hashes_of

CodeOf = Callable[[Callable[[], object]], str]


@pytest.fixture
def copy(grown: Ledger, tmp_path: Path) -> Path:
    """The public folder of a log of 300 entries, to be damaged."""
    shutil.copytree(grown.public, tmp_path / "log")
    return tmp_path / "log"


def test_a_good_log(grown: Ledger) -> None:
    report = fsck.fsck(grown.public, vkey=grown.vkey)
    assert (report.checkpoint.size, report.tiles, report.bundles, report.ahead) == (300, 3, 2, ())
    assert report.superseded == 2 * 43  # widths 1 to 43 of the unfinished tile and bundle


def test_it_needs_no_private_key(copy: Path, grown: Ledger) -> None:
    assert fsck.fsck(copy, vkey=grown.vkey).checkpoint.size == 300


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("path", "change", "codes"),
    [
        ("tile/0/000", lambda data: flip(data, 32 * 200), {"ledger.tile-hash"}),
        ("tile/0/001.p/44", lambda data: flip(data, 0), {"ledger.tile-hash"}),
        ("tile/0/001.p/17", lambda data: flip(data, 0), {"ledger.tile-hash"}),
        ("tile/0/001.p/17", lambda data: data[:-32], {"ledger.tile-hash"}),
        ("tile/entries/001.p/17", lambda data: flip(data, 8), {"ledger.tile-hash"}),
        ("tile/1/000.p/1", lambda data: flip(data, 0), {"ledger.tile-hash"}),
        ("tile/entries/000", lambda data: flip(data, 8), {"ledger.tile-hash", "ledger.tree-root"}),
        ("tile/entries/000", lambda data: data + b"\0", {"ledger.bundle-trailing"}),
        ("tile/entries/000", lambda data: data[:-1], {"ledger.bundle-truncated"}),
        ("tile/entries/000", None, {"ledger.tile-missing"}),
        ("tile/0/000", lambda data: data[:-32], {"ledger.tile-size"}),
        ("tile/0/000", lambda data: data + bytes(32), {"ledger.tile-size"}),
        ("tile/0/000", None, {"ledger.tile-missing"}),
        ("tile/1/000.p/1", None, {"ledger.tile-missing"}),
        ("tile/0/000.p/0", lambda _: b"", {"ledger.tile-path"}),
        ("tile/0/000.p/256", lambda _: b"", {"ledger.tile-path"}),
        ("tile/notes.txt", lambda _: b"", {"ledger.tile-path"}),
        ("tile/0/001.p/46", lambda _: b"", {"ledger.rollback"}),
        ("tile/entries/002.p/1", lambda _: b"", {"ledger.rollback"}),
        ("tile/2/000.p/1", lambda _: bytes(32), {"ledger.rollback"}),
        ("checkpoint", None, {"ledger.checkpoint-missing"}),
        ("checkpoint", lambda data: data.replace(b"\n300\n", b"\n299\n"), {"ledger.note-signature"}),
    ],
)
def test_faults(path: str, change: Callable[[bytes], bytes] | None, codes: set[str], copy: Path, grown: Ledger) -> None:
    file = copy / path
    if change is None:
        file.unlink()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(change(file.read_bytes() if file.exists() else b""))
    with pytest.raises(AttestError) as caught:
        fsck.fsck(copy, vkey=grown.vkey)
    assert {reason.code for reason in caught.value.reasons} == codes
    assert all(reason.found or reason.expected for reason in caught.value.reasons)


def test_a_root_that_the_entries_do_not_have(grown: Ledger, copy: Path, code_of: CodeOf) -> None:
    key = SigningKey.parse((grown.public.parent / "private/signing-key").read_text().strip())
    (copy / "checkpoint").write_bytes(sign_checkpoint(TreeHead(grown.origin, 300, bytes(32)), key))
    assert code_of(lambda: fsck.fsck(copy, vkey=grown.vkey)) == "ledger.tree-root"


def test_entries_and_tiles_changed_together(grown: Ledger, copy: Path, code_of: CodeOf) -> None:
    """A consistent lie: entry, its hash and the hash above it are all changed. The signed root gives it away."""
    bundle, leaves, above = (copy / f"tile/{name}" for name in ("entries/000", "0/000", "1/000.p/1"))
    bundle.write_bytes(bundle.read_bytes().replace(b"\0\x08entry 17", b"\0\x08entry 71"))
    hashes = hashes_of(leaves.read_bytes())
    hashes[17] = hashes[71]
    leaves.write_bytes(b"".join(hashes))
    above.write_bytes(tree_root(hashes))
    assert code_of(lambda: fsck.fsck(copy, vkey=grown.vkey)) == "ledger.tree-root"


def test_every_fault_is_reported(copy: Path, grown: Ledger) -> None:
    for number in (3, 5, 9):
        file = copy / f"tile/0/001.p/{number}"
        file.write_bytes(flip(file.read_bytes(), 0))
    with pytest.raises(AttestError) as caught:
        fsck.fsck(copy, vkey=grown.vkey)
    assert [reason.where for reason in caught.value.reasons] == [f"tile/0/001.p/{number}" for number in (3, 5, 9)]


def test_the_key_of_another_log(grown: Ledger, code_of: CodeOf) -> None:
    other = str(SigningKey.generate("example.com/other").verifier)
    assert code_of(lambda: fsck.fsck(grown.public, vkey=other)) == "ledger.note-unsigned"


def test_an_append_that_was_cut_off_is_no_fault(copy: Path, grown: Ledger) -> None:
    (copy / "tile/entries/001.p/45").write_bytes((copy / "tile/entries/001.p/44").read_bytes() + b"\0\x03new")
    assert fsck.fsck(copy, vkey=grown.vkey).ahead == ("tile/entries/001.p/45",)


def test_a_rollback_during_the_check(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, code_of: CodeOf) -> None:
    ledger.append(b"one")
    older = (ledger.public / "checkpoint").read_bytes()
    ledger.append(b"two")
    listing = fsck._tile_paths

    def rolled_back(folder: Path) -> list[str]:
        (folder / "checkpoint").write_bytes(older)
        return listing(folder)

    monkeypatch.setattr(fsck, "_tile_paths", rolled_back)
    assert code_of(lambda: fsck.fsck(ledger.public, vkey=ledger.vkey)) == "ledger.rollback"


# -- the list of checks ------------------------------------------------------------------------------------------------------


def test_every_check_is_listed_once() -> None:
    defined = [value for value in vars(checks).values() if isinstance(value, Check)]
    assert sorted(check.id for check in checks.LEDGER_CHECKS) == sorted({check.id for check in defined})
    assert len(defined) == len(checks.LEDGER_CHECKS)
    assert all(check.id.startswith("ledger.") and check.source and check.title for check in defined)


def test_every_check_is_tested() -> None:
    """Each reason code stands in some test of this folder."""
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert [check.id for check in checks.LEDGER_CHECKS if f'"{check.id}"' not in tests] == []
