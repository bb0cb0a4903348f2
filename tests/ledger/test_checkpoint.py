"""Checkpoints, and what two of them say about each other."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import pytest

from attest.ledger.checkpoint import TreeHead, VerifiedCheckpoint, sign_checkpoint, verify_checkpoint, verify_extends
from attest.ledger.merkle import EMPTY_ROOT, leaf_hash, node_hash
from attest.ledger.note import SigningKey

CodeOf = Callable[[Callable[[], object]], str]

KEY = SigningKey.generate("example.com/log")
OTHER = SigningKey.generate("example.com/other")
ROOT = base64.b64encode(EMPTY_ROOT).decode()
A, B = leaf_hash(b"a"), leaf_hash(b"b")


def signed(size: int, root: bytes, key: SigningKey = KEY) -> VerifiedCheckpoint:
    return verify_checkpoint(sign_checkpoint(TreeHead(key.verifier.name, size, root), key), key=key.verifier)


def test_round_trip() -> None:
    checkpoint = signed(2**63 - 1, A)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == ("example.com/log", 2**63 - 1, A)
    assert checkpoint.note == KEY.sign_note(checkpoint.head.to_text())


def test_signing_twice_gives_the_same_bytes() -> None:
    """The writer's recovery rests on this: a checkpoint that is signed again is the same checkpoint."""
    assert signed(1, A).note == signed(1, A).note


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"example.com/log\n01\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n00\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n+1\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n-1\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n 1\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n1_0\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n0x1\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n\u0661\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n{2**63}\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n{10**30}\n{ROOT}\n", "ledger.checkpoint-size"),
        (f"example.com/log\n0\n{base64.b64encode(bytes(31)).decode()}\n", "ledger.checkpoint-root"),
        (f"example.com/log\n0\n{base64.b64encode(bytes(33)).decode()}\n", "ledger.checkpoint-root"),
        (f"example.com/log\n0\n{ROOT.rstrip('=')}\n", "ledger.checkpoint-root"),
        (f"example.com/log\n0\n{EMPTY_ROOT.hex()}\n", "ledger.checkpoint-root"),
        (f"example.com/log\n0\n {ROOT}\n", "ledger.checkpoint-root"),
        ("example.com/log\n0\n", "ledger.checkpoint-form"),
        (f"\n0\n{ROOT}\n", "ledger.checkpoint-form"),
        (f"example.com/log\n\n0\n{ROOT}\n", "ledger.checkpoint-form"),
        (f"example.com/log\n0\n{ROOT}\n\n", "ledger.checkpoint-form"),
        (f"example.com/log\n0\n{ROOT}\nextension\n", "ledger.checkpoint-extension"),
        (f"example.com/other\n0\n{ROOT}\n", "ledger.checkpoint-origin"),
        (f"example.com/log/\n0\n{ROOT}\n", "ledger.checkpoint-origin"),
        (f"example.com/LOG\n0\n{ROOT}\n", "ledger.checkpoint-origin"),
    ],
)
def test_refused_texts(text: str, code: str, code_of: CodeOf) -> None:
    """Every text is signed, so that the named check and not the signature refuses it."""
    assert code_of(lambda: verify_checkpoint(KEY.sign_note(text), key=KEY.verifier)) == code


def test_the_key_of_another_log(code_of: CodeOf) -> None:
    assert code_of(lambda: verify_checkpoint(signed(1, A).note, key=OTHER.verifier)) == "ledger.note-unsigned"


def test_a_log_signs_under_its_own_origin_only() -> None:
    with pytest.raises(AssertionError):
        sign_checkpoint(TreeHead("example.com/other", 0, EMPTY_ROOT), KEY)


def test_growth() -> None:
    verify_extends(signed(0, EMPTY_ROOT), signed(1, A), ())
    verify_extends(signed(1, A), signed(2, node_hash(A, B)), (B,))
    verify_extends(signed(1, A), signed(1, A), ())


@pytest.mark.parametrize(
    ("seen", "newer", "proof", "code"),
    [
        (signed(1, A), signed(1, A, OTHER), (), "ledger.other-log"),
        (signed(2, node_hash(A, B)), signed(1, A), (), "ledger.rollback"),
        (signed(1, A), signed(1, B), (), "ledger.split-view"),
        (signed(1, A), signed(2, node_hash(A, B)), (A,), "ledger.consistency-new-root"),
        (signed(1, B), signed(2, node_hash(A, B)), (B,), "ledger.consistency-new-root"),
        (signed(1, A), signed(2, node_hash(A, B)), (), "ledger.consistency-length"),
        (signed(0, A), signed(2, node_hash(A, B)), (), "ledger.consistency-old-root"),
    ],
    ids=["other log", "rollback", "split view", "wrong hash", "forked", "no proof", "empty tree with a root"],
)
def test_refused_successors(
    seen: VerifiedCheckpoint, newer: VerifiedCheckpoint, proof: Sequence[bytes], code: str, code_of: CodeOf
) -> None:
    assert code_of(lambda: verify_extends(seen, newer, proof)) == code
