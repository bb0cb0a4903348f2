"""Receipts: the file form, and what verifying one refuses."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import limits
from attest.errors import AttestError
from attest.ledger.checkpoint import TreeHead, sign_checkpoint
from attest.ledger.merkle import leaf_hash, tree_root
from attest.ledger.note import SigningKey
from attest.ledger.proof import Receipt, verify_receipt
from attest.ledger.store import Ledger

CodeOf = Callable[[Callable[[], object]], str]

KEY = SigningKey.generate("example.com/log")
VKEY = str(KEY.verifier)
ENTRY = json.dumps({"b": 1, "a": 2}).encode()
LEAVES = [leaf_hash(item) for item in (b"zero", ENTRY, b"two")]
HEAD = TreeHead("example.com/log", 3, tree_root(LEAVES))
RECEIPT = Receipt(1, (LEAVES[0], LEAVES[2]), sign_checkpoint(HEAD, KEY))


def checkpoint(**changes: object) -> bytes:
    return sign_checkpoint(replace(HEAD, **changes), KEY)  # type: ignore[arg-type]


def test_a_receipt_verifies() -> None:
    verified = verify_receipt(RECEIPT, ENTRY, vkey=VKEY)
    assert (verified.index, verified.leaf_hash, verified.origin) == (1, LEAVES[1], "example.com/log")
    assert (verified.size, verified.root) == (3, HEAD.root)


def test_round_trip() -> None:
    data = RECEIPT.to_bytes()
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex 1\n")
    assert data.endswith(b"=\n\n" + RECEIPT.checkpoint)
    assert Receipt.from_bytes(data) == RECEIPT
    only = Receipt(0, (), checkpoint(size=1, root=LEAVES[0]))
    assert Receipt.from_bytes(only.to_bytes()) == only
    verify_receipt(only, b"zero", vkey=VKEY)


@pytest.mark.parametrize(
    ("receipt", "entry", "code"),
    [
        (RECEIPT, json.dumps(json.loads(ENTRY), sort_keys=True).encode(), "ledger.inclusion-root"),  # same meaning, other bytes
        (RECEIPT, ENTRY + b"\n", "ledger.inclusion-root"),
        (RECEIPT, bytes(limits.MAX_ENTRY_BYTES + 1), "ledger.entry-size"),
        (replace(RECEIPT, index=0), ENTRY, "ledger.inclusion-root"),
        (replace(RECEIPT, index=2), ENTRY, "ledger.inclusion-length"),
        (replace(RECEIPT, index=3), ENTRY, "ledger.inclusion-index"),
        (replace(RECEIPT, proof=RECEIPT.proof[::-1]), ENTRY, "ledger.inclusion-root"),
        (replace(RECEIPT, proof=RECEIPT.proof[:1]), ENTRY, "ledger.inclusion-length"),
        (replace(RECEIPT, proof=(*RECEIPT.proof, bytes(32))), ENTRY, "ledger.inclusion-length"),
        (replace(RECEIPT, checkpoint=checkpoint(root=bytes(32))), ENTRY, "ledger.inclusion-root"),
        (replace(RECEIPT, checkpoint=checkpoint(size=1)), ENTRY, "ledger.inclusion-index"),
        (replace(RECEIPT, checkpoint=checkpoint(size=5)), ENTRY, "ledger.inclusion-length"),
        (replace(RECEIPT, checkpoint=RECEIPT.checkpoint.replace(b"\n3\n", b"\n4\n")), ENTRY, "ledger.note-signature"),
        (replace(RECEIPT, checkpoint=SigningKey.generate("example.com/log").sign_note(HEAD.to_text())), ENTRY, "ledger.note-unsigned"),
    ],
)
def test_refused_receipts(receipt: Receipt, entry: bytes, code: str, code_of: CodeOf) -> None:
    assert code_of(lambda: verify_receipt(receipt, entry, vkey=VKEY)) == code


def test_the_entry_of_another_place(grown: Ledger, code_of: CodeOf) -> None:
    assert code_of(lambda: verify_receipt(grown.receipt(7), b"entry 8", vkey=grown.vkey)) == "ledger.inclusion-root"


def test_a_bad_verifier_key(code_of: CodeOf) -> None:
    assert code_of(lambda: verify_receipt(RECEIPT, ENTRY, vkey="nonsense")) == "ledger.vkey-form"


FILE = RECEIPT.to_bytes()
HASH = base64.b64encode(LEAVES[0])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "ledger.receipt-form"),
        (FILE.replace(b"\n\n", b"\n", 1).replace(b"\n\n", b"\n", 1), "ledger.receipt-form"),
        (FILE.replace(b"@v1", b"@v2", 1), "ledger.receipt-form"),
        (b"\xff" + FILE, "ledger.receipt-form"),
        (FILE.replace(b"index 1\n", b"", 1), "ledger.receipt-form"),
        (FILE.replace(b"index 1\n", b"Index 1\n", 1), "ledger.receipt-form"),
        (FILE + bytes(limits.MAX_CHECKPOINT_BYTES + 8192), "ledger.receipt-form"),
        (FILE.replace(HASH, b"\n".join([HASH] * 64), 1), "ledger.receipt-form"),
        (FILE.replace(b"index", b"extra AAAA\nindex", 1), "ledger.receipt-extra"),
        (FILE.replace(b"index 1", b"index 01", 1), "ledger.receipt-index"),
        (FILE.replace(b"index 1", b"index -1", 1), "ledger.receipt-index"),
        (FILE.replace(b"index 1", b"index 1 ", 1), "ledger.receipt-index"),
        (FILE.replace(b"index 1", b"index %d" % 2**63, 1), "ledger.receipt-index"),
        (FILE.replace(HASH, base64.b64encode(LEAVES[0][:31]), 1), "ledger.receipt-hash"),
        (FILE.replace(HASH, HASH + b"\r", 1), "ledger.receipt-hash"),
        (FILE.replace(HASH, HASH[:-1], 1), "ledger.receipt-hash"),
    ],
)
def test_refused_files(data: bytes, code: str, code_of: CodeOf) -> None:
    assert code_of(lambda: Receipt.from_bytes(data)) == code


def test_every_truncation_is_refused() -> None:
    for end in range(len(FILE)):
        with pytest.raises(AttestError):
            verify_receipt(Receipt.from_bytes(FILE[:end]), ENTRY, vkey=VKEY)


def test_every_bit_flip_is_refused() -> None:
    for bit in range(len(FILE) * 8):
        changed = bytearray(FILE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AttestError):
            verify_receipt(Receipt.from_bytes(bytes(changed)), ENTRY, vkey=VKEY)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: FILE[:60] + tail))
def test_reading_is_the_inverse_of_writing(data: bytes) -> None:
    try:
        receipt = Receipt.from_bytes(data)
    except AttestError:
        return
    assert receipt.to_bytes() == data


def test_a_file_on_disk(grown: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "entry-42.tlog-proof"
    file.write_bytes(grown.receipt(42).to_bytes())
    assert verify_receipt(Receipt.from_bytes(file.read_bytes()), b"entry 42", vkey=grown.vkey).index == 42
