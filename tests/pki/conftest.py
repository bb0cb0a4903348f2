"""Throw-away vendor PKIs: describe a chain, change one thing, build it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attest.crypto import spki_sha256
from attest.pki import Anchor

PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


# -- DER surgery, for what the library's builders refuse to make -----------------------------------------------------------


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def children(der: bytes) -> list[bytes]:
    """The elements inside a constructed DER element."""
    found = []
    _, rest = _split(der)
    while rest:
        end = len(rest) - len(_after(rest))
        found.append(rest[:end])
        rest = rest[end:]
    return found


def _split(der: bytes) -> tuple[int, bytes]:
    size, start = der[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(der[2:start], "big")
    return der[0], der[start : start + size]


def _after(der: bytes) -> bytes:
    _, body = _split(der)
    header = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    return der[header + len(body) :]


# -- certificates ----------------------------------------------------------------------------------------------------------


@dataclass
class Cert:
    """What one certificate shall say. Tests change members and then build."""

    subject: x509.Name
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    ca: bool | None = True
    path_length: int | None = None
    ca_critical: bool = True
    usage: tuple[str, ...] | None = ("key_cert_sign", "crl_sign")
    begin: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    end: datetime = datetime(2034, 1, 1, tzinfo=UTC)
    serial: int | None = None
    extra: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)
    issuer: x509.Name | None = None
    signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA384)
    pss: padding.PSS | padding.PKCS1v15 = field(default_factory=lambda: PSS)


class Forge:
    """Makes keys, chains, CRLs and OCSP answers of vendor shape. Keys are remembered by label."""

    at = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def __init__(self) -> None:
        self.serials = iter(range(1000, 10**9))

    @staticmethod
    @cache
    def p384(label: str) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP384R1())

    @staticmethod
    @cache
    def p256(label: str) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @staticmethod
    @cache
    def rsa(label: str, size: int = 4096) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, size)

    @staticmethod
    def name(common_name: str, organisation: str = "NVIDIA Corporation") -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        )

    @staticmethod
    def amd_name(common_name: str, organisation: str = "Advanced Micro Devices") -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
                x509.NameAttribute(NameOID.LOCALITY_NAME, "Santa Clara"),
                x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )

    def device(self) -> list[Cert]:
        """A GPU's chain: leaf first, root last."""
        leaf = Cert(self.name("GH100 GSP FMC LF"), self.p384("ak"), ca=None, usage=("digital_signature",))
        labels = (("ik", "GH100 GSP BROM"), ("ica", "GH100 Provisioner ICA"), ("id", "GH100 Identity"), ("root", "Device Identity CA"))
        return [leaf, *(Cert(self.name(common_name), self.p384(label)) for label, common_name in labels)]

    def rim(self) -> list[Cert]:
        """A RIM signer's chain."""
        leaf = Cert(self.name("RIM Signer"), self.p384("rim-l4"), ca=False, usage=("digital_signature",))
        l3 = Cert(self.name("Reference Value L3"), self.p384("rim-l3"), path_length=0)
        labels = (("rim-l2", "Reference Value CA"), ("rim-root", "CoRIM signing Root CA"))
        return [leaf, l3, *(Cert(self.name(common_name), self.p384(label)) for label, common_name in labels)]

    def amd(self, signer: str = "VCEK", product: str = "Milan") -> list[Cert]:
        """A VCEK or VLEK, ASK or ASVK, ARK."""
        middle = f"SEV-{product}" if signer == "VCEK" else f"SEV-VLEK-{product}"
        return [
            Cert(self.amd_name(f"SEV-{signer}"), self.p384(signer), ca=None, usage=None, serial=0),
            Cert(self.amd_name(middle), self.rsa("ask"), path_length=0, usage=("key_cert_sign",)),
            Cert(self.amd_name(f"ARK-{product}"), self.rsa("ark")),
        ]

    def build(self, specs: list[Cert]) -> tuple[x509.Certificate, ...]:
        """Each certificate signed by the next, the last by itself, unless its description says otherwise."""
        return tuple(self.certificate(spec, specs[min(index + 1, len(specs) - 1)]) for index, spec in enumerate(specs))

    def certificate(self, spec: Cert, issuer: Cert) -> x509.Certificate:
        signer = spec.signer or issuer.key
        serial = next(self.serials) if spec.serial is None else spec.serial
        builder = (
            x509.CertificateBuilder()
            .subject_name(spec.subject)
            .issuer_name(spec.issuer or issuer.subject)
            .public_key(spec.key.public_key())
            .serial_number(serial or 1)
            .not_valid_before(spec.begin)
            .not_valid_after(spec.end)
        )
        if spec.ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(spec.ca, spec.path_length), critical=spec.ca_critical)
        if spec.usage is not None:
            builder = builder.add_extension(x509.KeyUsage(**{usage: usage in spec.usage for usage in USAGES}), critical=True)
        for extension, critical in spec.extra:
            builder = builder.add_extension(extension, critical=critical)
        pss = spec.pss if isinstance(signer, rsa.RSAPrivateKey) else None
        made = builder.sign(signer, spec.digest, rsa_padding=pss)
        return made if serial else self._serial_zero(made, signer, spec)

    def _serial_zero(self, made: x509.Certificate, signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, spec: Cert) -> x509.Certificate:
        """The same certificate with serial number 0, which the builder refuses to write."""
        tbs, algorithm, _ = children(made.public_bytes(Encoding.DER))
        fields = children(tbs)
        fields[1] = b"\x02\x01\x00"
        der = self.signed(tlv(0x30, *fields), algorithm, signer, spec)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return x509.load_der_x509_certificate(der)

    @staticmethod
    def signed(tbs: bytes, algorithm: bytes, signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, spec: Cert) -> bytes:
        """SEQUENCE of what was signed, how, and the signature."""
        if isinstance(signer, rsa.RSAPrivateKey):
            signature = signer.sign(tbs, spec.pss, spec.digest)
        else:
            signature = signer.sign(tbs, ec.ECDSA(spec.digest))
        return tlv(0x30, tbs, algorithm, tlv(0x03, b"\x00", signature))

    @staticmethod
    def anchor(root: x509.Certificate) -> Anchor:
        return Anchor("test root", spki_sha256(root.public_key()))

    # -- revocation --------------------------------------------------------------------------------------------------------

    def responder(self, **changes: object) -> Cert:
        """A delegated OCSP responder."""
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
        spec = Cert(self.name("OCSP Responder"), self.p384("ocsp"), ca=False, usage=("digital_signature",), extra=[(purposes, True)])
        for member, value in changes.items():
            setattr(spec, member, value)
        return spec

    def answer(
        self,
        subject: x509.Certificate,
        issuer: x509.Certificate,
        responder: x509.Certificate,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
        *,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        reason: x509.ReasonFlags | None = None,
        begin: datetime | None = None,
        end: datetime | Literal["a day later"] | None = "a day later",
        cert_id: hashes.HashAlgorithm | None = None,
        by: ocsp.OCSPResponderEncoding = ocsp.OCSPResponderEncoding.HASH,
        carried: tuple[x509.Certificate, ...] | None = None,
        extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        digest: hashes.HashAlgorithm | None = None,
    ) -> bytes:
        """An OCSP answer in DER, good for a day around :attr:`at` unless told otherwise."""
        begin = begin or self.at - timedelta(hours=1)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=subject,
            issuer=issuer,
            algorithm=cert_id or hashes.SHA384(),
            cert_status=status,
            this_update=begin,
            next_update=begin + timedelta(days=1) if end == "a day later" else end,
            revocation_time=begin if status is ocsp.OCSPCertStatus.REVOKED else None,
            revocation_reason=reason,
        )
        builder = builder.responder_id(by, responder)
        if carried is None or carried:
            builder = builder.certificates([responder] if carried is None else list(carried))
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(key, digest or hashes.SHA384()).public_bytes(Encoding.DER)

    def crl(
        self,
        issuer: Cert,
        *,
        revoked: tuple[x509.RevokedCertificate, ...] = (),
        begin: datetime | None = None,
        end: datetime | None = None,
        extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
        digest: hashes.HashAlgorithm | None = None,
        pss: padding.PSS | padding.PKCS1v15 = PSS,
    ) -> bytes:
        """A CRL in DER, good for thirty days around :attr:`at` unless told otherwise."""
        begin = begin or self.at - timedelta(days=1)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(begin)
            .next_update(end or begin + timedelta(days=30))
            .add_extension(x509.CRLNumber(7), critical=False)
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(entry)
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical=critical)
        key = signer or issuer.key
        made = builder.sign(key, digest or hashes.SHA384(), rsa_padding=pss if isinstance(key, rsa.RSAPrivateKey) else None)
        return made.public_bytes(Encoding.DER)

    def revocation(self, serial: int, *extra: tuple[x509.ExtensionType, bool]) -> x509.RevokedCertificate:
        """One entry of a CRL."""
        builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.at - timedelta(days=100))
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical=critical)
        return builder.build()

    # -- DER surgery, for tests --------------------------------------------------------------------------------------------

    tlv = staticmethod(tlv)
    children = staticmethod(children)


@pytest.fixture(scope="session")
def forge() -> Forge:
    """The maker of synthetic chains and revocation answers."""
    return Forge()
