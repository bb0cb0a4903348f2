"""Simulated reference manifests, in the exact form of NVIDIA's, with any part of them changeable before or after signing.

The signature is made here and not by the library that verifies it: the two must agree on canonical form and digest by themselves.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from lxml import etree

from attest.crypto import sha384
from attest.kinds.nvidia_gpu.reference import ENTRIES
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia

# Where genuine Hopper manifests are active, and how many alternatives they have there.
ACTIVE: Final = {"driver": (7, *range(21, 41)), "vbios": (*range(7), *range(8, 13))}
_ALTERNATIVES: Final = {"driver": {23: 2, 24: 2, 32: 2, 34: 2, 35: 4, 36: 2}, "vbios": {12: 4}}

_HEAD: Final = """\
<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd"\
 xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"\
 corpus="false" name="{chip}" patch="false" supplemental="false" tagId="{tag}" version="1.0" tagVersion="0">
    <ns0:Entity name="SIMULATED NVIDIA Corporation" role="softwareCreator tagCreator"/>
    <ns0:Meta xmlns:ns1="https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"\
 colloquialVersion="{version}" edition="GPU" product="{chip}" revision="r1" PayloadType="direct" ns1:BindingSpec="RIMIM"\
 ns1:BindingSpecVersion="1.01" ns1:PlatformManufacturerId="5703" ns1:PlatformManufacturerStr="SIMULATED NVIDIA Corporation"\
 ns1:PlatformModel="{chip}" ns1:FirmwareManufacturer="SIMULATED NVIDIA Corporation" ns1:FirmwareManufacturerId="5703"/>
    <ns0:Payload xmlns:SHA384="http://www.w3.org/2001/04/xmlenc#sha384">
"""
_TAIL: Final = "    </ns0:Payload>\n</SoftwareIdentity>"
_SIGNATURE: Final = """\
<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>\
<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>\
<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"/>\
<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>\
<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/></ds:Transforms>\
<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/><ds:DigestValue>%DIGEST%</ds:DigestValue></ds:Reference>\
</ds:SignedInfo><ds:SignatureValue>%SIGNATURE%</ds:SignatureValue><ds:KeyInfo><ds:X509Data>%CERTIFICATES%</ds:X509Data></ds:KeyInfo>\
</ds:Signature>"""

Edit = Callable[[str], str]


@dataclass(slots=True)
class Entry:
    """One Resource; ``count`` is what it says about the number of its alternatives."""

    index: str
    active: str
    values: list[str]
    count: str
    size: str = "48"
    type: str = "Measurement"

    def encode(self) -> str:
        """One line of the Payload."""
        values = "".join(f' ns2:Hash{number}="{value}"' for number, value in enumerate(self.values))
        return (
            f'        <ns0:Resource type="{self.type}" index="{self.index}" active="{self.active}" alternatives="{self.count}"'
            f'{values} name="Measurement_{self.index}" size="{self.size}"/>\n'
        )


@dataclass(slots=True)
class ManifestForm:
    """One manifest; a defect changes a member, or edits the text before it is signed, its signature template, or the signed text."""

    version: str
    entries: list[Entry]
    certificates: list[x509.Certificate]
    key: ec.EllipticCurvePrivateKey
    chip: str = "GH100"
    before: list[Edit] = field(default_factory=list)
    template: list[Edit] = field(default_factory=list)
    after: list[Edit] = field(default_factory=list)

    def encode(self) -> bytes:
        """The signed XML."""
        head = _HEAD.format(chip=self.chip, version=self.version, tag=sha384(f"{self.chip}_{self.version}".encode()).hex())
        text = _edited(head + "".join(entry.encode() for entry in self.entries) + _TAIL, self.before)
        digest = base64.b64encode(sha384(_canonical(etree.fromstring(text)))).decode()
        certificates = "".join(f"<ds:X509Certificate>{_base64(item)}\n</ds:X509Certificate>" for item in self.certificates)
        signature = _edited(_SIGNATURE, self.template).replace("%DIGEST%", digest).replace("%CERTIFICATES%", certificates)
        whole = text.removesuffix("</SoftwareIdentity>") + signature + "</SoftwareIdentity>"
        signed = next(etree.fromstring(whole).iter("{http://www.w3.org/2000/09/xmldsig#}SignedInfo"))
        whole = whole.replace("%SIGNATURE%", _sign(self.key, _canonical(signed)))
        return _edited(whole, self.after).encode()


def _edited(text: str, edits: Sequence[Edit]) -> str:
    for edit in edits:
        changed = edit(text)
        if changed == text:
            raise AssertionError("an edit of a simulated manifest changed nothing")
        text = changed
    return text


def _canonical(element: etree._Element) -> bytes:
    # Canonical XML 1.0 and 1.1 give the same octets for these documents: they differ in xml: attributes, which these have not.
    return etree.tostring(element, method="c14n")


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> str:
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA384())))
    return base64.b64encode(r.to_bytes(48, "big") + s.to_bytes(48, "big")).decode()


def _base64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()


def golden(source: str, version: str, index: int, alternative: int = 0) -> bytes:
    """Reference value of the simulated firmware; alternative 0 is what a healthy GPU reports."""
    return sha384(f"simulated {source} {version} measurement {index} alternative {alternative}".encode())


def manifest_form(pki: SimulatedNvidia, source: str, version: str) -> ManifestForm:
    """The right manifest for "driver" or "vbios" of one version."""
    entries: list[Entry] = []
    for index in range(ENTRIES):
        active = index in ACTIVE[source]
        count = _ALTERNATIVES[source].get(index, 1)
        values = [golden(source, version, index, number).hex() for number in reversed(range(count))] if active else ["0" * 96]
        entries.append(Entry(str(index), str(active), values, str(len(values))))
    return ManifestForm(version, entries, pki.manifest_chain(source), pki[f"rim-{source}"].key)
