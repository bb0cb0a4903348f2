"""Defects of manifests, measurements and OCSP answers; see defects.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.x509 import ocsp

from attest.evidence import CollateralType
from attest.kinds.nvidia_gpu.simulate import Recipe
from attest.kinds.nvidia_gpu.simulate_pki import Authority, SimulatedNvidia, answer_form, reissue
from attest.kinds.nvidia_gpu.simulate_rim import Edit, Entry, ManifestForm, golden, manifest_form

Apply = Callable[[Recipe], object]

_DRIVER: Final = "driver"
_VBIOS: Final = "vbios"


# -- text and form of a manifest --------------------------------------------------------------------------------------------


def _replaced(old: str, new: str) -> Edit:
    return lambda text: text.replace(old, new, 1)


def _before(old: str, new: str, source: str = _DRIVER) -> Apply:
    """A change that is signed."""
    return lambda recipe: recipe.manifests[source].before.append(_replaced(old, new))


def _template(old: str, new: str) -> Apply:
    """A change of the signature's own form; what is signed follows it."""
    return lambda recipe: recipe.manifests[_DRIVER].template.append(_replaced(old, new))


def _after(edit: Edit) -> Apply:
    """A change of the signed text."""
    return lambda recipe: recipe.manifests[_DRIVER].after.append(edit)


def _second_signature(text: str) -> str:
    start, end = text.index("<ds:Signature "), text.index("</SoftwareIdentity>")
    return text[:end] + text[start:end] + text[end:]


def _wrapped(text: str) -> str:
    """The signed document inside another one that claims other values."""
    start = text.index("<ds:Signature ")
    outer = text[:start].replace('active="True"', 'active="False"')
    return f"{outer}<ns0:Object>{text}</ns0:Object></SoftwareIdentity>"


def _signature_first(text: str) -> str:
    start, end = text.index("<ds:Signature "), text.index("</SoftwareIdentity>")
    entity = text.index("<ns0:Entity")
    return text[:entity] + text[start:end] + text[entity:start] + text[end:]


def _payload_outside(text: str) -> str:
    payload = text[text.index("<ns0:Payload") : text.index("</ns0:Payload>") + len("</ns0:Payload>")]
    return text.replace("</SoftwareIdentity>", payload + "</SoftwareIdentity>")


def _signature_in_payload(text: str) -> str:
    start, end = text.index("<ds:Signature "), text.index("</SoftwareIdentity>")
    return text.replace("    </ns0:Payload>", text[start:end] + "</ns0:Payload>", 1)


def _emptied(element: str) -> Edit:
    def edit(text: str) -> str:
        start, end = text.index(f"<ds:{element}>") + len(f"<ds:{element}>"), text.index(f"</ds:{element}>")
        return text[:start] + text[end:]

    return edit


def _other_value(text: str) -> str:
    start = text.index('active="True"')
    at = text.index('Hash0="', start) + len('Hash0="')
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :]


def _other_signature(text: str) -> str:
    at = text.index("<ds:SignatureValue>") + len("<ds:SignatureValue>") + 20
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


_KEY_VALUE: Final = (
    "<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>"
)
_DTD: Final = '<!DOCTYPE SoftwareIdentity [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
_C14N: Final = '<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>'
_EXCLUSIVE: Final = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
_XPATH: Final = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>true()</ds:XPath></ds:Transform>'


def _extra(kind: CollateralType, data: bytes) -> Apply:
    return lambda recipe: recipe.extra.append((kind, "extra", data))


FORM: Final = (
    ("rim-value-altered", "nvidia-gpu.rim-signature", _after(_other_value)),
    ("rim-signature-altered", "nvidia-gpu.rim-signature", _after(_other_signature)),
    ("rim-key-value", "nvidia-gpu.rim-xml", _after(lambda text: _other_value(text).replace("<ds:KeyInfo>", _KEY_VALUE))),
    ("rim-second-signature", "nvidia-gpu.rim-xml", _after(_second_signature)),
    ("rim-signature-in-payload", "nvidia-gpu.rim-xml", _after(_signature_in_payload)),
    ("rim-signature-empty", "nvidia-gpu.rim-xml", _after(_emptied("SignatureValue"))),
    ("rim-digest-empty", "nvidia-gpu.rim-xml", _after(_emptied("DigestValue"))),
    ("rim-signature-first", "nvidia-gpu.rim-xml", _after(_signature_first)),
    ("rim-without-signature", "nvidia-gpu.rim-xml", _after(lambda text: text[: text.index("<ds:Signature ")] + "</SoftwareIdentity>")),
    ("rim-wrapped", "nvidia-gpu.rim-xml", _after(_wrapped)),
    ("rim-payload-outside", "nvidia-gpu.rim-xml", _after(_payload_outside)),
    ("rim-reference-to-id", "nvidia-gpu.rim-xml", _template('URI=""', 'URI="#payload"')),
    ("rim-two-references", "nvidia-gpu.rim-xml", _template("</ds:SignedInfo>", '<ds:Reference URI=""/></ds:SignedInfo>')),
    ("rim-exclusive-transform", "nvidia-gpu.rim-xml", _template(_C14N, _EXCLUSIVE)),
    ("rim-xpath-transform", "nvidia-gpu.rim-xml", _template(_C14N, _XPATH + _C14N)),
    ("rim-sha256-digest", "nvidia-gpu.rim-xml", _template("2001/04/xmldsig-more#sha384", "2001/04/xmlenc#sha256")),
    ("rim-hmac", "nvidia-gpu.rim-xml", _template("xmldsig-more#ecdsa-sha384", "xmldsig-more#hmac-sha384")),
    ("rim-object-in-signature", "nvidia-gpu.rim-xml", _template("</ds:Signature>", "<ds:Object/></ds:Signature>")),
    ("rim-document-type", "nvidia-gpu.rim-xml", _after(lambda text: _DTD + text)),
    ("rim-entity", "nvidia-gpu.rim-xml", _after(_replaced('edition="GPU"', 'edition="&a;"'))),
    ("rim-entity-bomb", "nvidia-gpu.rim-xml", _after(lambda text: _DTD + text.replace('edition="GPU"', 'edition="&b;"'))),
    ("rim-comment", "nvidia-gpu.rim-xml", _after(_replaced("<ns0:Payload", "<!-- --><ns0:Payload"))),
    ("rim-processing-instruction", "nvidia-gpu.rim-xml", _after(lambda text: "<?stylesheet x?>" + text)),
    ("rim-cut", "nvidia-gpu.rim-xml", _after(lambda text: text[:-1])),
    ("rim-latin-1", "nvidia-gpu.rim-xml", _after(lambda text: '<?xml version="1.0" encoding="iso-8859-1"?>' + text)),
    ("rim-huge", "wire.too-long", _after(lambda text: text + " " * (256 << 10))),
    ("rim-other-manufacturer", "nvidia-gpu.rim-xml", _before('FirmwareManufacturerId="5703"', 'FirmwareManufacturerId="1"')),
    ("rim-two-products", "nvidia-gpu.rim-xml", _before('product="GH100"', 'product="GB100"')),
    ("rim-junk", "nvidia-gpu.rim-xml", _extra(CollateralType.RIM, b"<SoftwareIdentity/>")),
    ("rim-not-text", "wire.utf8", _extra(CollateralType.RIM, b"\xff\xfe<\0")),
)

# -- chain of a manifest ----------------------------------------------------------------------------------------------------


def _signer(root: str = "rim-root", **changes: Mapping[str, object]) -> Apply:
    """The driver manifest's chain, issued again; ``changes`` is keyed by the end of a member's name."""

    def apply(recipe: Recipe) -> None:
        names = ["rim-driver", "rim-l3", "rim-ca", root]
        recipe.manifests[_DRIVER].certificates = reissue(recipe.pki, names, changes)

    return apply


def _signer_valid(begin: int, end: int) -> Apply:
    """Another validity of the signer, in hours from now."""

    def apply(recipe: Recipe) -> None:
        times = {"not_before": recipe.at + timedelta(hours=begin), "not_after": recipe.at + timedelta(hours=end)}
        _signer(driver=times)(recipe)

    return apply


def _foreign_manifest(recipe: Recipe) -> None:
    foreign = SimulatedNvidia.create(at=recipe.at, gpus=0)
    recipe.manifests[_DRIVER] = manifest_form(foreign, _DRIVER, recipe.gpu.driver_version)


def _signed_by_l3(recipe: Recipe) -> None:
    recipe.manifests[_DRIVER].key = recipe.pki["rim-l3"].key


def _short_chain(recipe: Recipe) -> None:
    recipe.manifests[_DRIVER].certificates.pop()


CHAIN: Final = (
    ("rim-foreign", "pki.chain.anchor", _foreign_manifest),
    ("rim-under-device-root", "pki.chain.anchor", _signer("device-root")),
    ("rim-chain-short", "pki.chain.length", _short_chain),
    ("rim-signed-by-l3", "nvidia-gpu.rim-signature", _signed_by_l3),
    ("rim-signer-ca", "pki.chain.constraints", _signer(driver={"ca": True})),
    ("rim-l3-not-ca", "pki.chain.constraints", _signer(l3={"ca": False})),
)

# -- content of a manifest --------------------------------------------------------------------------------------------------


def _entry(position: int, change: Callable[[Entry], None], source: str = _DRIVER) -> Apply:
    return lambda recipe: change(recipe.manifests[source].entries[position])


def _set(**members: str) -> Callable[[Entry], None]:
    def change(entry: Entry) -> None:
        for name, value in members.items():
            setattr(entry, name, value)

    return change


def _value(text: Callable[[str], str]) -> Callable[[Entry], None]:
    def change(entry: Entry) -> None:
        entry.values[0] = text(entry.values[0])

    return change


def _no_alternatives(entry: Entry) -> None:
    entry.count = "0"
    entry.values = []


def _all_inactive(recipe: Recipe) -> None:
    for entry in recipe.manifests[_DRIVER].entries:
        entry.active = "False"


CONTENT: Final = (
    ("rim-active-true", "nvidia-gpu.rim-schema", _entry(7, _set(active="true"))),
    ("rim-active-1", "nvidia-gpu.rim-schema", _entry(7, _set(active="1"))),
    ("rim-active-empty", "nvidia-gpu.rim-schema", _entry(7, _set(active=""))),
    ("rim-no-alternatives", "nvidia-gpu.rim-schema", _entry(7, _no_alternatives)),
    ("rim-alternatives-more-said", "nvidia-gpu.rim-schema", _entry(7, _set(count="2"))),
    ("rim-alternatives-less-said", "nvidia-gpu.rim-schema", _entry(35, _set(count="3"))),
    ("rim-alternatives-not-a-number", "nvidia-gpu.rim-schema", _entry(7, _set(count="01"))),
    ("rim-index-beyond", "nvidia-gpu.rim-schema", _entry(63, _set(index="64"))),
    ("rim-index-repeated", "nvidia-gpu.rim-schema", _entry(63, _set(index="62"))),
    ("rim-index-negative", "nvidia-gpu.rim-schema", _entry(63, _set(index="-1"))),
    ("rim-entry-missing", "nvidia-gpu.rim-schema", lambda recipe: recipe.manifests[_DRIVER].entries.pop()),
    ("rim-empty", "nvidia-gpu.rim-schema", lambda recipe: recipe.manifests[_DRIVER].entries.clear()),
    ("rim-nothing-active", "nvidia-gpu.rim-schema", _all_inactive),
    ("rim-size", "nvidia-gpu.rim-schema", _entry(7, _set(size="32"))),
    ("rim-type", "nvidia-gpu.rim-schema", _entry(7, _set(type="File"))),
    ("rim-value-short", "nvidia-gpu.rim-schema", _entry(7, _value(lambda text: text[:-2]))),
    ("rim-value-upper-case", "nvidia-gpu.rim-schema", _entry(7, _value(lambda text: "A" + text.upper()[1:]))),
    ("rim-entry-attribute", "nvidia-gpu.rim-schema", _before('type="Measurement"', 'type="Measurement" skip="1"')),
    ("rim-entry-child", "nvidia-gpu.rim-schema", _before('size="48"/>', 'size="48"><ns0:Resource/></ns0:Resource>')),
    ("rim-foreign-entry", "nvidia-gpu.rim-schema", _before("<ns0:Resource", "<ns0:File")),
)


def _two_issues(recipe: Recipe) -> None:
    other = manifest_form(recipe.pki, _VBIOS, recipe.gpu.vbios_version)
    _other_issue_of(other, recipe)
    recipe.extra.append((CollateralType.RIM, "other-issue", other.encode()))


def _other_issue_of(manifest: ManifestForm, recipe: Recipe) -> None:
    manifest.entries[9].values = [golden(_VBIOS, recipe.gpu.vbios_version, 9, 7).hex()]


def _other_issue(recipe: Recipe) -> None:
    _other_issue_of(recipe.manifests[_VBIOS], recipe)


def _conflict(recipe: Recipe) -> None:
    # The VBIOS manifest claims a driver's measurement, with the right value: nothing but the conflict is wrong.
    recipe.manifests[_VBIOS].entries[7] = dataclasses.replace(recipe.manifests[_DRIVER].entries[7])


def _driver_as_vbios(recipe: Recipe) -> None:
    driver = manifest_form(recipe.pki, _DRIVER, recipe.gpu.driver_version)
    driver.version = recipe.gpu.vbios_version
    recipe.manifests[_VBIOS] = driver


REFERENCE: Final = (
    ("rim-two-issues", "nvidia-gpu.rim-ambiguous", _two_issues),
    ("rim-conflict", "nvidia-gpu.rim-conflict", _conflict),
    ("rim-driver-as-vbios", "nvidia-gpu.rim-conflict", _driver_as_vbios),
)

# -- measurements -----------------------------------------------------------------------------------------------------------


def _measured(index: int, value: bytes) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.blocks[index] = dataclasses.replace(recipe.blocks[index], value=value)

    return apply


MISMATCH: Final = (
    ("driver-measurement", "nvidia-gpu.driver-measurements", _measured(21, b"\x01" * 48)),
    ("driver-measurement-zero", "nvidia-gpu.driver-measurements", _measured(7, bytes(48))),
    ("driver-measurement-of-nvdec", "nvidia-gpu.driver-measurements", _measured(35, b"\x01" * 48)),
    ("vbios-measurement", "nvidia-gpu.vbios-measurements", _measured(0, b"\x01" * 48)),
    ("vbios-other-issue", "nvidia-gpu.vbios-measurements", _other_issue),
)


def _without(source: str) -> Apply:
    return lambda recipe: recipe.manifests.pop(source)


def _manifest(source: str, **members: str) -> Apply:
    def apply(recipe: Recipe) -> None:
        for name, value in members.items():
            setattr(recipe.manifests[source], name, value)

    return apply


UNDECIDED: Final = (
    ("rim-driver-missing", "nvidia-gpu.driver-rim", _without(_DRIVER)),
    ("rim-vbios-missing", "nvidia-gpu.vbios-rim", _without(_VBIOS)),
    ("rim-driver-other-version", "nvidia-gpu.driver-rim", _manifest(_DRIVER, version="580.95.06")),
    ("rim-vbios-other-version", "nvidia-gpu.vbios-rim", _manifest(_VBIOS, version="96.00.A5.00.02")),
    ("rim-driver-other-chip", "nvidia-gpu.driver-rim", _manifest(_DRIVER, chip="GB100")),
    ("rim-signer-expired", "nvidia-gpu.driver-rim", _signer_valid(-9, -1)),
    ("rim-signer-not-yet-valid", "nvidia-gpu.driver-rim", _signer_valid(1, 9)),
)

# -- OCSP -------------------------------------------------------------------------------------------------------------------

_REVOKED: Final = ocsp.OCSPCertStatus.REVOKED
_HOLD: Final = x509.ReasonFlags.certificate_hold
_COMPROMISE: Final = x509.ReasonFlags.key_compromise


def _member(name: str, recipe: Recipe) -> str:
    return name.format(gpu=recipe.gpu.gpu, other=(recipe.gpu.gpu + 1) % recipe.pki.gpus)


def _answer(name: str, change: Callable[[Recipe], Mapping[str, object]]) -> Apply:
    """Other members of the answer for ``name``."""

    def apply(recipe: Recipe) -> None:
        member = _member(name, recipe)
        recipe.answers[member] = dataclasses.replace(recipe.answers[member], **change(recipe))  # type: ignore[arg-type]

    return apply


def _status(name: str, status: ocsp.OCSPCertStatus, reason: x509.ReasonFlags | None = None) -> Apply:
    return _answer(name, lambda _recipe: {"status": status, "reason": reason})


def _window(name: str, begin: int, end: int | None) -> Apply:
    return _answer(
        name,
        lambda recipe: {
            "this_update": recipe.at + timedelta(hours=begin),
            "next_update": None if end is None else recipe.at + timedelta(hours=end),
        },
    )


def _no_answer(name: str) -> Apply:
    return lambda recipe: recipe.answers.pop(_member(name, recipe))


def _delegate(issuer: str, **changes: object) -> Callable[[Recipe], Mapping[str, object]]:
    """A responder of ``issuer`` with another certificate."""

    def change(recipe: Recipe) -> Mapping[str, object]:
        form = dataclasses.replace(recipe.pki.own_form(f"ocsp-{issuer}"), **changes)  # type: ignore[arg-type]
        key = recipe.pki[f"ocsp-{issuer}"].key
        return {"responder": Authority(recipe.pki[issuer].issue(form), key)}

    return change


def _expired_delegate(recipe: Recipe) -> Mapping[str, object]:
    return _delegate("device-root", not_after=recipe.at - timedelta(minutes=1))(recipe)


def _revoked_beside_good(recipe: Recipe) -> None:
    answer = answer_form(recipe.pki, "device-product", at=recipe.at)
    answer.status = _REVOKED
    recipe.extra.append((CollateralType.OCSP, "second-answer", answer.encode()))


_IDENTITY: Final = "gpu-{gpu}-identity"
_UNAUTHORIZED: Final = bytes.fromhex("30030a0106")

OCSP: Final = (
    ("ocsp-identity-revoked", "pki.ocsp.revoked", _status(_IDENTITY, _REVOKED, _COMPROMISE)),
    ("ocsp-provisioner-revoked", "pki.ocsp.revoked", _status("device-provisioner", _REVOKED)),
    ("ocsp-product-revoked", "pki.ocsp.revoked", _status("device-product", _REVOKED)),
    ("ocsp-identity-on-hold", "pki.ocsp.hold", _status(_IDENTITY, _REVOKED, _HOLD)),
    ("ocsp-rim-signer-revoked", "pki.ocsp.revoked", _status("rim-driver", _REVOKED)),
    ("ocsp-rim-signer-on-hold", "pki.ocsp.hold", _status("rim-vbios", _REVOKED, _HOLD)),
    ("ocsp-rim-l3-revoked", "pki.ocsp.revoked", _status("rim-l3", _REVOKED)),
    ("ocsp-rim-ca-revoked", "pki.ocsp.revoked", _status("rim-ca", _REVOKED)),
    ("ocsp-revoked-beside-good", "pki.ocsp.revoked", _revoked_beside_good),
    (
        "ocsp-other-issuer",
        "pki.ocsp.certificate-id",
        _answer(_IDENTITY, lambda recipe: {"issuer": recipe.pki["device-product"].certificate}),
    ),
    (
        "ocsp-by-subject",
        "pki.ocsp.self",
        _answer("device-provisioner", lambda recipe: {"responder": recipe.pki["device-provisioner"]}),
    ),
    (
        "ocsp-by-other-responder",
        "pki.ocsp.responder-issuer",
        _answer(_IDENTITY, lambda recipe: {"responder": recipe.pki["ocsp-device-product"]}),
    ),
    ("ocsp-without-purpose", "pki.ocsp.responder-usage", _answer(_IDENTITY, _delegate("device-provisioner", purpose=None))),
    ("ocsp-responder-expired", "pki.ocsp.responder-expired", _answer("device-product", _expired_delegate)),
    ("ocsp-signature", "pki.ocsp.signature", _answer(_IDENTITY, lambda _recipe: {"spoilt": True})),
    ("ocsp-junk", "pki.ocsp.malformed", _extra(CollateralType.OCSP, b"\x30\x03\x0a\x01")),
)

OCSP_UNDECIDED: Final = (
    ("ocsp-identity-missing", "nvidia-gpu.ocsp-identity-key", _no_answer(_IDENTITY)),
    ("ocsp-provisioner-missing", "nvidia-gpu.ocsp-provisioner", _no_answer("device-provisioner")),
    ("ocsp-product-missing", "nvidia-gpu.ocsp-product", _no_answer("device-product")),
    ("ocsp-identity-unknown", "nvidia-gpu.ocsp-identity-key", _status(_IDENTITY, ocsp.OCSPCertStatus.UNKNOWN)),
    ("ocsp-identity-stale", "nvidia-gpu.ocsp-identity-key", _window(_IDENTITY, -25, -1)),
    ("ocsp-identity-future", "nvidia-gpu.ocsp-identity-key", _window(_IDENTITY, 1, 25)),
    ("ocsp-identity-without-end", "nvidia-gpu.ocsp-identity-key", _window(_IDENTITY, -1, None)),
    (
        "ocsp-identity-of-other-gpu",
        "nvidia-gpu.ocsp-identity-key",
        _answer(_IDENTITY, lambda recipe: {"subject": recipe.pki[_member("gpu-{other}-identity", recipe)].certificate}),
    ),
    ("ocsp-identity-unauthorized", "nvidia-gpu.ocsp-identity-key", _answer(_IDENTITY, lambda _recipe: {"raw": _UNAUTHORIZED})),
    ("ocsp-product-stale", "nvidia-gpu.ocsp-product", _window("device-product", -25, 0)),
    ("ocsp-rim-signer-missing", "nvidia-gpu.driver-rim-revocation", _no_answer("rim-driver")),
    ("ocsp-rim-signer-stale", "nvidia-gpu.vbios-rim-revocation", _window("rim-vbios", -25, -1)),
)
