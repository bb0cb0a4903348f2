"""What is trusted: immutable sets of pinned roots, each with a digest.

A root is pinned by the SHA-256 of its SubjectPublicKeyInfo, so the certificate itself may come from anywhere, even from the
host: it is believed only when its key is the pinned one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest.crypto import sha256
from attest.errors import MalformedError
from attest.pki import Anchor
from attest.wire import Fields, Json, canonical_json


class Origin(StrEnum):
    """Whether roots, evidence or keys stand for real hardware."""

    PRODUCTION = "production"
    SIMULATED = "simulated"


class Role(StrEnum):
    """What a root may vouch for. A root of one role is never tried for another."""

    NVIDIA_DEVICE = "nvidia-device"
    NVIDIA_RIM = "nvidia-rim"
    AMD_ARK_MILAN = "amd-ark-milan"
    AMD_ARK_GENOA = "amd-ark-genoa"
    AMD_ARK_TURIN = "amd-ark-turin"
    INTEL_SGX_ROOT = "intel-sgx-root"
    TPM_AK = "tpm-ak"  # certifies attestation keys of TPMs


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One TPM's attestation key, which the operator of this trust store vouches for: taken out of the store, it is revoked.

    label           what the operator calls the machine
    ak_name         hex TPM Name of the attestation key: its hash algorithm (2 bytes) and the digest over its public area
    ek_name         hex TPM Name of the endorsement key that the attestation key is bound to; empty when it is not known
    ek_certificate  hex SHA-256 of the endorsement certificate that was verified at enrolment; empty when there was none
    """

    label: str
    ak_name: str
    ek_name: str
    ek_certificate: str


@dataclass(frozen=True, slots=True)
class TrustStore:
    """Immutable set of anchors and enrolments, all production or all simulated, never a mix.

    ``digest`` (hex SHA-256 over the canonical JSON form) goes into every verified object, token and record.
    """

    name: str
    origin: Origin
    anchors: tuple[tuple[Role, Anchor], ...]
    digest: str
    enrolments: tuple[Enrolment, ...] = ()

    @classmethod
    def of(cls, name: str, origin: Origin, anchors: tuple[tuple[Role, Anchor], ...], enrolments: tuple[Enrolment, ...] = ()) -> TrustStore:
        """Build a store and its digest.

        Raises MalformedError when a production store holds anything but built-in pins, each for its own role, or when a simulated store
        holds one of them for any role.
        """
        pins = {(role, anchor.spki_sha256) for role, anchor in PRODUCTION_ANCHORS}
        keys = {key for _, key in pins}
        for role, anchor in anchors:
            good = (role, anchor.spki_sha256) in pins if origin is Origin.PRODUCTION else anchor.spki_sha256 not in keys
            if not good:
                raise MalformedError.at(
                    "trust.mixed",
                    f"anchor {anchor.name} for {role} does not belong into a {origin} trust store",
                    found=anchor.spki_sha256,
                    expected="built-in pins, each for its own role, in a production store, and none of them in a simulated one",
                )
        names = [item.ak_name for item in enrolments]
        for item in enrolments:
            if names.count(item.ak_name) > 1:
                raise MalformedError.at(
                    "trust.enrolment", "an attestation key is enrolled twice", found=item.ak_name, expected="each key once"
                )
        body: Json = _body(name, origin, anchors, enrolments)
        return cls(name, origin, anchors, sha256(canonical_json(body)).hex(), enrolments)

    @classmethod
    def production(cls) -> TrustStore:
        """The vendors' roots, as pinned in this file."""
        return _PRODUCTION

    @property
    def simulated(self) -> bool:
        """Whether what verifies here is a simulation."""
        return self.origin is Origin.SIMULATED

    def for_role(self, role: Role) -> tuple[Anchor, ...]:
        """Anchors of one role; may be empty."""
        return tuple(anchor for own, anchor in self.anchors if own is role)

    def enrolled(self, ak_name: bytes) -> Enrolment | None:
        """The enrolment of an attestation key by its TPM Name, or None."""
        return next((item for item in self.enrolments if item.ak_name == ak_name.hex()), None)

    def with_enrolment(self, enrolment: Enrolment) -> TrustStore:
        """The store with one more key. Raises MalformedError when it is enrolled already."""
        return TrustStore.of(self.name, self.origin, self.anchors, (*self.enrolments, enrolment))

    def to_json(self) -> bytes:
        """The file form, read back by :meth:`from_json`."""
        return canonical_json(_body(self.name, self.origin, self.anchors, self.enrolments)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes, name: str = "trust.json") -> TrustStore:
        """Read a store. Raises MalformedError."""
        fields = Fields.parse(data, name, limit=256 << 10)
        if fields.text("format") != FORMAT:
            raise MalformedError.at("trust.format", f"{name} is not a trust store", found=fields.text("format"), expected=FORMAT)
        anchors: list[tuple[Role, Anchor]] = []
        for item in fields.objects("anchors"):
            role = item.choice("role", Role)
            anchors.append((role, Anchor(item.text("name"), item.hex("spki_sha256", size=32).hex())))
            item.done()
        enrolments: list[Enrolment] = []
        for item in fields.objects("enrolments") if fields.has("enrolments") else ():
            texts = [item.text("label"), item.hex("ak_name").hex(), item.hex("ek_name").hex(), item.hex("ek_certificate").hex()]
            enrolments.append(Enrolment(*texts))
            item.done()
        store = cls.of(fields.text("name"), fields.choice("origin", Origin), tuple(anchors), tuple(enrolments))
        fields.done()
        return store


FORMAT: Final = "attest-trust/1"


def _body(name: str, origin: Origin, anchors: tuple[tuple[Role, Anchor], ...], enrolments: tuple[Enrolment, ...]) -> Json:
    body: dict[str, Json] = {
        "format": FORMAT,
        "name": name,
        "origin": origin.value,
        "anchors": [{"role": role.value, "name": anchor.name, "spki_sha256": anchor.spki_sha256} for role, anchor in anchors],
    }
    if enrolments:
        body["enrolments"] = [
            {"label": item.label, "ak_name": item.ak_name, "ek_name": item.ek_name, "ek_certificate": item.ek_certificate}
            for item in enrolments
        ]
    return body


# AMD: SPKI of the ARK certificates, one per product line (computed from the certificates that the verifiers of the field carry;
# AMD 57230, "Versioned Chip Endorsement Key Certificate and KDS Interface"). NVIDIA: SPKI of the two root certificates that
# NVIDIA's own verifier ships (nv-local-gpu-verifier 2.7.3, verifier/certs). Intel: SPKI of the one root of
# SGX and TDX (Intel SGX PCK Certificate and CRL Profile Specification). Virtual TPMs: SPKI of the roots that Google's go-tpm-tools
# ships (server/ca-certs) and of the root that verifiers of Azure trusted launch pin (Microsoft names it in its trusted launch FAQ).
PRODUCTION_ANCHORS: Final[tuple[tuple[Role, Anchor], ...]] = (
    (Role.NVIDIA_DEVICE, Anchor("NVIDIA Device Identity CA", "a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4")),
    (Role.NVIDIA_RIM, Anchor("NVIDIA CoRIM signing Root CA", "dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3")),
    (Role.AMD_ARK_MILAN, Anchor("ARK-Milan", "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9")),
    (Role.AMD_ARK_GENOA, Anchor("ARK-Genoa", "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831")),
    (Role.AMD_ARK_TURIN, Anchor("ARK-Turin", "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08")),
    (Role.INTEL_SGX_ROOT, Anchor("Intel SGX Root CA", "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e")),
    (
        Role.TPM_AK,
        Anchor("Azure Virtual TPM Root Certificate Authority 2023", "5cbc52672ae101263c2976736044a964c1182ce9412c39937183baddcccb8cdf"),
    ),
    (Role.TPM_AK, Anchor("Google Cloud EK/AK CA Root", "56a613f57126a385dd6949294e93b0b566f96ab0573be0c2368e6f5ca779831f")),
    (Role.TPM_AK, Anchor("Google tpm_ek_v1_cloud_host_root", "f23057f4f97d1d90e4cae0ce91d5a0fc99069f0a1bc147021dca33b1e9c4d0d9")),
)

_PRODUCTION: Final = TrustStore.of("production", Origin.PRODUCTION, PRODUCTION_ANCHORS)
