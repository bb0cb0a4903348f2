"""What the certificates of a Hopper GPU say: the chip's identity, its architecture, and the firmware its attestation key belongs to.

    0  attestation key   "GH100 A01 GSP FMC LF"            new for every firmware; extension 2.23.133.5.4.1
    1  identity key      "GH100 A01 GSP BROM"              fused into the chip; subject serialNumber 41 and 8 bytes
    2  provisioner       "NVIDIA GH100 Provisioner ICA 1"
    3  product           "NVIDIA GH100 Identity"           shared with the LS10 switch
    4  root              "NVIDIA Device Identity CA"

The extension is a TCG DICE CompositeDeviceID: version, the key of the layer below (the identity key), and a firmware digest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from attest.checks import Check
from attest.errors import Outcome

ARCHITECTURE: Final = Check(
    "nvidia-gpu.architecture",
    "supported architecture",
    "NVIDIA device identity certificates: common name of certificate 1",
    Outcome.REFUSED,
    "this version verifies Hopper GPUs (GH100); other NVIDIA devices need a version that knows their reports",
)
NAMES: Final = Check(
    "nvidia-gpu.chain-names",
    "names in the certificate chain",
    "NVIDIA device identity certificates of GH100",
    fix="the certificates do not belong together: take the attestation chain of this very GPU from the driver",
)
FWID: Final = Check(
    "nvidia-gpu.fwid",
    "firmware identity",
    "TCG DICE Attestation Architecture (FWID), extension 2.23.133.5.4.1; required in reports since driver 550",
    fix="the report was made by other firmware than the attestation key was issued for: fetch report and chain again, together",
)

SUPPORTED: Final = "GH100"
DICE_COMPOSITE: Final = x509.ObjectIdentifier("2.23.133.5.4.1")
DICE_TCB_INFO: Final = x509.ObjectIdentifier("2.23.133.5.4.1.1")
SHA384: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2")
_FIRST_DRIVER_WITH_FWID: Final = (550, 0, 0)
_IDENTITY: Final = re.compile(r"41[0-9A-F]{16}\Z")
_BROM: Final = re.compile(r"([A-Z0-9_]{2,8}) [A-Z]\d\d [A-Z]SP BROM\Z")
_NAMES: Final = (
    re.compile(r"GH100 ([A-Z]\d\d) GSP FMC LF\Z"),
    re.compile(r"GH100 ([A-Z]\d\d) GSP BROM\Z"),
    re.compile(r"NVIDIA GH100 Provisioner ICA \d{1,5}\Z"),
    re.compile(r"NVIDIA GH100 Identity\Z"),
)


def chip_name(certificates: Sequence[x509.Certificate]) -> str:
    """Chip that the chain claims to belong to ("GH100", "GB100", "LS_10"), or the empty string. Proves nothing by itself."""
    match = _BROM.match(_common_name(certificates[1])) if len(certificates) > 1 else None
    return match[1] if match else ""


def require_supported(certificates: Sequence[x509.Certificate]) -> None:
    """Refuse a chain of another architecture before its report is read: layouts differ. Raises RefusedError."""
    chip = chip_name(certificates)
    if chip != SUPPORTED:
        found = f"architecture not supported: {chip}" if chip else f"certificate 1 of {_common_name(certificates[1])!r}"
        raise ARCHITECTURE.failure(found=found, expected=f"{SUPPORTED} (Hopper)", where="certificate 1, common name")


def device_identity(certificates: Sequence[x509.Certificate]) -> str:
    """Serial number of the chip, when the names of all certificates are those of one Hopper GPU. Raises NotAuthenticError."""
    steppings: set[str] = set()
    for index, (certificate, pattern) in enumerate(zip(certificates, _NAMES, strict=False)):
        name = _common_name(certificate)
        match = pattern.match(name)
        if match is None:
            raise NAMES.failure(found=repr(name), expected=pattern.pattern.removesuffix(r"\Z"), where=f"certificate {index}, common name")
        steppings.update(match.groups())
    NAMES.require(len(steppings) == 1, found=" and ".join(sorted(steppings)), expected="one stepping", where="certificates 0 and 1")
    serial = _attribute(certificates[1], NameOID.SERIAL_NUMBER)
    NAMES.require(
        bool(_IDENTITY.match(serial)), found=repr(serial), expected="41 and 16 hex digits", where="certificate 1, subject serialNumber"
    )
    return serial


def hardware_model(certificates: Sequence[x509.Certificate]) -> str:
    """Common name of the identity key's certificate."""
    return _common_name(certificates[1])


@asn1.sequence
class _AlgorithmIdentifier:
    algorithm: x509.ObjectIdentifier
    parameters: x509.ObjectIdentifier


@asn1.sequence
class SubjectPublicKeyInfo:
    """RFC 5280 section 4.1.2.7, for keys on a named curve."""

    algorithm: _AlgorithmIdentifier
    key: asn1.BitString


@asn1.sequence
class Fwid:
    """Digest of the firmware that the attestation key was issued for."""

    hash_algorithm: x509.ObjectIdentifier
    digest: Annotated[bytes, asn1.Size(min=48, max=48)]


@asn1.sequence
class CompositeDeviceId:
    """Value of the DICE extension: version, identity key, firmware digest."""

    version: int
    device_id: SubjectPublicKeyInfo
    fwid: Fwid


def require_firmware(certificates: Sequence[x509.Certificate], fwid: bytes | None, driver: tuple[int, int, int]) -> bool:
    """Whether the report names the firmware of its attestation key: False is allowed only where drivers do not report it.

    Raises NotAuthenticError when the report names other firmware than the certificate, or none although its driver does.
    """
    certified = _certified_fwid(certificates)
    if fwid is None:
        FWID.require(
            driver < _FIRST_DRIVER_WITH_FWID,
            found="no firmware identity in the report",
            expected="one, as the driver is 550 or newer",
            where="opaque field 20",
        )
        return False
    expected = certified.hex() if certified else "none: there is no firmware identity in the certificate"
    FWID.require(fwid == certified, found=fwid.hex(), expected=expected, where="opaque field 20")
    return True


def _certified_fwid(certificates: Sequence[x509.Certificate]) -> bytes | None:
    """Firmware digest in the attestation key's certificate; None when it has no DICE extension."""
    leaf, identity = certificates[:2]
    found = {extension.oid: extension.value for extension in leaf.extensions if extension.oid in (DICE_COMPOSITE, DICE_TCB_INFO)}
    FWID.require(
        DICE_TCB_INFO not in found, found=f"extension {DICE_TCB_INFO.dotted_string}", expected="none on GH100", where="certificate 0"
    )
    value = found.get(DICE_COMPOSITE)
    if value is None:
        return None
    try:
        composite = asn1.decode_der(CompositeDeviceId, value.public_bytes())
    except ValueError as error:
        raise FWID.failure(found=str(error)[:80], expected="a DICE CompositeDeviceID", where="certificate 0") from None
    FWID.require(
        composite.version == 1 and composite.fwid.hash_algorithm == SHA384,
        found=f"version {composite.version}, hash {composite.fwid.hash_algorithm.dotted_string}",
        expected=f"version 1, hash {SHA384.dotted_string}",
        where="certificate 0",
    )
    key = identity.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    FWID.require(
        asn1.encode_der(composite.device_id) == key, found="another key", expected="the key of certificate 1", where="certificate 0"
    )
    return composite.fwid.digest


def _common_name(certificate: x509.Certificate) -> str:
    return _attribute(certificate, NameOID.COMMON_NAME)


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if len(values) == 1 else ""
