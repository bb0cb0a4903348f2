"""Reference integrity manifests: SWID tags in XML with an enveloped signature, read so that only signed content is ever believed.

The form of the whole document is fixed before any signature is looked at: no document type, no comment, no processing instruction,
one Signature as the last child of the root, one Reference to the whole document, the two transforms and the algorithms that NVIDIA
uses, and four certificates. The signing key is the leaf of the verified chain, whatever else KeyInfo may say. Values are then read
from the element that the signature library returns, never from the document that was sent.

This module is the only one that imports lxml and signxml; verification imports it when there is a manifest to judge.

The ``tagId`` is not used to tell manifests apart. It is the SHA-384 of a name that includes the version, but one genuine manifest
(VBIOS 96.00.9F.00.01) carries the one of another version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, zip_longest
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from attest import limits
from attest.checks import Check
from attest.crypto import sha256
from attest.errors import AttestError
from attest.kinds.nvidia_gpu.reference import ENTRIES, RIM_SCHEMA, RIM_SIGNATURE, RIM_XML, Manifest
from attest.pki import NVIDIA_RIM, Anchor, load_certificate, verify_chain
from attest.wire import base64_bytes, bounded, utf8

_SWID: Final = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_TCG: Final = "{https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/}"
_HASH: Final = "{http://www.w3.org/2001/04/xmlenc#sha384}Hash"
_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_C14N: Final = "http://www.w3.org/2006/12/xml-c14n11"
_ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_ECDSA: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"
_NVIDIA: Final = "5703"  # IANA private enterprise number

_CONTENT: Final = (f"{_SWID}Entity", f"{_SWID}Meta", f"{_SWID}Payload")
_RESOURCE: Final = f"{_SWID}Resource"
_ENTRY_ATTRIBUTES: Final = frozenset({"type", "index", "active", "alternatives", "name", "size"})

# Depth, local name and attributes of every element of the Signature, in document order.
_SIGNATURE_FORM: Final[tuple[tuple[int, str, dict[str, str]], ...]] = (
    (0, "Signature", {}),
    (1, "SignedInfo", {}),
    (2, "CanonicalizationMethod", {"Algorithm": _C14N}),
    (2, "SignatureMethod", {"Algorithm": _ECDSA}),
    (2, "Reference", {"URI": ""}),
    (3, "Transforms", {}),
    (4, "Transform", {"Algorithm": _ENVELOPED}),
    (4, "Transform", {"Algorithm": _C14N}),
    (3, "DigestMethod", {"Algorithm": _SHA384}),
    (3, "DigestValue", {}),
    (1, "SignatureValue", {}),
    (1, "KeyInfo", {}),
    (2, "X509Data", {}),
)
_CERTIFICATE_LINE: Final[tuple[int, str, dict[str, str]]] = (3, "X509Certificate", {})

_DECLARATION: Final = re.compile(r'<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?(?: standalone="(?:yes|no)")?\s*\?>')
_NUMBER: Final = re.compile(r"(?:0|[1-9]\d{0,2})\Z", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{96}\Z")


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a manifest says it is. Good for choosing which manifest to judge, and for nothing else."""

    chip: str
    version: str
    certificates: tuple[x509.Certificate, ...]


@lru_cache(maxsize=64)
def read(data: bytes) -> Unverified:
    """Check the form of a manifest and read what it claims to be.

    Raises MalformedError (nvidia-gpu.rim-xml, or the wire and certificate codes). Pure: remembered by content.
    """
    bounded(data, limits.MAX_XML_BYTES, "reference manifest")
    root = _parse(data)
    _require_document(root)
    chip, version = _identity(root, RIM_XML)
    certificates = tuple(
        load_certificate(base64_bytes("".join((element.text or "").split()), "manifest certificate"), f"manifest certificate {index}")
        for index, element in enumerate(root[3].iter(f"{_DS}X509Certificate"))
    )
    return Unverified(chip, version, certificates)


@lru_cache(maxsize=32)
def judge(data: bytes, anchors: tuple[Anchor, ...]) -> Manifest:
    """Verify chain and signature of a manifest and read its signed content.

    The chain is verified at the latest start of validity among its certificates, so the result does not depend on when it is asked
    for and may be remembered by content; the caller judges validity (``chain.not_before``, ``chain.not_after``) and revocation each
    time. Raises MalformedError or NotAuthenticError with the codes of :data:`attest.kinds.nvidia_gpu.reference.RIM_CHECKS` or of
    :mod:`attest.pki`.
    """
    claimed = read(data)
    name = f"manifest {claimed.version}"
    start = max(certificate.not_valid_before_utc for certificate in claimed.certificates)
    chain = verify_chain(claimed.certificates, profile=NVIDIA_RIM, anchors=anchors, at=start, name=f"{name} chain")
    root = _signed_root(data, chain.leaf, name)
    RIM_SCHEMA.require(
        tuple(child.tag for child in root) == _CONTENT and root.tag == f"{_SWID}SoftwareIdentity",
        found=", ".join(str(child.tag) for child in root)[:200],
        expected="Entity, Meta, Payload",
        where=name,
    )
    identity = _identity(root, RIM_SCHEMA)
    # The document was read twice, by two parsers with the same settings; what was chosen by must be what was signed.
    RIM_SCHEMA.require(identity == (claimed.chip, claimed.version), found=str(identity), expected=claimed.version, where=name)
    return Manifest(claimed.version, MappingProxyType(_golden(root[2], name)), chain, sha256(data).hex())


# -- form -----------------------------------------------------------------------------------------------------------------


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False)


def _parse(data: bytes) -> etree._Element:
    """Parse, after refusing in the text itself everything that a parser could be led astray by."""
    text = utf8(data, "reference manifest")
    declaration = _DECLARATION.match(text)
    body = text[declaration.end() :] if declaration else text
    for mark in ("<!", "<?"):
        at = body.find(mark)
        RIM_XML.require(
            at < 0,
            found=repr(body[at : at + 12]),
            expected="no document type, entity, comment or processing instruction",
            where=f"character {len(text) - len(body) + at}",
        )
    try:
        return etree.fromstring(data, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise RIM_XML.failure(found=str(error)[:120], expected="well-formed XML") from None


def _require_document(root: etree._Element) -> None:
    children = tuple(child.tag for child in root)
    RIM_XML.require(
        root.tag == f"{_SWID}SoftwareIdentity" and children == (*_CONTENT, f"{_DS}Signature"),
        found=f"{root.tag} with {', '.join(map(str, children))}"[:300],
        expected="SoftwareIdentity with Entity, Meta, Payload, Signature",
    )
    signatures = sum(1 for _ in root.iter(f"{_DS}Signature"))
    RIM_XML.require(signatures == 1, found=f"{signatures} Signature elements", expected="1")
    signature = root[3]
    most = len(_SIGNATURE_FORM) + limits.MAX_CHAIN_LENGTH
    form = [_line(element, signature) for element in islice(signature.iter(), most + 1)]
    # Behind the fixed part stand the certificates; how many there must be is for the chain's profile to say.
    certificates = min(max(len(form) - len(_SIGNATURE_FORM), 1), limits.MAX_CHAIN_LENGTH)
    wanted = (*_SIGNATURE_FORM, *(_CERTIFICATE_LINE,) * certificates)
    for position, (found, expected) in enumerate(zip_longest(form, wanted)):
        RIM_XML.require(found == expected, found=str(found)[:200], expected=str(expected), where=f"Signature, element {position}")
    for name, size in (("DigestValue", 48), ("SignatureValue", 96)):
        value = base64_bytes("".join((next(signature.iter(f"{_DS}{name}")).text or "").split()), f"manifest {name}")
        RIM_XML.require(len(value) == size, found=f"{len(value)} bytes", expected=f"{size} bytes", where=name)


def _line(element: etree._Element, top: etree._Element) -> tuple[int, str, dict[str, str]]:
    """Depth below ``top``, local name in the signature's namespace (else the full name), attributes."""
    depth = sum(1 for _ in element.iterancestors()) - sum(1 for _ in top.iterancestors())
    attributes = {str(key): str(value) for key, value in element.attrib.items()}
    return depth, str(element.tag).removeprefix(_DS), attributes


def _identity(root: etree._Element, check: Check) -> tuple[str, str]:
    """Chip and version. The children of ``root`` were checked."""
    meta = root[1]
    chip, product, version = root.get("name", ""), meta.get("product", ""), meta.get("colloquialVersion", "")
    maker = meta.get(f"{_TCG}FirmwareManufacturerId", "")
    check.require(
        bool(chip) and chip == product and bool(version) and maker == _NVIDIA,
        found=f"name {chip!r}, product {product!r}, version {version!r}, manufacturer {maker!r}"[:200],
        expected=f"one product, a version, manufacturer {_NVIDIA}",
        where="manifest, SoftwareIdentity and Meta",
    )
    return chip, version


# -- signature and content ------------------------------------------------------------------------------------------------

_ALGORITHMS: Final = (frozenset({SignatureMethod.ECDSA_SHA384}), frozenset({DigestAlgorithm.SHA384}))


def _signed_root(data: bytes, signer: x509.Certificate, name: str) -> etree._Element:
    """The signed element, as the library returns it, when the signature is by ``signer``'s key."""
    methods, digests = _ALGORITHMS
    settings = SignatureConfiguration(
        require_x509=True,
        location="./",
        expect_references=1,
        signature_methods=methods,
        digest_algorithms=digests,
        # The library would compare the certificate with the clock; validity is judged by the caller.
        verification_time=signer.not_valid_before_utc,
    )
    try:
        # The form of the signature has been checked more strictly than the schema does.
        result = XMLVerifier().verify(data, x509_cert=signer, expect_config=settings, validate_schema=False, parser=_parser())
    except (SignXMLException, InvalidSignature, etree.LxmlError, ValueError) as error:
        raise RIM_SIGNATURE.failure(
            found=f"{type(error).__name__}: {str(error)[:120]}", expected="a signature by the leaf of the manifest's chain", where=name
        ) from None
    if not isinstance(result, VerifyResult) or result.signed_xml is None:
        raise RIM_SIGNATURE.failure(found="no signed element", expected="the signed document", where=name)
    return result.signed_xml


def _golden(payload: etree._Element, name: str) -> dict[int, tuple[bytes, ...]]:
    """Active index to alternatives."""
    RIM_SCHEMA.require(len(payload) == ENTRIES, found=f"{len(payload)} entries", expected=str(ENTRIES), where=f"{name}, Payload")
    golden: dict[int, tuple[bytes, ...]] = {}
    seen: set[int] = set()
    for resource in payload:
        index = _entry_index(resource)
        if index in seen:
            raise _bad_entry(resource, f"index {index} a second time", "every index once")
        seen.add(index)
        active = resource.get("active")
        if active not in ("True", "False"):
            raise _bad_entry(resource, f"active={active!r}", "True or False")
        alternatives = _alternatives(resource)
        if active == "True":
            golden[index] = alternatives
    RIM_SCHEMA.require(bool(golden), found="no active entry", expected="at least one", where=f"{name}, Payload")
    return golden


def _entry_index(resource: etree._Element) -> int:
    if resource.tag != _RESOURCE or len(resource):
        raise _bad_entry(resource, f"{resource.tag} with {len(resource)} children", "an empty Resource")
    kind, size = resource.get("type"), resource.get("size")
    if kind != "Measurement" or size != "48":
        raise _bad_entry(resource, f"type={kind!r}, size={size!r}", "type Measurement, size 48")
    index = _number(resource, "index")
    if index >= ENTRIES:
        raise _bad_entry(resource, f"index {index}", f"below {ENTRIES}")
    return index


def _alternatives(resource: etree._Element) -> tuple[bytes, ...]:
    count = _number(resource, "alternatives")
    found = {str(key) for key in resource.attrib}
    hashes = [f"{_HASH}{number}" for number in range(count)]
    if not count or found != _ENTRY_ATTRIBUTES.union(hashes):
        raise _bad_entry(
            resource,
            f"alternatives={count} and attributes {', '.join(sorted(found))}"[:300],
            "as many Hash attributes as alternatives, from Hash0 on, and no other attribute",
        )
    values = [resource.get(key, "") for key in hashes]
    for value in values:
        if not _DIGEST.match(value):
            raise _bad_entry(resource, repr(value[:100]), "96 lower-case hex digits")
    return tuple(bytes.fromhex(value) for value in values)


def _number(resource: etree._Element, key: str) -> int:
    text = resource.get(key, "")
    if not _NUMBER.match(text):
        raise _bad_entry(resource, f"{key}={text!r}", "a decimal number")
    return int(text)


def _bad_entry(resource: etree._Element, found: str, expected: str) -> AttestError:
    place = sum(1 for _ in resource.itersiblings(preceding=True))
    return RIM_SCHEMA.failure(found=found, expected=expected, where=f"manifest Payload, entry {place}")
