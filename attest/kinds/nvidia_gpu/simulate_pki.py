"""Throw-away NVIDIA-shaped certificate authorities: device roots, GPUs, manifest signers and OCSP responders.

Nothing here verifies against a production trust store: the roots are new in every simulation, and every certificate says SIMULATED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attest.crypto import sha256, sha384, spki_sha256
from attest.errors import UsageError
from attest.kinds.nvidia_gpu.certificates import DICE_COMPOSITE, SHA384, CompositeDeviceId, Fwid, SubjectPublicKeyInfo
from attest.pki import Anchor
from attest.trust import Role

ORGANISATION: Final = "SIMULATED NVIDIA Corporation"
FOREVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
FIRMWARE: Final = sha384(b"simulated GSP firmware")

_SAN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.412.274.1")  # DMTF SPDM device information
_DAY: Final = timedelta(days=1)
_YEAR: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class CertificateForm:
    """Everything that one certificate says; a defect replaces a member and issues again.

    ``serial_text`` is the subject's serialNumber, ``extensions`` vendor extensions, ``purpose`` the extended key usage.
    """

    name: str
    key: ec.EllipticCurvePublicKey
    serial: int
    not_before: datetime
    not_after: datetime
    ca: bool
    serial_text: str = ""
    purpose: x509.ObjectIdentifier | None = None
    extensions: tuple[x509.ExtensionType, ...] = ()

    def subject(self) -> x509.Name:
        """Organisation, country, common name, and the serial number where there is one."""
        parts = [(NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, ORGANISATION), (NameOID.COMMON_NAME, self.name)]
        if self.serial_text:
            parts.insert(0, (NameOID.SERIAL_NUMBER, self.serial_text))
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(self, form: CertificateForm) -> x509.Certificate:
        """A certificate of ``form``, signed by this authority with ECDSA and SHA-384."""
        return _sign(form, self.certificate.subject, self.key)


def _sign(form: CertificateForm, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(form.subject())
        .issuer_name(issuer)
        .public_key(form.key)
        .serial_number(form.serial)
        .not_valid_before(form.not_before)
        .not_valid_after(form.not_after)
        .add_extension(_usage(ca=form.ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(form.key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if form.ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if form.purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([form.purpose]), critical=False)
    for extension in form.extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA384())


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-384 key."""
    return ec.generate_private_key(ec.SECP384R1())


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def dice_extension(identity: ec.EllipticCurvePublicKey, fwid: bytes, *, hash_oid: x509.ObjectIdentifier = SHA384) -> x509.ExtensionType:
    """The extension that names the layer below and the firmware (see certificates.py)."""
    value = CompositeDeviceId(
        version=1, device_id=asn1.decode_der(SubjectPublicKeyInfo, spki(identity)), fwid=Fwid(hash_algorithm=hash_oid, digest=fwid)
    )
    return x509.UnrecognizedExtension(DICE_COMPOSITE, asn1.encode_der(value))


# Name to (issuer, common name, years of validity; 0 is forever). GPUs are added by number.
_CAS: Final = {
    "device-root": ("device-root", "SIMULATED NVIDIA Device Identity CA", 0),
    "device-product": ("device-root", "NVIDIA GH100 Identity", 0),
    "device-provisioner": ("device-product", "NVIDIA GH100 Provisioner ICA 1", 0),
    "rim-root": ("rim-root", "SIMULATED NVIDIA CoRIM signing Root CA", 30),
    "rim-ca": ("rim-root", "NVIDIA Reference Value GH100 CA", 10),
    "rim-l3": ("rim-ca", "NVIDIA Reference Value L3 GH100 001", 4),
}
_SIGNERS: Final = {"rim-driver": ("rim-l3", "HCC RIM L4 Signer", 2), "rim-vbios": ("rim-l3", "HCC RIM L4 Signer", 2)}
_RESPONDERS: Final = {f"ocsp-{issuer}": (issuer, f"SIMULATED NVIDIA OCSP Responder {issuer}", 2) for issuer in _CAS}


class SimulatedNvidia:
    """All authorities of one simulation. Members are found by name: "device-root", "gpu-0-identity", "rim-driver", …"""

    def __init__(self, members: dict[str, Authority]) -> None:
        self._members: Final = members
        self._made: Final[dict[tuple[object, ...], bytes]] = {}

    @classmethod
    def create(cls, *, at: datetime, gpus: int = 8) -> Self:
        """New keys and certificates, valid from the day before ``at`` (aware), for ``gpus`` distinct GPUs."""
        made = cls({})
        for name in _names(gpus):
            key = new_key()
            form = made.form(name, key.public_key(), start=at - _DAY)
            issuer = made.issuer_name(name)
            certificate = _sign(form, form.subject(), key) if issuer == name else made[issuer].issue(form)
            made._members[name] = Authority(certificate, key)
        return made

    def __getitem__(self, name: str) -> Authority:
        if name not in self._members:
            raise UsageError.of("the simulation has no such member", found=name, expected=", ".join(self._members))
        return self._members[name]

    @property
    def gpus(self) -> int:
        """Number of GPUs."""
        return sum(name.endswith("-identity") for name in self._members)

    def anchors(self) -> tuple[tuple[Role, Anchor], ...]:
        """What a simulated trust store must pin."""
        return tuple(
            (role, Anchor(_CAS[name][1], spki_sha256(self[name].key.public_key())))
            for role, name in ((Role.NVIDIA_DEVICE, "device-root"), (Role.NVIDIA_RIM, "rim-root"))
        )

    def issuer_name(self, name: str) -> str:
        """Name of the member that issues ``name``."""
        if name.startswith("gpu-"):
            return name.replace("-attestation", "-identity") if name.endswith("-attestation") else "device-provisioner"
        return (_CAS | _SIGNERS | _RESPONDERS)[name][0]

    def form(self, name: str, key: ec.EllipticCurvePublicKey, *, start: datetime) -> CertificateForm:
        """What the certificate of a member says. Serial numbers follow from the key."""
        digest = sha256(spki(key))
        serial = int.from_bytes(digest[:15], "big") | 1 << 112
        if name.endswith("-identity"):
            text = f"41{digest[:8].hex().upper()}"
            return CertificateForm("GH100 A01 GSP BROM", key, int(text, 16), start, FOREVER, ca=True, serial_text=text)
        if name.endswith("-attestation"):
            identity = self[self.issuer_name(name)].key.public_key()
            device = x509.OtherName(_SAN, asn1.encode_der(f"NVIDIA:GH100:{sha256(spki(identity))[8:16].hex().upper()}"))
            extensions = (x509.SubjectAlternativeName([device]), dice_extension(identity, FIRMWARE))
            text = f"{serial:040X}"
            return CertificateForm("GH100 A01 GSP FMC LF", key, serial, start, FOREVER, ca=False, serial_text=text, extensions=extensions)
        _issuer, title, years = (_CAS | _SIGNERS | _RESPONDERS)[name]
        end = start + years * _YEAR if years else FOREVER
        purpose = ExtendedKeyUsageOID.OCSP_SIGNING if name in _RESPONDERS else None
        return CertificateForm(title, key, serial, start, end, ca=name in _CAS, purpose=purpose)

    def own_form(self, name: str) -> CertificateForm:
        """The form of a member as it was issued: what a defect starts from."""
        member = self[name]
        return self.form(name, member.key.public_key(), start=member.certificate.not_valid_before_utc)

    def device_chain(self, gpu: int) -> list[x509.Certificate]:
        """Certificates of one GPU, leaf first."""
        names = (f"gpu-{gpu}-attestation", f"gpu-{gpu}-identity", "device-provisioner", "device-product", "device-root")
        return [self[name].certificate for name in names]

    def manifest_chain(self, source: str) -> list[x509.Certificate]:
        """Certificates of the signer of "driver" or "vbios" manifests, leaf first."""
        return [self[name].certificate for name in (f"rim-{source}", "rim-l3", "rim-ca", "rim-root")]

    def once(self, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        """What ``make`` returned the first time: signatures differ each time, and devices must share their collateral."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write every member as PEM, certificate and key. The keys vouch for nothing, and are readable by the owner only all the same."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, member in self._members.items():
            key = member.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            target = folder / f"{name}.key.pem"
            target.touch(mode=0o600)
            target.write_bytes(key)
            (folder / f"{name}.pem").write_bytes(member.certificate.public_bytes(serialization.Encoding.PEM))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote. Raises UsageError when a member is missing."""
        gpus = len(list(folder.glob("gpu-*-identity.pem")))
        members: dict[str, Authority] = {}
        for name in _names(gpus):
            try:
                key = serialization.load_pem_private_key((folder / f"{name}.key.pem").read_bytes(), None)
                certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
            except (OSError, ValueError, TypeError) as error:
                raise UsageError.of(
                    "the simulation cannot be read", found=f"{name}: {error}", expected=f"{folder} as it was saved"
                ) from None
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise UsageError.of("the simulation has a key of another kind", found=name)
            members[name] = Authority(certificate, key)
        return cls(members)


def _names(gpus: int) -> Iterator[str]:
    yield from _CAS
    yield from _SIGNERS
    yield from _RESPONDERS
    for number in range(gpus):
        yield f"gpu-{number}-identity"
        yield f"gpu-{number}-attestation"


def reissue(pki: SimulatedNvidia, names: Sequence[str], changes: Mapping[str, Mapping[str, object]]) -> list[x509.Certificate]:
    """A chain issued again from the root down: members given leaf first, ``changes`` of their forms keyed by the end of the name."""
    certificates = [pki[names[-1]].certificate]
    for above, name in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
        own = next((change for end, change in changes.items() if name.endswith(end)), {})
        form = replace(pki.own_form(name), **own)  # type: ignore[arg-type]
        certificates.append(Authority(certificates[-1], pki[above].key).issue(form))
    return certificates[::-1]


# -- OCSP answers ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class AnswerForm:
    """One OCSP answer; a defect changes a member.

    ``responder`` signs and is carried in the answer; ``spoilt`` changes the signature; ``raw`` replaces the whole answer.
    """

    subject: x509.Certificate
    issuer: x509.Certificate
    responder: Authority
    this_update: datetime
    next_update: datetime | None
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD
    reason: x509.ReasonFlags | None = None
    spoilt: bool = False
    raw: bytes | None = None

    def encode(self) -> bytes:
        """DER."""
        if self.raw is not None:
            return self.raw
        revoked = self.status is ocsp.OCSPCertStatus.REVOKED
        answer = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=self.subject,
                issuer=self.issuer,
                algorithm=hashes.SHA384(),
                cert_status=self.status,
                this_update=self.this_update,
                next_update=self.next_update,
                revocation_time=self.this_update if revoked else None,
                revocation_reason=self.reason,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.responder.certificate)
            .certificates([self.responder.certificate])
            .sign(self.responder.key, hashes.SHA384())
        )
        data = answer.public_bytes(serialization.Encoding.DER)
        if self.spoilt:
            data = data.replace(answer.signature, answer.signature[:-1] + bytes((answer.signature[-1] ^ 1,)))
        return data


def answer_form(pki: SimulatedNvidia, name: str, *, at: datetime) -> AnswerForm:
    """A good answer for a member, valid for a day from an hour before ``at``."""
    issuer = pki.issuer_name(name)
    return AnswerForm(
        pki[name].certificate,
        pki[issuer].certificate,
        pki[f"ocsp-{issuer}"],
        at - timedelta(hours=1),
        at + timedelta(hours=23),
    )
