"""Certificates of TPM keys: which use they must have. The rest of the rules is that of every chain, and tested on real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attest.crypto import spki_sha256
from attest.errors import AttestError
from attest.pki import TPM_AK, TPM_EK, Anchor, ChainProfile, verify_tpm_chain
from attest.pki.tpm import EK_EKU

AT = datetime(2026, 11, 21, tzinfo=UTC)
ROOT = ec.generate_private_key(ec.SECP256R1())
KEY = ec.generate_private_key(ec.SECP256R1())
P521 = ec.generate_private_key(ec.SECP521R1())


def usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
        "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in every})


def certificate(
    subject: str, *extensions: x509.ExtensionType, ca: bool | None = False, curve: ec.EllipticCurvePrivateKey = KEY, days: int = 30
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    own = ROOT if subject == "root" else curve
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(own.public_key()).serial_number(7)
    builder = builder.not_valid_before(AT - timedelta(days=30)).not_valid_after(AT + timedelta(days=days))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.KeyUsage | x509.NameConstraints))
    return builder.sign(ROOT, hashes.SHA256())


ISSUER = certificate("root", usage("key_cert_sign"), ca=True)
EKU = x509.ExtendedKeyUsage([EK_EKU])


def code(leaf: x509.Certificate, profile: ChainProfile, *, at: datetime = AT, root: x509.Certificate = ISSUER) -> str:
    anchors = [Anchor("root", spki_sha256(ROOT.public_key()))]
    try:
        verify_tpm_chain((leaf, root), profile=profile, anchors=anchors, at=at, name="chain")
    except AttestError as error:
        return error.code if error.reasons[0].where else "no place"
    return ""


@pytest.mark.parametrize(
    ("leaf", "ak", "ek"),
    [
        (certificate("ak", usage("digital_signature")), "", "pki.tpm.leaf"),
        (certificate("ak", usage("digital_signature"), ca=None), "", "pki.tpm.leaf"),
        (certificate("ek", usage("key_agreement"), EKU), "pki.tpm.leaf", ""),
        (certificate("ek", usage("key_encipherment"), EKU), "pki.tpm.leaf", ""),
        (certificate("ek", usage("key_agreement")), "pki.tpm.leaf", "pki.tpm.leaf"),
        (certificate("both", usage("digital_signature", "key_agreement"), EKU), "pki.tpm.leaf", ""),
        (certificate("ca", usage("digital_signature"), ca=True), "pki.chain.constraints", "pki.chain.constraints"),
        (certificate("none"), "pki.chain.constraints", "pki.chain.constraints"),
        (certificate("signs certificates", usage("digital_signature", "key_cert_sign")), "pki.chain.constraints", "pki.chain.constraints"),
        (certificate("p521", usage("digital_signature"), curve=P521), "pki.chain.algorithm", "pki.chain.algorithm"),
    ],
)  # fmt: skip
def test_use(leaf: x509.Certificate, ak: str, ek: str) -> None:
    assert (code(leaf, TPM_AK), code(leaf, TPM_EK)) == (ak, ek)


def test_dates_anchor_and_issuer() -> None:
    leaf = certificate("ak", usage("digital_signature"))
    assert code(leaf, TPM_AK, at=AT + timedelta(days=31)) == "pki.chain.expired"
    assert code(leaf, TPM_AK, at=AT - timedelta(days=31)) == "pki.chain.not-yet-valid"
    assert code(leaf, TPM_AK, root=certificate("root", usage("key_cert_sign"), ca=False)) == "pki.chain.constraints"
    assert code(leaf, TPM_AK, root=certificate("root", usage("key_cert_sign"), ca=True, days=-1)) == "pki.chain.expired"
    with pytest.raises(AttestError) as caught:
        verify_tpm_chain((leaf, ISSUER), profile=TPM_AK, anchors=[Anchor("other", "00" * 32)], at=AT, name="chain")
    assert caught.value.code == "pki.chain.anchor"
    with pytest.raises(AttestError) as caught:
        verify_tpm_chain((leaf,), profile=TPM_AK, anchors=[], at=AT, name="chain")
    assert caught.value.code == "pki.chain.length"


def test_issuer_of_the_same_name_and_another_key() -> None:
    """A certificate that names the right root but was not signed by it."""
    builder = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ak")])).issuer_name(ISSUER.subject)
    builder = builder.public_key(KEY.public_key()).serial_number(8).not_valid_before(AT).not_valid_after(AT + timedelta(days=1))
    forged = builder.add_extension(usage("digital_signature"), critical=True).sign(KEY, hashes.SHA256())
    assert code(forged, TPM_AK) == "pki.chain.signature"
