"""A throw-away Intel: root, PCK CAs, TCB signer, and what they issue, in Intel's formats. Nothing here chains to Intel's own root.

Certificates name themselves as Intel's do, because verification asks for those names; the organisation says what they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from attest.crypto import sha256, spki_sha256
from attest.dcap.pck import EXTENSION, PckPlatform, PlatformType
from attest.errors import MalformedError
from attest.evidence import Tri
from attest.pki import Anchor
from attest.trust import Role
from attest.wire import Json

ORGANISATION: Final = "SIMULATED by attest"
NAMES: Final = {
    "root": "Intel SGX Root CA",
    "platform": "Intel SGX PCK Platform CA",
    "processor": "Intel SGX PCK Processor CA",
    "signer": "Intel SGX TCB Signing",
}
PCK_NAME: Final = "Intel SGX PCK Certificate"
_YEARS: Final = timedelta(days=365 * 20)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """One certificate of the simulation, with its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class SimulatedIntel:
    """The authorities by the names of :data:`NAMES`."""

    authorities: Mapping[str, Authority]

    @classmethod
    def create(cls, *, at: datetime) -> SimulatedIntel:
        """New authorities, valid from the day before ``at`` (aware)."""
        start = at.replace(microsecond=0) - 400 * _DAY
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = issue(NAMES["root"], root_key.public_key(), NAMES["root"], root_key, start=start, end=start + _YEARS, path_length=1)
        made = {"root": Authority(root_key, root)}
        for name in ("platform", "processor", "signer"):
            key = ec.generate_private_key(ec.SECP256R1())
            path_length = None if name == "signer" else 0
            certificate = issue(
                NAMES[name], key.public_key(), NAMES["root"], root_key, start=start, end=start + _YEARS, path_length=path_length
            )
            made[name] = Authority(key, certificate)
        return cls(made)

    def anchors(self) -> tuple[tuple[Role, Anchor], ...]:
        """The root's pin."""
        root = self.authorities["root"].certificate
        return ((Role.INTEL_SGX_ROOT, Anchor("simulated Intel SGX Root CA", spki_sha256(root.public_key()))),)

    def chain(self, *names: str) -> bytes:
        """PEM of authorities, in the order given."""
        return b"".join(self.authorities[name].pem for name in names)

    def to_pem(self) -> bytes:
        """Keys and certificates, for :meth:`from_pem`."""
        parts = []
        for name in NAMES:
            own = self.authorities[name]
            parts += [
                own.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
                own.pem,
            ]
        return b"".join(parts)

    @classmethod
    def from_pem(cls, data: bytes) -> SimulatedIntel:
        """Read what :meth:`to_pem` wrote. Raises MalformedError."""
        try:
            certificates = x509.load_pem_x509_certificates(data)
            end = b"-----END PRIVATE KEY-----\n"
            keys = [
                serialization.load_pem_private_key(b"-----BEGIN" + part.split(b"-----BEGIN")[-1] + end, None)
                for part in data.split(end)[:-1]
            ]
        except ValueError as error:
            raise MalformedError.at("simulate.authorities", "the simulated Intel cannot be read", found=str(error)[:80]) from None
        made = {}
        for name, key, certificate in zip(NAMES, keys, certificates, strict=True):
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise MalformedError.at("simulate.authorities", "the simulated Intel cannot be read", found=type(key).__name__)
            made[name] = Authority(key, certificate)
        return cls(made)


def issue(
    name: str,
    public: ec.EllipticCurvePublicKey,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    start: datetime,
    end: datetime,
    path_length: int | None = None,
    serial: int = 0,
    extension: bytes = b"",
) -> x509.Certificate:
    """One certificate. A path length makes it a CA; ``extension`` is the value of Intel's SGX extension."""
    ca = path_length is not None
    builder = (
        x509.CertificateBuilder(subject_name=_name(name), issuer_name=_name(issuer))
        .public_key(public)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(_usage(ca=ca), critical=True)
    )
    if extension:
        builder = builder.add_extension(x509.UnrecognizedExtension(EXTENSION, extension), critical=False)
    return builder.sign(key, hashes.SHA256())


def make_crl(issuer: Authority, *, start: datetime, end: datetime, revoked: Sequence[int] = (), number: bool = True) -> bytes:
    """A CRL in DER."""
    builder = x509.CertificateRevocationListBuilder(issuer_name=issuer.certificate.subject, last_update=start, next_update=end)
    if number:
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    for serial in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=start).build())
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def sign_raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """r then s, 64 bytes."""
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def signed_item(member: str, value: Json, key: ec.EllipticCurvePrivateKey, chain: bytes) -> bytes:
    """A TCB Info or QE Identity as a collateral item holds it."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return b'{"issuerChain":%b,"signature":"%b","%b":%b}' % (
        json.dumps(chain.decode()).encode(), sign_raw(key, body).hex().encode(), member.encode(), body,
    )  # fmt: skip


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """x then y, 64 bytes."""
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]


def simulated_ppid(platform: int) -> bytes:
    """Identity of a simulated processor package, 16 bytes."""
    return sha256(b"simulated platform %d" % platform)[:16]


# -- Intel's SGX extension ------------------------------------------------------------------------------------------------

_ARCS: Final = bytes.fromhex("2a864886f84d010d01")


def encode_platform(platform: PckPlatform) -> bytes:
    """The value of the extension for a platform."""
    components = b"".join(_member(bytes([2, arc]), _integer(svn)) for arc, svn in enumerate(platform.components, 1))
    tcb = components + _member(b"\2\x11", _integer(platform.pce_svn)) + _member(b"\2\x12", _tlv(4, platform.cpu_svn))
    members = [
        _member(b"\1", _tlv(4, platform.ppid)),
        _member(b"\2", _tlv(0x30, tcb)),
        _member(b"\3", _tlv(4, platform.pce_id)),
        _member(b"\4", _tlv(4, platform.fmspc)),
        _member(b"\5", _tlv(0x0A, bytes([list(PlatformType).index(platform.type)]))),
    ]
    if platform.instance_id:
        flags = (platform.dynamic_platform, platform.cached_keys, platform.smt_enabled)
        values = (_member(bytes([7, arc]), _tlv(1, b"\xff" if flag is Tri.YES else b"\0")) for arc, flag in enumerate(flags, 1))
        members += [_member(b"\6", _tlv(4, platform.instance_id)), _member(b"\7", _tlv(0x30, b"".join(values)))]
    return _tlv(0x30, b"".join(members))


def _member(arcs: bytes, value: bytes) -> bytes:
    return _tlv(0x30, _tlv(6, _ARCS + arcs) + value)


def _integer(value: int) -> bytes:
    return _tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION)])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=not ca, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
