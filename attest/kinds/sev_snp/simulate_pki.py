"""A throw-away AMD: ARK, ASK and ASVK of one product line, and the certificates and CRLs that they issue.

Everything has the names, algorithms and extensions of AMD's own, so that nothing in verification knows of simulation. Two things tell
it apart: every certificate carries the comment "SIMULATED", and no production trust store pins these keys. The private keys
protect nothing and are no secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from attest.crypto import spki_sha256
from attest.errors import MalformedError
from attest.kinds.sev_snp.product import LINES, AmdProduct, ProductLine
from attest.pki import Anchor
from attest.trust import Role

_AUTHORITIES: Final = ("ark", "ask", "asvk")
_SALT: Final = 48
_SERIALS: Final = {"ark": 0x10000, "ask": 0x10001, "asvk": 0x10101}
_LIFE: Final = timedelta(days=25 * 365)
_COMMENT: Final = x509.ObjectIdentifier("2.16.840.1.113730.1.13")  # Netscape comment: shown by every certificate viewer
_COMMENT_TEXT: Final = b"SIMULATED by attest: not AMD, worth nothing"
_HEADER: Final = """SIMULATED AMD {name} keys, made by attest.
They are not AMD's, protect nothing, and no production trust store accepts them. No secret is in this file.

"""
_AMD: Final = (
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
    (NameOID.COUNTRY_NAME, "US"),
    (NameOID.LOCALITY_NAME, "Santa Clara"),
    (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
    (NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
)
_EXTENSION_ROOT: Final = "1.3.6.1.4.1.3704.1."
_KEY_BLOCK: Final = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LeafSpec:
    """A VCEK or VLEK to issue. Every member can be made wrong.

    issuer      authority that signs and is named as issuer: "ask" or "asvk"
    extensions  (last arcs of AMD's OID, DER value) pairs, in order; the same arcs twice make a duplicate extension
    salt        bytes of PSS salt
    """

    common_name: str
    issuer: str
    key: ec.EllipticCurvePrivateKey
    extensions: tuple[tuple[str, bytes], ...]
    not_before: datetime
    not_after: datetime
    organisation: str = "Advanced Micro Devices"
    ca: bool = False
    salt: int = _SALT


@dataclass(frozen=True, slots=True)
class CrlSpec:
    """A CRL to issue in the name of ``issuer``, by the key of ``signer``, listing the named authorities."""

    this_update: datetime
    next_update: datetime
    revoked: tuple[str, ...] = ()
    issuer: str = "ark"
    signer: str = "ark"


@dataclass(frozen=True)
class SimulatedAmd:
    """The simulated authorities of one product line. :meth:`create` takes seconds (three RSA-4096 keys): keep :meth:`to_pem`."""

    product: AmdProduct
    keys: dict[str, rsa.RSAPrivateKey] = field(repr=False)
    certificates: dict[str, x509.Certificate] = field(repr=False)

    @classmethod
    def create(cls, product: AmdProduct, *, at: datetime) -> SimulatedAmd:
        """New keys, valid from a year before ``at`` (aware) for 25 years."""
        keys = {name: rsa.generate_private_key(65537, 4096) for name in _AUTHORITIES}
        line = LINES[product]
        start = (at - timedelta(days=365)).replace(microsecond=0)
        made = {name: _authority(name, line, keys[name], "ark", keys["ark"], start) for name in _AUTHORITIES}
        return cls(product, keys, made)

    # -- what a verifier is given ------------------------------------------------------------------------------------------

    @property
    def line(self) -> ProductLine:
        """The product line that these authorities stand for."""
        return LINES[self.product]

    @property
    def anchors(self) -> tuple[tuple[Role, Anchor], ...]:
        """For a trust store of origin ``simulated``."""
        return ((self.line.role, Anchor(f"ARK-{self.line.name} (simulated)", spki_sha256(self.keys["ark"].public_key()))),)

    def chain_pem(self, *names: str) -> bytes:
        """Certificates of the named authorities, PEM; "foreign-ask" and "foreign-ark" are of a root that nobody pins."""
        return b"".join(self.authority(name).public_bytes(Encoding.PEM) for name in names)

    def authority(self, name: str) -> x509.Certificate:
        """The certificate of an authority by name."""
        return self._foreign[name] if name in self._foreign else self.certificates[name]

    @cached_property
    def _foreign(self) -> dict[str, x509.Certificate]:
        """A root of the right name with another key, and the ASK issued by it: what anybody can make."""
        key = self.keys["asvk"]
        start = self.certificates["ark"].not_valid_before_utc
        return {
            "foreign-ark": _authority("ark", self.line, key, "ark", key, start),
            "foreign-ask": _authority("ask", self.line, self.keys["ask"], "ark", key, start),
        }

    # -- issuing -----------------------------------------------------------------------------------------------------------

    def leaf(self, spec: LeafSpec) -> bytes:
        """Issue a leaf, DER, serial number 0 as AMD's have."""
        names = [*_AMD[:-1], (NameOID.ORGANIZATION_NAME, spec.organisation), (NameOID.COMMON_NAME, spec.common_name)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(names))
            .issuer_name(self.certificates[spec.issuer].subject)
            .public_key(spec.key.public_key())
            .serial_number(1)
            .not_valid_before(spec.not_before)
            .not_valid_after(spec.not_after)
            .add_extension(_comment(), critical=False)
        )
        if spec.ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        renamed: list[tuple[bytes, bytes]] = []
        seen: set[str] = set()
        for arcs, value in spec.extensions:
            own = x509.ObjectIdentifier(_EXTENSION_ROOT + arcs)
            if arcs in seen:  # the builder refuses duplicates: use a free arc of the same length, and rename it in the bytes
                head, _, tail = arcs.rpartition(".")
                spare = x509.ObjectIdentifier(_EXTENSION_ROOT + ".".join(filter(None, (head, str(int(tail) + 64)))))
                renamed.append((_oid_der(spare), _oid_der(own)))
                own = spare
            seen.add(arcs)
            builder = builder.add_extension(x509.UnrecognizedExtension(own, value), critical=False)
        key = self.keys[spec.issuer]
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), spec.salt)
        draft = builder.sign(key, hashes.SHA384(), rsa_padding=pss)
        return _reissue(draft, key, pss, renamed)

    def crl(self, spec: CrlSpec) -> bytes:
        """Issue a CRL, DER."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificates[spec.issuer].subject)
            .last_update(spec.this_update)
            .next_update(spec.next_update)
        )
        for name in spec.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(self.certificates[name].serial_number).revocation_date(spec.this_update)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.keys[spec.signer], hashes.SHA384(), rsa_padding=_pss()).public_bytes(Encoding.DER)

    # -- keeping -----------------------------------------------------------------------------------------------------------

    def to_pem(self) -> bytes:
        """Keys and certificates as one text file that says what it is."""
        text = _HEADER.format(name=self.line.name).encode()
        for name in _AUTHORITIES:
            text += self.keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            text += self.certificates[name].public_bytes(Encoding.PEM)
        return text

    @classmethod
    def from_pem(cls, data: bytes) -> SimulatedAmd:
        """Read what :meth:`to_pem` wrote. Raises MalformedError."""
        try:
            # Our own throw-away keys: testing their primes again would take a second, and a wrong key makes evidence that is refused.
            loaded = [load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True) for block in _KEY_BLOCK.findall(data)]
            keys = [key for key in loaded if isinstance(key, rsa.RSAPrivateKey)]
            certificates = x509.load_pem_x509_certificates(data)
            line = next(line for line in LINES.values() if f"CN=ARK-{line.name}," in certificates[0].subject.rfc4514_string() + ",")
            made = dict(zip(_AUTHORITIES, certificates, strict=True))
            return cls(line.product, dict(zip(_AUTHORITIES, keys, strict=True)), made)
        except (ValueError, TypeError, StopIteration):
            raise MalformedError.at("simulate.keys", "this is not a file of simulated AMD keys") from None


def _authority(
    name: str, line: ProductLine, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey, start: datetime
) -> x509.Certificate:
    root = name == "ark"
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name([*_AMD, (NameOID.COMMON_NAME, _common_name(name, line))]))
        .issuer_name(_name([*_AMD, (NameOID.COMMON_NAME, _common_name(issuer, line))]))
        .public_key(key.public_key())
        .serial_number(_SERIALS[name])
        .not_valid_before(start)
        .not_valid_after(start + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None if root else 0), critical=True)
        .add_extension(_usage(crl_sign=root), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_comment(), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA384(), rsa_padding=_pss())


def _common_name(name: str, line: ProductLine) -> str:
    return {"ark": f"ARK-{line.name}", "ask": f"SEV-{line.name}", "asvk": f"SEV-VLEK-{line.name}"}[name]


def _name(attributes: Sequence[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def _comment() -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(_COMMENT, bytes([0x16, len(_COMMENT_TEXT)]) + _COMMENT_TEXT)


def _usage(*, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=True, crl_sign=crl_sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pss() -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA384()), _SALT)


def _oid_der(oid: x509.ObjectIdentifier) -> bytes:
    """Content bytes of an OID under 1.3 (X.690 section 8.19)."""
    body = bytearray([43])
    for arc in (int(part) for part in oid.dotted_string.split(".")[2:]):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        body += bytes(reversed(groups))
    return bytes(body)


def _reissue(draft: x509.Certificate, key: rsa.RSAPrivateKey, pss: padding.PSS, renamed: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The certificate with serial number 0 and extensions renamed, signed again: the library builds neither.

    All lengths stay the same, so the signed part and the signature (512 bytes at the end) are replaced in place.
    """
    tbs = draft.tbs_certificate_bytes
    version_and_serial = bytes.fromhex("a003020102020101")
    index = tbs.index(version_and_serial) + len(version_and_serial) - 1
    changed = tbs[:index] + b"\x00" + tbs[index + 1 :]
    for spare, own in renamed:
        changed = changed.replace(spare, own)
    der = draft.public_bytes(Encoding.DER)
    start = der.index(tbs)
    return der[:start] + changed + der[start + len(tbs) : -512] + key.sign(changed, pss, hashes.SHA384())
