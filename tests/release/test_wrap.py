"""The wrapped key opens for one recipient, one token and one key, and recipient keys do not show themselves."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestError
from attest.keyfile import create_secret
from attest.recipient import Kem
from attest.release.recipient_key import RecipientPrivateKey
from attest.release.suites import Suite, seal
from attest.release.wrap import DATA_KEY_BYTES, DataKey, WrappedKey, token_digest, unwrap, wrap_info
from attest.wire import Fields

SECRET = bytes(range(100, 132))
TOKEN = "header.payload.signature"
KEY = "weights/model-a"
PRIVATE = {kem: RecipientPrivateKey.generate(kem) for kem in Kem}


def wrapped(kem: Kem, *, token: str = TOKEN, key: str = KEY, version: int = 1) -> WrappedKey:
    recipient = PRIVATE[kem].recipient
    info = wrap_info(token=token_digest(token), key=key, version=version, recipient=recipient)
    return WrappedKey(Suite.of(kem), recipient.thumbprint, token_digest(token), key, version, seal(SECRET, recipient, info=info))


def code_of(made: WrappedKey, private: RecipientPrivateKey, *, token: str = TOKEN, key: str = KEY) -> str:
    with pytest.raises(AttestError) as refused:
        unwrap(made, private, token=token, key=key)
    return refused.value.code


@pytest.mark.parametrize("kem", list(Kem))
def test_round_trip(kem: Kem) -> None:
    made = wrapped(kem)
    assert unwrap(made, PRIVATE[kem], token=TOKEN, key=KEY).expose() == SECRET
    assert len(made.ciphertext) == made.suite.sealed_bytes(DATA_KEY_BYTES)
    assert WrappedKey.from_json(Fields(made.to_json(), "wrapped key")) == made
    assert SECRET not in made.ciphertext


@pytest.mark.parametrize("kem", list(Kem))
def test_two_wraps_differ(kem: Kem) -> None:
    assert wrapped(kem).ciphertext != wrapped(kem).ciphertext


@pytest.mark.parametrize("kem", list(Kem))
def test_labels_are_checked_before_anything_is_opened(kem: Kem) -> None:
    made = wrapped(kem)
    other = RecipientPrivateKey.generate(kem)
    assert code_of(made, other) == "wrap.recipient"
    assert code_of(made, PRIVATE[kem], token=TOKEN + "x") == "wrap.token"
    assert code_of(made, PRIVATE[kem], key="weights/model-b") == "wrap.key"
    assert code_of(replace(made, suite=next(suite for suite in Suite if suite is not made.suite)), PRIVATE[kem]) == "wrap.form"


@pytest.mark.parametrize("kem", list(Kem))
def test_labels_that_lie_do_not_open(kem: Kem) -> None:
    """The same checks again, with labels rewritten to fit: what is bound inside decides."""
    made = wrapped(kem)
    other = RecipientPrivateKey.generate(kem)
    assert code_of(replace(made, recipient=other.recipient.thumbprint), other) == "wrap.open"
    assert code_of(replace(made, token=token_digest("another")), PRIVATE[kem], token="another") == "wrap.open"
    assert code_of(replace(made, key="weights/model-b"), PRIVATE[kem], key="weights/model-b") == "wrap.open"
    assert code_of(replace(made, version=2), PRIVATE[kem]) == "wrap.open"


@given(st.sampled_from(list(Kem)), st.data())
@settings(max_examples=60)
def test_every_changed_bit_is_refused(kem: Kem, data: st.DataObject) -> None:
    made = wrapped(kem)
    bit = data.draw(st.integers(0, 8 * len(made.ciphertext) - 1))
    changed = bytearray(made.ciphertext)
    changed[bit // 8] ^= 1 << bit % 8
    assert code_of(replace(made, ciphertext=bytes(changed)), PRIVATE[kem]) == "wrap.open"


def test_masked_bit_of_x25519_is_covered_too() -> None:
    """RFC 7748 section 5 ignores the top bit of a public value; HPKE hashes the value as sent (RFC 9180 section 4.1)."""
    made = wrapped(Kem.X25519)
    changed = bytearray(made.ciphertext)
    changed[31] ^= 0x80
    assert code_of(replace(made, ciphertext=bytes(changed)), PRIVATE[Kem.X25519]) == "wrap.open"


@pytest.mark.parametrize("kem", list(Kem))
@pytest.mark.parametrize("size", [0, 1, 31, 79, -1, +1])
def test_other_sizes(kem: Kem, size: int) -> None:
    made = wrapped(kem)
    data = made.ciphertext + b"\0" if size == 1 else made.ciphertext[:size]
    assert code_of(replace(made, ciphertext=data), PRIVATE[kem]) == "wrap.open"
    with pytest.raises(AttestError) as refused:
        WrappedKey.from_json(Fields(replace(made, ciphertext=data).to_json(), "wrapped key"))
    assert refused.value.code == "wrap.form"


@pytest.mark.parametrize(
    "change",
    [
        {"format": "attest-wrapped-key/2"},
        {"suite": "hpke-x25519-hkdf-sha256-chacha20poly1305"},
        {"suite": Suite.P384.value},
        {"recipient": "00"},
        {"token": "xx" * 32},
        {"version": 0},
        {"version": "1"},
        {"ciphertext": "AAAA=="},
        {"aad": ""},
        {"key": None},
    ],
)
def test_other_forms(change: dict[str, object]) -> None:
    with pytest.raises(AttestError) as refused:
        WrappedKey.from_json(Fields(json.loads(json.dumps(wrapped(Kem.X25519).to_json() | change)), "wrapped key"))
    assert refused.value.exit_code == 3


def test_the_digest_covers_every_member() -> None:
    made = wrapped(Kem.X25519)
    others = [
        replace(made, recipient="00" * 32),
        replace(made, token="00" * 32),
        replace(made, key="k"),
        replace(made, version=9),
        replace(made, ciphertext=made.ciphertext[::-1]),
        replace(made, suite=Suite.P384),
    ]
    assert len({item.digest for item in [made, *others]}) == 7


def test_a_released_key_does_not_show_itself() -> None:
    key = DataKey(SECRET)
    for text in (repr(key), str(key), f"{key}"):
        assert SECRET.hex() not in text
        assert repr(SECRET)[2:-1] not in text
    for work in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            work(key)


def test_info_is_unambiguous() -> None:
    recipient = PRIVATE[Kem.X25519].recipient
    digest = token_digest(TOKEN)
    made = {
        wrap_info(token=token, key=key, version=version, recipient=who)
        for token in (digest, token_digest("t"))
        for key, version in (("k1", 1), ("k", 11), ("k11", 1), ("k", 1))
        for who in (recipient, PRIVATE[Kem.P384].recipient)
    }
    assert len(made) == 16


# -- recipient's private key ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kem", list(Kem))
def test_file_round_trip(kem: Kem, tmp_path: Path) -> None:
    PRIVATE[kem].save(tmp_path / "recipient.pem")
    assert (tmp_path / "recipient.pem").stat().st_mode & 0o777 == 0o600
    loaded = RecipientPrivateKey.load(tmp_path / "recipient.pem")
    assert loaded.recipient == PRIVATE[kem].recipient
    assert unwrap(wrapped(kem), loaded, token=TOKEN, key=KEY).expose() == SECRET


def pem(key: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


HYBRID = "ATTEST MLKEM768 X25519 PRIVATE KEY"


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(x25519.X25519PrivateKey.generate())[:-30],
        f"-----BEGIN {HYBRID}-----\nAAAA\n-----END {HYBRID}-----\n".encode(),
        f"-----BEGIN {HYBRID}-----\n-----END {HYBRID}-----\n".encode(),
    ],
    ids=["text", "other curve", "cut off", "short", "empty"],
)
def test_other_files(content: bytes, tmp_path: Path) -> None:
    create_secret(tmp_path / "recipient.pem", content)
    with pytest.raises(AttestError) as refused:
        RecipientPrivateKey.load(tmp_path / "recipient.pem")
    assert refused.value.code == "wrap.recipient-file"
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__  # the reader's own words may quote the file


@pytest.mark.parametrize("kem", list(Kem))
def test_private_keys_do_not_show_or_travel(kem: Kem, tmp_path: Path) -> None:
    private = PRIVATE[kem]
    private.save(tmp_path / "recipient.pem")
    body = "".join((tmp_path / "recipient.pem").read_text().splitlines()[1:-1])
    for text in (repr(private), str(private)):
        assert body[:40] not in text
        assert private.recipient.thumbprint in text
    for work in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            work(private)
