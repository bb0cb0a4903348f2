"""Recipient keys: three kinds, one spelling each, weak keys refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x25519

from attest.binding import device_field, device_set, workload_field
from attest.errors import MalformedError
from attest.recipient import Kem, Recipient
from attest.wire import Fields


def public(kem: Kem) -> bytes:
    if kem is Kem.P384:
        key = ec.generate_private_key(ec.SECP384R1()).public_key()
        return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    short = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
    if kem is Kem.X25519:
        return short
    if kem is Kem.RSA2048_OAEP:
        return rsa.generate_private_key(65537, 2048).public_key().public_numbers().n.to_bytes(256, "big")
    return mlkem.MLKEM768PrivateKey.generate().public_key().public_bytes_raw() + short


@pytest.mark.parametrize("kem", list(Kem))
def test_jwk_round_trip(kem: Kem) -> None:
    recipient = Recipient(kem, public(kem))
    assert Recipient.from_jwk(Fields(recipient.to_jwk(), "jwk")) == recipient
    assert len(bytes.fromhex(recipient.thumbprint)) == 32


@pytest.mark.parametrize(
    ("kem", "data"),
    [
        (Kem.RSA2048_OAEP, b"\xff" * 255 + b"\xfe"),  # even
        (Kem.RSA2048_OAEP, b"\x7f" + b"\xff" * 255),  # 2047 bits
        (Kem.X25519, bytes(32)),  # low order
        (Kem.X25519, b"\x01" + bytes(31)),  # low order
        (Kem.X25519, b"\x09" * 31),
        (Kem.X25519, b"\x09" * 33),
        (Kem.P384, b"\x04" + bytes(96)),  # not on the curve
        (Kem.P384, b"\x06" + public(Kem.P384)[1:]),  # hybrid form of X9.62
        (Kem.P384, public(Kem.P384)[:-1]),
        (Kem.MLKEM768_X25519, public(Kem.MLKEM768_X25519)[:1184] + bytes(32)),
        (Kem.MLKEM768_X25519, b"\xff" * 1184 + public(Kem.X25519)),  # coefficients not reduced (FIPS 203 section 7.2)
    ],
)
def test_weak_or_malformed_keys_are_refused(kem: Kem, data: bytes) -> None:
    with pytest.raises(MalformedError) as refused:
        Recipient(kem, data)
    assert refused.value.code == "recipient.key"


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "OKP", "crv": "Ed25519", "x": "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "AA", "e": "AQAB"},
        {"kty": "oct", "k": "AA"},
        {"kty": "AKP", "alg": "ML-KEM-768", "pub": "AA"},
    ],
)
def test_other_key_types_are_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        Recipient.from_jwk(Fields(dict(jwk), "jwk"))


def test_private_jwk_is_refused() -> None:
    jwk = Recipient(Kem.X25519, public(Kem.X25519)).to_jwk() | {"d": "AAAA"}
    with pytest.raises(MalformedError, match="unknown members"):
        Recipient.from_jwk(Fields(jwk, "jwk"))


def test_binding_depends_on_every_input() -> None:
    one, two = Recipient(Kem.X25519, public(Kem.X25519)), Recipient(Kem.X25519, public(Kem.X25519))
    nonces = bytes(32), bytes([1]) + bytes(31)
    sets = [], [b"a" * 48], [b"b" * 48], [b"a" * 48, b"b" * 48]
    device = {device_field(nonce, recipient) for nonce in nonces for recipient in (one, two)}
    workload = {workload_field(nonce, recipient, group) for nonce in nonces for recipient in (one, two) for group in sets}
    assert len(device) == 4
    assert len(workload) == 16
    assert {len(field) for field in device} == {32}
    assert {len(field) for field in workload} == {64}
    assert device_set([b"b" * 48, b"a" * 48]) == device_set([b"a" * 48, b"b" * 48])
