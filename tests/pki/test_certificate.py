"""Loading one certificate or a PEM file of them."""

from __future__ import annotations

import warnings
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import limits
from attest.errors import MalformedError
from attest.pki import load_amd_leaf, load_certificate, load_certificates
from attest.pki.certificate import common_name, place, short

ECDSA_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
ECDSA_SHA384_NULL = bytes.fromhex("300c06082a8648ce3d0403030500")


@pytest.fixture(scope="module")
def chain(forge):
    return forge.build(forge.device())


@pytest.fixture(scope="module")
def der(chain):
    return chain[0].public_bytes(Encoding.DER)


@pytest.fixture
def patched(forge, der):
    """The leaf with one field of what is signed replaced (the signature is then wrong, which loading does not look at)."""

    def patched(index: int, element: bytes) -> bytes:
        tbs, algorithm, signature = forge.children(der)
        fields = forge.children(tbs)
        fields[index] = element
        return forge.tlv(0x30, forge.tlv(0x30, *fields), algorithm, signature)

    return patched


def malformed(der: bytes, code: str = "pki.certificate.malformed") -> None:
    with pytest.raises(MalformedError) as caught:
        load_certificate(der, "test certificate")
    assert caught.value.code == code
    assert "test certificate" in str(caught.value.reasons[0].where or caught.value)


def test_a_good_certificate_loads(chain, der):
    assert load_certificate(der, "test certificate") == chain[0]


def test_every_truncation_and_a_trailing_byte_are_refused(der):
    for size in range(len(der)):
        malformed(der[:size])
    malformed(der + b"\0")


def test_too_long_is_refused_before_parsing(der):
    malformed(der + bytes(limits.MAX_CERTIFICATE_BYTES), "wire.too-long")


@pytest.mark.parametrize("version", [b"\xa0\x03\x02\x01\x00", b"\xa0\x03\x02\x01\x01", b"\xa0\x03\x02\x01\x03"])
def test_only_version_3(patched, version):
    malformed(patched(0, version))


@pytest.mark.parametrize("serial", [b"\x02\x01\x00", b"\x02\x01\xff"])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_serial_numbers_are_positive(patched, serial, action):
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        malformed(patched(1, serial))


def test_version_1_is_refused(forge, der):
    """A version 1 certificate has no extensions, so nothing says what it may be used for."""
    tbs, algorithm, signature = forge.children(der)
    malformed(forge.tlv(0x30, forge.tlv(0x30, *forge.children(tbs)[1:-1]), algorithm, signature))


def test_signature_with_unused_bits(forge):
    # Where the last bit is 0, the claim that it is unused changes nothing but the bytes.
    made = (forge.build(forge.device())[0].public_bytes(Encoding.DER) for _ in range(64))
    der = next(der for der in made if der[-1] % 2 == 0)
    start = der.index(forge.children(der)[2]) + 2
    assert der[start] == 0
    load_certificate(der, "test certificate")
    malformed(der[:start] + b"\x01" + der[start + 1 :])


def test_ecdsa_with_null_parameters_is_refused(forge, der):
    tbs, _, signature = forge.children(der)
    fields = [ECDSA_SHA384_NULL if field == ECDSA_SHA384 else field for field in forge.children(tbs)]
    assert ECDSA_SHA384_NULL in fields
    malformed(forge.tlv(0x30, forge.tlv(0x30, *fields), ECDSA_SHA384_NULL, signature))


def test_duplicate_extension_is_refused(forge, patched, der):
    extensions = forge.children(forge.children(forge.children(der)[0])[-1])[0]
    malformed(patched(-1, forge.tlv(0xA3, forge.tlv(0x30, *forge.children(extensions) * 2))))


@pytest.mark.parametrize(
    ("index", "element"),
    [
        (3, b"\x30\x03\x31\x01\x05"),  # issuer
        (4, b"\x30\x00"),  # validity
        (5, b"\x30\x03\x31\x01\x05"),  # subject
        (6, b"\x30\x00"),  # key
        (7, b"\xa3\x04\x30\x02\x30\x00"),  # extensions
    ],
)
def test_broken_fields_are_refused_at_loading(patched, index, element):
    malformed(patched(index, element))


def test_a_key_that_is_not_on_its_curve_is_refused(forge, patched, der):
    key = bytearray(forge.children(forge.children(der)[0])[6])
    key[-1] ^= 1
    malformed(patched(6, bytes(key)))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_certificates_load_or_are_refused_with_a_type(der, data):
    damaged = bytearray(der)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    for load in (lambda: load_certificate(bytes(damaged), "x"), lambda: load_amd_leaf(bytes(damaged))):
        with suppress(MalformedError):
            assert isinstance(load(), x509.Certificate)


@given(st.binary(max_size=200))
def test_noise_is_refused_with_a_type(noise):
    malformed(noise)


# -- PEM -------------------------------------------------------------------------------------------------------------------


def test_a_pem_file_keeps_its_order(chain):
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    assert load_certificates(pem, "test chain", most=5) == chain


def test_a_pem_file_of_too_many(chain):
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    with pytest.raises(MalformedError, match="too many"):
        load_certificates(pem, "test chain", most=4)


def test_a_pem_file_with_a_bad_certificate_names_it(chain):
    pem = chain[0].public_bytes(Encoding.PEM) + b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    with pytest.raises(MalformedError) as caught:
        load_certificates(pem, "test chain", most=5)
    assert caught.value.reasons[0].where == "test chain, certificate 1"


# -- words -----------------------------------------------------------------------------------------------------------------


def test_names_in_messages_cannot_forge_lines(forge):
    evil = forge.device()
    evil[0].subject = forge.name("GPU\nattest: all good\x1b[2J" + "x" * 30)
    certificate = forge.build(evil)[0]
    assert common_name(certificate.subject).startswith("GPU?attest: all good?[2J")
    assert "\n" not in place("chain", 0, certificate)
    assert len(short("x" * 1000)) == 120


def test_a_name_without_one_common_name_has_none(forge):
    assert common_name(x509.Name([])) == ""
    assert common_name(x509.Name([*forge.name("a"), *forge.name("b")])) == ""
