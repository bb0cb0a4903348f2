"""Digests and signatures: values from the standards, every way in which a signature can be wrong, and no boolean to forget."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from hypothesis import given
from hypothesis import strategies as st

from attest.checks import Check
from attest.crypto import (
    P256_ORDER,
    P384_ORDER,
    framed,
    p256_key,
    same,
    sha256,
    sha384,
    sha512,
    spki_sha256,
    verify_ed25519,
    verify_p256,
    verify_p384,
    verify_p384_der,
)
from attest.errors import CannotDecideError, NotAuthenticError, Outcome

CHECK = Check("test.signature", "signature", "here", fix="mend it")
DATA = b"what is signed"


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@pytest.fixture(scope="module")
def rs(key) -> tuple[int, int]:
    return utils.decode_dss_signature(key.sign(DATA, ec.ECDSA(hashes.SHA384())))


def raw(r: int, s: int) -> bytes:
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def refused(call, found: str = "") -> None:
    with pytest.raises(NotAuthenticError) as caught:
        call()
    assert caught.value.code == "test.signature"
    assert caught.value.reasons[0].where == "report"
    assert found in caught.value.reasons[0].found


# -- digests ---------------------------------------------------------------------------------------------------------------


def test_digests_of_the_standard():
    """FIPS 180-4 examples for "abc"."""
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha384(memoryview(b"abc")).hex() == (
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
    )
    assert sha512(b"abc")[:8].hex() == "ddaf35a193617aba"


FIELDS = st.lists(st.binary(max_size=6), max_size=4)


@given(st.text(max_size=4), FIELDS, st.text(max_size=4), FIELDS)
def test_framing_is_unambiguous(domain, fields, other_domain, other_fields):
    equal = (domain, fields) == (other_domain, other_fields)
    assert (framed(domain, fields) == framed(other_domain, other_fields)) is equal


def test_framing_layout():
    assert framed("ab", [b"", b"xyz"]) == b"\0\0\0\2ab" + b"\0\0\0\0" + b"\0\0\0\3xyz"


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_same(left, right):
    assert same(left, right) is (left == right)


def test_pin_is_the_digest_of_the_public_key_info(key):
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert spki_sha256(key.public_key()) == sha256(der).hex()


# -- ECDSA P-384 -----------------------------------------------------------------------------------------------------------


def test_order_of_the_curve():
    """FIPS 186-5 / SP 800-186 section 3.2.1.4: n is where the multiples of the generator begin again."""
    with pytest.raises(ValueError, match="out of range"):
        ec.derive_private_key(P384_ORDER, ec.SECP384R1())
    g = ec.derive_private_key(1, ec.SECP384R1()).public_key().public_numbers()
    minus_g = ec.derive_private_key(P384_ORDER - 1, ec.SECP384R1()).public_key().public_numbers()
    assert g.x == minus_g.x


def test_a_good_signature(key, rs):
    assert verify_p384(key.public_key(), raw(*rs), DATA, CHECK, where="report") is None
    assert verify_p384_der(key.public_key(), utils.encode_dss_signature(*rs), memoryview(DATA), CHECK, where="report") is None


@pytest.mark.parametrize("r", [None, 0, P384_ORDER, P384_ORDER + 1, 2**384 - 1])
@pytest.mark.parametrize("s", [None, 0, P384_ORDER, P384_ORDER + 1, 2**384 - 1])
def test_out_of_range(key, rs, r, s):
    if r is None and s is None:
        return
    pair = (rs[0] if r is None else r, rs[1] if s is None else s)
    refused(lambda: verify_p384(key.public_key(), raw(*pair), DATA, CHECK, where="report"), "outside 1..n-1")
    refused(lambda: verify_p384_der(key.public_key(), utils.encode_dss_signature(*pair), DATA, CHECK, where="report"), "outside")


@pytest.mark.parametrize("part", [0, 1])
def test_values_beyond_the_field_do_not_wrap(key, rs, part):
    """r + 2**384 has the same 48 low bytes as r, r + n the same residue."""
    for more in (2**384, P384_ORDER):
        pair = list(rs)
        pair[part] += more
        refused(lambda: verify_p384_der(key.public_key(), utils.encode_dss_signature(*pair), DATA, CHECK, where="report"))  # noqa: B023


def test_negative_values_in_der(key, rs):
    r = (-rs[0]).to_bytes(49, "big", signed=True)
    s = rs[1].to_bytes(49, "big")
    body = b"\x02" + bytes([len(r)]) + r + b"\x02" + bytes([len(s)]) + s
    refused(lambda: verify_p384_der(key.public_key(), b"\x30" + bytes([len(body)]) + body, DATA, CHECK, where="report"))


def test_der_has_one_form(key, rs):
    der = utils.encode_dss_signature(*rs)
    padded = b"\x30" + bytes([len(der) - 1]) + b"\x02" + bytes([der[3] + 1]) + b"\0" + der[4:]
    for bad in (b"", der + b"\0", der[:-1], padded, b"\x30\x81" + der[1:], b"\x31" + der[1:]):
        refused(lambda: verify_p384_der(key.public_key(), bad, DATA, CHECK, where="report"), "no DER ECDSA signature")  # noqa: B023


def test_length_of_the_raw_form(key, rs):
    for bad in (b"", raw(*rs)[:-1], raw(*rs) + b"\0", utils.encode_dss_signature(*rs)):
        refused(lambda: verify_p384(key.public_key(), bad, DATA, CHECK, where="report"), "bytes of signature")  # noqa: B023


@given(st.integers(0, 96 * 8 - 1))
def test_every_bit_of_the_signature_counts(key, rs, bit):
    flipped = bytearray(raw(*rs))
    flipped[bit // 8] ^= 1 << bit % 8
    refused(lambda: verify_p384(key.public_key(), bytes(flipped), DATA, CHECK, where="report"))


@given(st.integers(0, len(DATA) * 8 - 1))
def test_every_bit_of_the_data_counts(key, rs, bit):
    flipped = bytearray(DATA)
    flipped[bit // 8] ^= 1 << bit % 8
    refused(lambda: verify_p384(key.public_key(), raw(*rs), bytes(flipped), CHECK, where="report"), "did not make")


def test_swapped_halves_and_another_key(key, rs):
    refused(lambda: verify_p384(key.public_key(), raw(rs[1], rs[0]), DATA, CHECK, where="report"))
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    refused(lambda: verify_p384(other, raw(*rs), DATA, CHECK, where="report"), "did not make")


def test_negated_s_is_the_same_statement(key, rs):
    """ECDSA is malleable: a signature must never identify a statement, and a replay check must not rest on it."""
    verify_p384(key.public_key(), raw(rs[0], P384_ORDER - rs[1]), DATA, CHECK, where="report")


@pytest.mark.parametrize(
    "other",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
        lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
        lambda: ec.generate_private_key(ec.BrainpoolP384R1()).public_key(),
        lambda: rsa.generate_private_key(65537, 2048).public_key(),
        lambda: ed25519.Ed25519PrivateKey.generate().public_key(),
        lambda: None,
    ],
)
def test_other_keys(rs, other):
    refused(lambda: verify_p384(other(), raw(*rs), DATA, CHECK, where="report"))
    refused(lambda: verify_p384_der(other(), utils.encode_dss_signature(*rs), DATA, CHECK, where="report"))


def test_other_hash(key):
    for digest in (hashes.SHA256(), hashes.SHA512()):
        signature = key.sign(DATA, ec.ECDSA(digest))
        refused(lambda: verify_p384_der(key.public_key(), signature, DATA, CHECK, where="report"), "did not make")  # noqa: B023


def test_the_check_decides_the_error(key):
    undecided = Check("test.other", "signature", "here", Outcome.CANNOT_DECIDE)
    with pytest.raises(CannotDecideError):
        verify_p384(key.public_key(), bytes(96), DATA, undecided)


# -- Ed25519 -----------------------------------------------------------------------------------------------------------------


def test_ed25519_of_the_standard():
    """RFC 8032 section 7.1, test 2."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify_ed25519(public, signature, b"\x72", CHECK, where="report") is None
    for arguments in (
        (public, signature, b"\x73"),
        (public, signature[:-1], b"\x72"),
        (public, bytes(64), b"\x72"),
        (public[:-1], signature, b"\x72"),
        (bytes(31) + b"\1", signature, b"\x72"),
    ):
        refused(lambda: verify_ed25519(*arguments, CHECK, where="report"))  # noqa: B023


# -- P-256, the curve of Intel's quotes -------------------------------------------------------------------------------------


def test_p256_key_signature_and_refusals():
    key = ec.generate_private_key(ec.SECP256R1())
    r, s = utils.decode_dss_signature(key.sign(DATA, ec.ECDSA(hashes.SHA256())))
    good = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]
    public = p256_key(point, CHECK, where="report")
    verify_p256(public, good, DATA, CHECK, where="report")
    verify_p256(public, r.to_bytes(32, "big") + (P256_ORDER - s).to_bytes(32, "big"), DATA, CHECK, where="report")
    refused(lambda: verify_p256(public, good, DATA + b"!", CHECK, where="report"), "did not make")
    refused(lambda: verify_p256(public, bytes(64), DATA, CHECK, where="report"), "outside 1..n-1")
    refused(lambda: verify_p256(public, b"\xff" * 64, DATA, CHECK, where="report"), "outside 1..n-1")
    refused(lambda: verify_p256(public, good[:-1], DATA, CHECK, where="report"), "63 bytes")
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    refused(lambda: verify_p256(other, good, DATA, CHECK, where="report"), "secp384r1")
    for bad in (bytes(64), b"\xff" * 64, point[:-1] + bytes([point[-1] ^ 1])):
        refused(lambda: p256_key(bad, CHECK, where="report"), "not on the curve")  # noqa: B023
