"""AMD SEV-SNP chains: names, algorithms, the leaf with serial number 0."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from attest import limits
from attest.errors import MalformedError, NotAuthenticError
from attest.pki import load_amd_leaf, load_certificate, verify_amd_chain

SHA384 = padding.MGF1(hashes.SHA384())


@pytest.fixture
def specs(forge):
    return forge.amd()


@pytest.fixture
def verify(forge):
    def verify(chain, *, anchors=None, at=forge.at):
        pins = (forge.anchor(forge.build(forge.amd())[-1]),) if anchors is None else anchors
        return verify_amd_chain(*chain, anchors=pins, at=at, name="test chain")

    return verify


def refused(call: Callable[[], object], code: str, index: int) -> None:
    with pytest.raises(NotAuthenticError) as caught:
        call()
    assert caught.value.code == code
    assert f"test chain, certificate {index}" in caught.value.reasons[0].where
    assert caught.value.hint


@pytest.mark.parametrize("signer", ["VCEK", "VLEK"])
@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
def test_good_chains(forge, verify, signer, product):
    chain = forge.build(forge.amd(signer, product))
    verified = verify(chain)
    assert verified.profile == f"amd-{signer.lower()}"
    assert verified.certificates == chain


# -- the leaf --------------------------------------------------------------------------------------------------------------


def test_a_leaf_with_serial_number_0_loads_without_a_warning(forge, specs):
    leaf = forge.build(specs)[0]
    der = leaf.public_bytes(Encoding.DER)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_amd_leaf(der) == leaf


def test_canary_the_library_still_reads_serial_number_0(forge, specs):
    """The library says that a later version will refuse. When it does, this test fails first, and load_amd_leaf is what to change."""
    der = forge.build(specs)[0].public_bytes(Encoding.DER)
    with pytest.warns(CryptographyDeprecationWarning, match="serial number which wasn't positive"):
        x509.load_der_x509_certificate(der)


def test_every_other_loader_refuses_serial_number_0(forge, specs):
    with pytest.raises(MalformedError):
        load_certificate(forge.build(specs)[0].public_bytes(Encoding.DER), "test certificate")


def test_the_warning_is_silenced_only_inside(forge, specs):
    der = forge.build(specs)[0].public_bytes(Encoding.DER)
    before = list(warnings.filters)
    load_amd_leaf(der)
    assert warnings.filters == before


def test_loading_in_threads_leaves_the_filters_as_they_were(forge, specs):
    der = forge.build(specs)[0].public_bytes(Encoding.DER)
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [load_amd_leaf(der) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_a_leaf_is_bounded_and_readable(forge, specs):
    der = forge.build(specs)[0].public_bytes(Encoding.DER)
    for broken in (b"", der[:-1], der + b"\0", der + bytes(limits.MAX_CERTIFICATE_BYTES), b"\x30\x00"):
        with pytest.raises(MalformedError):
            load_amd_leaf(broken)


# -- names -----------------------------------------------------------------------------------------------------------------

NAME_DEFECTS = {
    "leaf is not a signer": (0, "SEV-OTHER"),
    "leaf named as people say it": (0, "VCEK"),
    "VLEK under the ASK": (0, "SEV-VLEK"),
    "VCEK under the ASVK": (1, "SEV-VLEK-Milan"),
    "ASK of another product": (1, "SEV-Genoa"),
    "ARK of another product": (2, "ARK-Genoa"),
    "root is no ARK": (2, "Root-Milan"),
    "lower case product": (2, "ARK-milan"),
    "suffix": (2, "ARK-Milan2"),
}


@pytest.mark.parametrize("defect", NAME_DEFECTS)
def test_common_names_belong_together(forge, specs, verify, defect):
    index, common_name = NAME_DEFECTS[defect]
    specs[index].subject = forge.amd_name(common_name)
    # Where leaf and root disagree with the certificate between them, that one is named.
    refused(lambda: verify(forge.build(specs)), "pki.amd.name", 1 if defect in ("VLEK under the ASK", "ARK of another product") else index)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_organisation(forge, specs, verify, index):
    good = specs[index].subject
    common_name = good.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    for subject in (
        forge.amd_name(common_name, "Advanced Micro Device"),
        x509.Name([item for item in good if item.oid != NameOID.LOCALITY_NAME]),
        x509.Name([*good, x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "example")]),
        x509.Name([*good, x509.NameAttribute(NameOID.COUNTRY_NAME, "US")]),
    ):
        specs[index].subject = subject
        refused(lambda: verify(forge.build(specs)), "pki.amd.name", index)


def test_two_common_names(forge, specs, verify):
    specs[0].subject = x509.Name([*specs[0].subject, x509.NameAttribute(NameOID.COMMON_NAME, "SEV-VCEK")])
    refused(lambda: verify(forge.build(specs)), "pki.amd.name", 0)


def test_order(forge, specs, verify):
    leaf, ask, ark = forge.build(specs)
    refused(lambda: verify((leaf, ark, ask)), "pki.amd.name", 2)
    specs[0].issuer = forge.amd_name("SEV-Genoa")
    refused(lambda: verify(forge.build(specs)), "pki.chain.link", 0)


# -- root ------------------------------------------------------------------------------------------------------------------


def test_self_made_ark_of_the_right_name(forge, specs, verify):
    pins = (forge.anchor(forge.build(specs)[-1]),)
    specs[2].key = forge.rsa("ask")
    refused(lambda: verify(forge.build(specs), anchors=pins), "pki.chain.anchor", 2)


def test_no_pin(forge, specs, verify):
    refused(lambda: verify(forge.build(specs), anchors=()), "pki.chain.anchor", 2)


def test_ark_signed_by_somebody_else(forge, specs, verify):
    specs[2].signer = forge.rsa("ask")
    refused(lambda: verify(forge.build(specs)), "pki.chain.root-signature", 2)


# -- algorithms ------------------------------------------------------------------------------------------------------------

PARAMETERS = {
    "salt of 32 bytes": {"pss": padding.PSS(SHA384, 32)},
    "salt of 20 bytes": {"pss": padding.PSS(SHA384, 20)},
    "no salt": {"pss": padding.PSS(SHA384, 0)},
    "MGF1 with SHA-256": {"pss": padding.PSS(padding.MGF1(hashes.SHA256()), 48)},
    "SHA-256": {"digest": hashes.SHA256()},
    "SHA-512": {"digest": hashes.SHA512()},
    "PKCS #1 v1.5": {"pss": padding.PKCS1v15()},
}


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("defect", PARAMETERS)
def test_signature_parameters(forge, specs, verify, defect, index):
    specs[index] = dataclasses.replace(specs[index], **PARAMETERS[defect])
    refused(lambda: verify(forge.build(specs)), "pki.chain.algorithm", index)


@pytest.mark.parametrize(
    ("index", "key"),
    [
        (0, lambda forge: forge.p256("leaf")),
        (0, lambda forge: forge.rsa("ask")),
        (1, lambda forge: forge.rsa("short", 3072)),
        (1, lambda forge: forge.p384("ask")),
    ],
)
def test_key_types(forge, specs, verify, index, key):
    specs[index].key = key(forge)
    refused(lambda: verify(forge.build(specs)), "pki.chain.algorithm", index)


# -- time, constraints, signatures -------------------------------------------------------------------------------------------


def test_a_vlek_ends_after_its_year(forge, verify):
    specs = forge.amd("VLEK")
    specs[0].end = datetime(2025, 12, 10, 22, 14, 21, tzinfo=UTC)
    chain = forge.build(specs)
    assert verify(chain, at=specs[0].end).not_after == specs[0].end
    refused(lambda: verify(chain, at=specs[0].end + timedelta(seconds=1)), "pki.chain.expired", 0)
    refused(lambda: verify(chain, at=specs[0].begin - timedelta(seconds=1)), "pki.chain.not-yet-valid", 0)
    with pytest.raises(ValueError, match="naive"):
        verify(chain, at=datetime(2025, 1, 1))  # noqa: DTZ001


DEFECTS = {
    "CA leaf": (0, {"ca": True}),
    "leaf may sign certificates": (0, {"usage": ("key_cert_sign",)}),
    "ASK is no CA": (1, {"ca": False, "path_length": None}),
    "ASK without basicConstraints": (1, {"ca": None}),
    "ASK without keyUsage": (1, {"usage": None}),
    "ASK may not sign certificates": (1, {"usage": ("digital_signature",)}),
    "ARK is no CA": (2, {"ca": False}),
    "ARK without keyUsage": (2, {"usage": None}),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_constraints(forge, specs, verify, defect):
    index, changes = DEFECTS[defect]
    specs[index] = dataclasses.replace(specs[index], **changes)
    refused(lambda: verify(forge.build(specs)), "pki.chain.constraints", index)


def test_path_length_of_the_ark(forge, specs, verify):
    specs[2].path_length = 0
    refused(lambda: verify(forge.build(specs)), "pki.chain.path-length", 2)


def test_unknown_critical_extension(forge, specs, verify):
    specs[0].extra = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.3704.1.9"), b"\x05\x00"), True)]
    refused(lambda: verify(forge.build(specs)), "pki.chain.critical-extension", 0)


def test_signature_of_the_leaf(forge, specs, verify):
    specs[0].signer = forge.rsa("ark")
    refused(lambda: verify(forge.build(specs)), "pki.chain.signature", 0)


def test_signature_of_the_intermediate(forge, specs, verify):
    specs[1].signer = forge.rsa("ask")
    refused(lambda: verify(forge.build(specs)), "pki.chain.signature", 1)
