"""Signed notes and the keys that sign them."""

from __future__ import annotations

import base64
import copy
import pickle
from collections.abc import Callable

import pytest

from attest import limits
from attest.errors import AttestError
from attest.ledger.note import Note, SigningKey, VerifierKey, verify_note

CodeOf = Callable[[Callable[[], object]], str]

# The example of the package that the format comes from (golang.org/x/mod/sumdb/note, documentation).
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
# The public key of a log that everybody knows; its base64 holds a plus sign.
SUM_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

KEY = SigningKey.generate("example.com/log")
OTHER = SigningKey.generate("example.com/other")
TEXT = "one\n\nthree\n"
NOTE = KEY.sign_note(TEXT)


def line_of(note: bytes) -> bytes:
    return note[note.rindex(b"\n\n") + 2 :]


# -- known answers -----------------------------------------------------------------------------------------------------------


def test_the_go_example() -> None:
    key = SigningKey.parse(GO_PRIVATE)
    assert str(key.verifier) == GO_VKEY
    assert key.sign_note(GO_TEXT) == GO_NOTE
    assert verify_note(GO_NOTE, (VerifierKey.parse(GO_VKEY),)) == GO_TEXT
    assert key.to_text() == GO_PRIVATE


def test_a_plus_sign_in_the_base64() -> None:
    key = VerifierKey.parse(SUM_VKEY)
    assert (key.name, key.key_id.hex()) == ("sum.golang.org", "033de0ae")
    assert str(key) == SUM_VKEY


# -- what verifies -----------------------------------------------------------------------------------------------------------


def test_text_with_blank_lines() -> None:
    assert verify_note(NOTE, (KEY.verifier,)) == TEXT


def test_signatures_by_others_are_ignored() -> None:
    """A known name with another id, a known id with another name, and keys of types that are not spoken."""
    strangers = b"".join(
        f"— {name} {base64.b64encode(key_id + bytes(70)).decode()}\n".encode()
        for name, key_id in [("example.com/log", b"\0\0\0\0"), ("example.com/witness", KEY.verifier.key_id), ("w", b"1234")]
    )
    assert verify_note(NOTE + strangers, (KEY.verifier,)) == TEXT


def test_sixteen_large_signatures_are_read() -> None:
    """signed-note: verifiers accept at least 16 signatures, post-quantum ones of nearly 5 kB."""
    large = f"— w {base64.b64encode(bytes(4 + 4900)).decode()}\n".encode()
    assert verify_note(NOTE + 15 * large, (KEY.verifier,)) == TEXT


def test_two_known_keys() -> None:
    assert verify_note(NOTE + line_of(OTHER.sign_note(TEXT)), (KEY.verifier, OTHER.verifier)) == TEXT


# -- what does not -----------------------------------------------------------------------------------------------------------


def altered_signature(note: bytes) -> bytes:
    head, encoded = note[: note.rindex(b" ") + 1], note[note.rindex(b" ") + 1 : -1]
    data = bytearray(base64.b64decode(encoded))
    data[10] ^= 1
    return head + base64.b64encode(data) + b"\n"


def with_signature(change: Callable[[bytes], bytes]) -> bytes:
    note = Note.parse(NOTE)
    (line,) = note.signatures
    return f"{note.text}\n— {line.name} {base64.b64encode(line.key_id + change(line.signature)).decode()}\n".encode()


ORDER = 2**252 + 27742317777372353535851937790883648493


def malleated(signature: bytes) -> bytes:
    """The same signature with s + L for s: RFC 8032 section 5.1.7 refuses it."""
    return signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (b"", "ledger.note-form"),
        (TEXT.encode(), "ledger.note-form"),
        (TEXT.encode() + b"\n", "ledger.note-form"),
        (b"\n\n" + line_of(NOTE), "ledger.note-form"),
        (TEXT.encode() + line_of(NOTE), "ledger.note-form"),  # no blank line before the signature
        (NOTE[:-1], "ledger.note-form"),
        (NOTE + b"\n", "ledger.note-form"),
        (NOTE.replace("— ".encode(), b"- "), "ledger.note-form"),
        (NOTE.replace("— ".encode(), "—".encode()), "ledger.note-form"),
        (NOTE.replace("— ".encode(), "—  ".encode()), "ledger.note-form"),
        (NOTE[:-1] + b" \n", "ledger.note-form"),
        (NOTE[:-3] + b"\n", "ledger.note-form"),  # base64 padding gone
        (NOTE + "— w AAAAAA==\n".encode(), "ledger.note-form"),  # a key id and no signature
        (NOTE.replace(b"\n", b"\r\n"), "ledger.note-characters"),
        (NOTE.replace(b"one", b"o\x00e"), "ledger.note-characters"),
        (NOTE.replace(b"one", b"o\te"), "ledger.note-characters"),
        (NOTE.replace(b"one", b"o\xffe"), "ledger.note-characters"),
        (b"\xef\xbb\xbf" + NOTE, "ledger.note-characters"),
        (NOTE + b"x" * limits.MAX_CHECKPOINT_BYTES, "ledger.note-size"),
        (NOTE + line_of(NOTE), "ledger.note-duplicate"),
        (NOTE.replace(b"three", b"seven"), "ledger.note-signature"),
        (altered_signature(NOTE), "ledger.note-signature"),
        (with_signature(lambda signature: signature[:-1]), "ledger.note-signature"),
        (with_signature(lambda signature: signature + b"\0"), "ledger.note-signature"),
        (with_signature(lambda _: bytes(64)), "ledger.note-signature"),
        (with_signature(malleated), "ledger.note-signature"),
        (OTHER.sign_note(TEXT), "ledger.note-unsigned"),
        (NOTE.replace(b"example.com/log ", b"example.com/log2 "), "ledger.note-unsigned"),
    ],
)
def test_refused_notes(note: bytes, code: str, code_of: CodeOf) -> None:
    assert code_of(lambda: verify_note(note, (KEY.verifier,))) == code


def test_one_good_signature_does_not_make_up_for_a_bad_one(code_of: CodeOf) -> None:
    note = NOTE + line_of(altered_signature(OTHER.sign_note(TEXT)))
    assert code_of(lambda: verify_note(note, (KEY.verifier, OTHER.verifier))) == "ledger.note-signature"
    assert verify_note(note, (KEY.verifier,)) == TEXT


def test_without_keys_nothing_is_signed(code_of: CodeOf) -> None:
    assert code_of(lambda: verify_note(NOTE, ())) == "ledger.note-unsigned"


# -- keys --------------------------------------------------------------------------------------------------------------------


def vkey_with(kind: int, public: bytes = KEY.verifier.public) -> str:
    return f"example.com/log+{KEY.verifier.key_id.hex()}+{base64.b64encode(bytes([kind]) + public).decode()}"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "ledger.vkey-form"),
        ("example.com/log", "ledger.vkey-form"),
        ("example.com/log+00000000", "ledger.vkey-form"),
        (str(KEY.verifier) + "\n", "ledger.vkey-form"),
        (str(KEY.verifier)[:-2], "ledger.vkey-form"),
        (str(KEY.verifier).replace(KEY.verifier.key_id.hex(), "xyz"), "ledger.vkey-form"),
        (vkey_with(0x01, bytes(31)), "ledger.vkey-form"),
        (vkey_with(0x01, b""), "ledger.vkey-form"),
        (vkey_with(0x02), "ledger.vkey-type"),
        (vkey_with(0x04), "ledger.vkey-type"),  # a witness key is no log key
        (vkey_with(0x06), "ledger.vkey-type"),
        (vkey_with(0x01, bytes(32)), "ledger.vkey-id"),
        ("example.com/log2" + str(KEY.verifier).removeprefix("example.com/log"), "ledger.vkey-id"),
        ("+00000000+AQ==", "ledger.vkey-form"),
        ("+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(), "ledger.key-name"),
        ("a b+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(), "ledger.key-name"),
    ],
)
def test_refused_verifier_keys(text: str, code: str, code_of: CodeOf) -> None:
    assert code_of(lambda: VerifierKey.parse(text)) == code


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\u2003b", "a\x00b", "\udc80", "a" * 256])
def test_refused_names(name: str, code_of: CodeOf) -> None:
    assert code_of(lambda: SigningKey.generate(name)) == "ledger.key-name"


@pytest.mark.parametrize(
    "text",
    [
        "",
        str(KEY.verifier),
        "x" + KEY.to_text(),
        KEY.to_text() + "\n",
        KEY.to_text()[:-8],
        KEY.to_text().replace(KEY.verifier.key_id.hex(), "00000000"),
        f"PRIVATE+KEY+example.com/log+{KEY.verifier.key_id.hex()}+{base64.b64encode(bytes(33)).decode()}",
    ],
)
def test_refused_signing_keys(text: str, code_of: CodeOf) -> None:
    assert code_of(lambda: SigningKey.parse(text)) == "ledger.key-file"


def test_the_private_key_does_not_show() -> None:
    secret = KEY.to_text().split("+", 4)[4]
    assert secret not in repr(KEY)
    assert secret not in str(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(TypeError):
        copy.copy(KEY)


def test_a_broken_signing_key_does_not_show() -> None:
    seed = KEY.to_text().split("+", 4)[4]
    for text in (KEY.to_text()[:-1], KEY.to_text().replace(KEY.verifier.key_id.hex(), "00000000"), "x" + KEY.to_text()):
        with pytest.raises(AttestError) as caught:
            SigningKey.parse(text)
        assert seed[:12] not in repr(caught.value.reasons)


def test_the_text_of_a_note_ends_in_a_newline() -> None:
    with pytest.raises(AssertionError):
        KEY.sign_note("no newline")
