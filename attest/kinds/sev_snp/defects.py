"""Everything that can be wrong with a simulated guest's evidence, each with the check that must refuse it.

A defect in signed bytes is signed again, and one in a certificate is issued again, so that it is the named check and not a signature that
refuses. ``attest simulate --defect`` offers them by name; the tests go through all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from attest.crypto import P384_ORDER
from attest.kinds.sev_snp.certificates import SPL
from attest.kinds.sev_snp.product import COMPONENTS, LINES, AmdProduct
from attest.kinds.sev_snp.report import OFFSETS, AmdSigningKey
from attest.kinds.sev_snp.simulate import PROVIDER, Recipe, chip_identity, der_integer, der_text
from attest.kinds.sev_snp.simulate_pki import CrlSpec

Apply = Callable[[Recipe], None]

_DAY: Final = timedelta(days=1)
_EVERY: Final = frozenset(AmdProduct)
_MILAN: Final = frozenset({AmdProduct.MILAN})
_TURIN: Final = frozenset({AmdProduct.TURIN})
_ARCS: Final = {name: arcs for _, components, _ in SPL.values() for arcs, name in components.items()}


class Effect(StrEnum):
    """How a defect shows."""

    REFUSED = "refused"  # verification ends with an error of this code
    UNDECIDED = "undecided"  # verification ends with a result whose check of this id could not be done


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong: its name for the command line, the code that must come out, and the change that makes it.

    ``products`` are those that can have it, ``key`` the signing key of the guest that it is for.
    """

    name: str
    code: str
    apply: Apply
    effect: Effect = Effect.REFUSED
    products: frozenset[AmdProduct] = _EVERY
    key: AmdSigningKey = AmdSigningKey.VCEK


# -- changes --------------------------------------------------------------------------------------------------------------


def _report(**changes: int | bytes) -> Apply:
    """Fields of the report, signed."""

    def apply(recipe: Recipe) -> None:
        recipe.report = dataclasses.replace(recipe.report, **changes)  # type: ignore[arg-type]

    return apply


def _body(offset: int, data: bytes) -> Apply:
    """Bytes of the report, signed if they stand before the signature."""
    return lambda recipe: recipe.body.append((offset, data))


def _finish(change: Callable[[bytes], bytes]) -> Apply:
    """The signed report."""
    return lambda recipe: recipe.finish.append(change)


def _put(offset: int, data: bytes) -> Apply:
    return _finish(lambda report: report[:offset] + data + report[offset + len(data) :])


def _flip(offset: int) -> Apply:
    return _finish(lambda report: report[:offset] + bytes((report[offset] ^ 1,)) + report[offset + 1 :])


def _leaf(**changes: object) -> Apply:
    """The endorsement certificate, issued again."""

    def apply(recipe: Recipe) -> None:
        recipe.leaf = dataclasses.replace(recipe.leaf, **changes)  # type: ignore[arg-type]

    return apply


def _extension(arcs: str, *values: bytes) -> Apply:
    """An extension of the endorsement certificate: left out, changed, or there several times."""

    def apply(recipe: Recipe) -> None:
        kept = tuple(item for item in recipe.leaf.extensions if item[0] != arcs)
        recipe.leaf = dataclasses.replace(recipe.leaf, extensions=(*kept, *((arcs, value) for value in values)))

    return apply


def _sent(*names: str) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.sent = names

    return apply


def _der(change: Callable[[bytes], bytes]) -> Apply:
    """The endorsement certificate after it was signed."""
    return lambda recipe: recipe.der.append(change)


def _pem(change: Callable[[bytes], bytes]) -> Apply:
    return lambda recipe: recipe.pem.append(change)


def _crl(
    *, begin: timedelta = -_DAY, end: timedelta = 30 * _DAY, revoked: tuple[str, ...] = (), issuer: str = "ark", signer: str = "ark"
) -> Apply:
    """Another CRL instead of the good one."""

    def apply(recipe: Recipe) -> None:
        now = recipe.at.replace(microsecond=0)
        recipe.crls = [CrlSpec(now + begin, now + end, revoked, issuer, signer)]

    return apply


def _all(*changes: Apply) -> Apply:
    def apply(recipe: Recipe) -> None:
        for change in changes:
            change(recipe)

    return apply


def _level(prefix: str, component: str, value: int) -> Apply:
    """One component of one TCB version, signed."""

    def apply(recipe: Recipe) -> None:
        layout = recipe.pki.line.layout
        raw = bytearray(getattr(recipe.report, f"{prefix}_tcb"))
        raw[layout.order.index(component)] = value
        recipe.report = dataclasses.replace(recipe.report, **{f"{prefix}_tcb": bytes(raw)})  # type: ignore[arg-type]

    return apply


def _higher(prefix: str, component: str) -> Apply:
    return lambda recipe: _level(prefix, component, getattr(recipe.claims, f"current_{component}") + 1)(recipe)


def _model(product: AmdProduct) -> Apply:
    family, model, _ = LINES[product].models[0]
    return _report(family=family, model=model)


def _without_issuers(recipe: Recipe) -> None:
    recipe.sent = ()


def _without_certificates(recipe: Recipe) -> None:
    recipe.sent = None


def _without_crl(recipe: Recipe) -> None:
    recipe.crls = []


def _other_signer(recipe: Recipe) -> None:
    recipe.signer = ec.generate_private_key(ec.SECP384R1())


def _leaf_on_p256(recipe: Recipe) -> None:
    recipe.leaf = dataclasses.replace(recipe.leaf, key=ec.generate_private_key(ec.SECP256R1()))


def _other_chip(recipe: Recipe) -> None:
    _extension("4", chip_identity(recipe.pki.line, 1000))(recipe)


def _leaf_expired(recipe: Recipe) -> None:
    recipe.leaf = dataclasses.replace(recipe.leaf, not_after=recipe.at - _DAY)


def _leaf_early(recipe: Recipe) -> None:
    recipe.leaf = dataclasses.replace(recipe.leaf, not_before=recipe.at + _DAY)


def _structure(version: int) -> Apply:
    """The same levels in the certificate structure of other product lines."""

    def apply(recipe: Recipe) -> None:
        _, components, reserved = SPL[version]
        levels = {arcs: getattr(recipe.claims, f"reported_{name}") for arcs, name in components.items()} | dict.fromkeys(reserved, 0)
        kept = [item for item in recipe.leaf.extensions if not item[0].startswith("3.") and item[0] != "1"]
        made = [("1", der_integer(version)), *((arcs, der_integer(value)) for arcs, value in levels.items())]
        recipe.leaf = dataclasses.replace(recipe.leaf, extensions=(*kept, *made))

    return apply


def _endorsed(component: str, change: int) -> Apply:
    """Another level of one component in the certificate than in the report."""

    def apply(recipe: Recipe) -> None:
        level = getattr(recipe.claims, f"reported_{component}") + change
        _extension(_ARCS[component], der_integer(level))(recipe)

    return apply


def _component_200(recipe: Recipe) -> None:
    """The same impossible level in report and certificate: two equal values that are both out of range must not pass as equal."""
    for prefix in ("reported", "committed", "current", "launch"):
        _level(prefix, "snp", 200)(recipe)
    _extension(_ARCS["snp"], der_integer(200))(recipe)


# -- the table ------------------------------------------------------------------------------------------------------------

_VERSION_2: Final = _report(version=2, family=0, model=0, stepping=0, launch_mitigations=0, current_mitigations=0)
_ORDER: Final = P384_ORDER.to_bytes(48, "little")

_REPORT: Final = (
    Defect("report-short", "sev-snp.length", _finish(lambda report: report[:-1])),
    Defect("report-long", "sev-snp.length", _finish(lambda report: report + b"\0")),
    Defect("report-empty", "sev-snp.length", _finish(lambda _report: b"")),
    *(Defect(f"version-{version}", "sev-snp.version", _report(version=version)) for version in (0, 1, 4, 6, 0xFFFFFFFF)),
    *(
        Defect(f"reserved-{offset:03x}", "sev-snp.reserved", _body(offset, b"\1"))
        for offset in (0x04C, 0x04F, 0x18B, 0x19F, 0x1EB, 0x1EF, 0x208, 0x29F, 0x330, 0x49F)
    ),
    Defect("reserved-key-info", "sev-snp.reserved", _report(key_info=1 << 5)),
    Defect("model-in-version-2", "sev-snp.reserved", _all(_VERSION_2, _report(model=1))),
    Defect("mitigations-in-version-3", "sev-snp.reserved", _report(version=3, launch_mitigations=0, current_mitigations=1)),
    Defect("policy-bit-17", "sev-snp.policy", _report(policy=1 << 16)),
    Defect("policy-bit-26", "sev-snp.policy", _report(policy=1 << 17 | 1 << 26)),
    Defect("policy-bit-63", "sev-snp.policy", _report(policy=1 << 17 | 1 << 63)),
    Defect("vmpl-4", "sev-snp.vmpl", _report(vmpl=4)),
    Defect("vmpl-of-host", "sev-snp.vmpl", _report(vmpl=0xFFFFFFFF)),
    *(Defect(f"algorithm-{number}", "sev-snp.algorithm", _report(signature_algorithm=number)) for number in (0, 2)),
    Defect("platform-bit-8", "sev-snp.platform-info", _report(platform_info=1 << 8)),
    Defect("platform-bit-63", "sev-snp.platform-info", _report(platform_info=1 << 63)),
    *(Defect(f"signing-key-{number}", "sev-snp.signing-key", _report(key_info=number << 2)) for number in range(2, 8)),
    Defect("mask-chip-key", "sev-snp.signing-key", _report(key_info=1 << 1)),
    Defect("r-zero", "sev-snp.signature-form", _put(OFFSETS["r"], bytes(48))),
    Defect("s-zero", "sev-snp.signature-form", _put(OFFSETS["s"], bytes(48))),
    Defect("r-order", "sev-snp.signature-form", _put(OFFSETS["r"], _ORDER)),
    Defect("s-order", "sev-snp.signature-form", _put(OFFSETS["s"], _ORDER)),
    Defect("r-high-bytes", "sev-snp.signature-form", _put(OFFSETS["r"] + 48, b"\1")),
    Defect("s-high-bytes", "sev-snp.signature-form", _put(OFFSETS["s"] + 71, b"\1")),
    Defect("measurement-flipped", "sev-snp.signature", _flip(OFFSETS["measurement"])),
    Defect("report-data-flipped", "sev-snp.signature", _flip(OFFSETS["report_data"])),
    Defect("debug-set-after-signing", "sev-snp.signature", _put(OFFSETS["policy"] + 2, b"\x0b")),
    Defect("signature-flipped", "sev-snp.signature", _flip(OFFSETS["s"])),
    Defect("other-signer", "sev-snp.signature", _other_signer),
)

_LEAF: Final = (
    Defect("no-certificates", "sev-snp.leaf", _without_certificates),
    Defect("issuers-swapped", "sev-snp.certificates", _sent("ark", "ask")),
    Defect("intermediate-twice", "sev-snp.certificates", _sent("ask", "ask")),
    Defect("root-twice", "sev-snp.certificates", _sent("ark", "ark")),
    Defect("certificate-surplus", "wire.pem", _sent("ask", "ark", "asvk")),
    Defect("text-among-certificates", "wire.pem", _pem(lambda pem: b"Subject: SEV-VCEK\n" + pem)),
    Defect("no-hwid", "sev-snp.leaf-extensions", _extension("4")),
    Defect("hwid-short", "sev-snp.leaf-extensions", _extension("4", bytes(63))),
    Defect("hwid-and-provider", "sev-snp.leaf-extensions", _extension("5", der_text(PROVIDER))),
    Defect("no-spl", "sev-snp.leaf-extensions", _extension("3.8")),
    Defect("no-structure-version", "sev-snp.leaf-extensions", _extension("1")),
    Defect("structure-version-2", "sev-snp.leaf-extensions", _extension("1", der_integer(2))),
    Defect("no-product-name", "sev-snp.leaf-extensions", _extension("2")),
    Defect("product-name-venice", "sev-snp.leaf-extensions", _extension("2", der_text("Venice"))),
    Defect("product-name-not-ia5", "sev-snp.leaf-extensions", _extension("2", b"\x0c\x05Milan")),
    Defect("spl-reserved", "sev-snp.leaf-extensions", _extension("3.5", der_integer(1))),
    Defect("spl-not-minimal", "sev-snp.leaf-extensions", _extension("3.3", b"\x02\x02\x00\x1b")),
    Defect("spl-negative", "sev-snp.leaf-extensions", _extension("3.3", b"\x02\x01\x9b")),
    Defect("spl-256", "sev-snp.leaf-extensions", _extension("3.3", b"\x02\x02\x01\x00")),
    Defect("spl-trailing", "sev-snp.leaf-extensions", _extension("3.3", b"\x02\x01\x1b\x00")),
    Defect("extension-unknown", "sev-snp.leaf-extensions", _extension("6", der_integer(0))),
    Defect("extension-twice", "pki.certificate.malformed", _extension("3.8", der_integer(1), der_integer(255))),
    Defect("leaf-name-unknown", "sev-snp.leaf-extensions", _leaf(common_name="SEV-XCEK")),
    Defect("leaf-truncated", "pki.certificate.malformed", _der(lambda der: der[:-1])),
    Defect("signing-key-vlek", "sev-snp.leaf-kind", _report(key_info=1 << 2)),
    Defect("model-of-genoa", "sev-snp.product", _model(AmdProduct.GENOA), products=_MILAN),
    Defect("model-of-venice", "sev-snp.product", _report(family=0x1A, model=0x50)),
    Defect("product-name-of-genoa", "sev-snp.product", _extension("2", der_text("Genoa")), products=_MILAN),
    Defect("turin-in-version-2", "sev-snp.product", _VERSION_2, products=_TURIN),
    Defect("structure-of-turin", "sev-snp.struct-version", _structure(1), products=_MILAN),
    Defect("structure-of-milan", "sev-snp.struct-version", _structure(0), products=_TURIN),
)

_CHAIN: Final = (
    Defect("no-issuers", "sev-snp.issuers", _without_issuers),
    Defect("no-root", "sev-snp.issuers", _sent("ask")),
    Defect("no-intermediate", "sev-snp.issuers", _sent("ark")),
    Defect("foreign-root", "pki.chain.anchor", _sent("foreign-ask", "foreign-ark")),
    Defect("foreign-intermediate", "pki.chain.signature", _sent("foreign-ask", "ark")),
    Defect("intermediate-of-vlek", "pki.amd.name", _sent("asvk", "ark")),
    Defect("issued-by-asvk", "pki.amd.name", _all(_leaf(issuer="asvk"), _sent("asvk", "ark"))),
    Defect("organisation", "pki.amd.name", _leaf(organisation="Advanced Micro Devices, Inc.")),
    Defect("leaf-altered", "pki.chain.signature", _der(lambda der: der[:-1] + bytes((der[-1] ^ 1,)))),
    Defect("leaf-expired", "pki.chain.expired", _leaf_expired),
    Defect("leaf-not-yet-valid", "pki.chain.not-yet-valid", _leaf_early),
    Defect("leaf-salt", "pki.chain.algorithm", _leaf(salt=32)),
    Defect("leaf-on-p256", "pki.chain.algorithm", _leaf_on_p256),
    Defect("leaf-is-ca", "pki.chain.constraints", _leaf(ca=True)),
)

_BINDING: Final = (
    Defect("other-chip", "sev-snp.chip", _other_chip),
    Defect("chip-id-tail", "sev-snp.chip", _body(OFFSETS["chip_id"] + 63, b"\1"), products=_TURIN),
    Defect("hwid-of-turin", "sev-snp.chip", _extension("4", bytes(range(8))), products=_MILAN),
    Defect("hwid-of-milan", "sev-snp.chip", _extension("4", bytes(64)), products=_TURIN),
    *(
        Defect(f"tcb-{name}-{way}", "sev-snp.tcb", _endorsed(name, change), products=_TURIN if name == "fmc" else _EVERY)
        for name in COMPONENTS
        for way, change in (("above", 1), ("below", -1))
        if (name, way) != ("tee", "below")  # 0 on Milan and Genoa
    ),
    Defect("tcb-reserved-byte", "sev-snp.tcb-form", _body(OFFSETS["launch_tcb"] + 4, b"\1")),
    Defect("tcb-out-of-range", "sev-snp.tcb-form", _component_200),
    Defect("tcb-out-of-range-in-report", "sev-snp.tcb-form", _level("committed", "bootloader", 128)),
    *(
        Defect(
            f"committed-{name}-above-current", "sev-snp.tcb-order", _higher("committed", name), products=_TURIN if name == "fmc" else _EVERY
        )
        for name in COMPONENTS
    ),
    Defect("reported-above-current", "sev-snp.tcb-order", _all(_higher("reported", "snp"), _endorsed("snp", 1))),
    Defect("committed-firmware-above-current", "sev-snp.tcb-order", _report(committed_minor=59)),
)

_REVOCATION: Final = (
    Defect("crl-missing", "sev-snp.revocation", _without_crl, Effect.UNDECIDED),
    Defect("crl-stale", "sev-snp.revocation", _crl(begin=-3 * _DAY, end=-_DAY), Effect.UNDECIDED),
    Defect("crl-of-the-future", "sev-snp.revocation", _crl(begin=_DAY), Effect.UNDECIDED),
    Defect("crl-of-other-issuer", "sev-snp.revocation", _crl(issuer="ask", signer="ask"), Effect.UNDECIDED),
    Defect("crl-by-other-key", "pki.crl.signature", _crl(signer="asvk")),
    Defect("crl-malformed", "pki.crl.malformed", lambda recipe: recipe.crl_der.append(lambda der: der[:-1])),
    Defect("ask-revoked", "pki.crl.revoked", _crl(revoked=("ask",))),
    Defect("ark-revoked", "pki.crl.revoked", _crl(revoked=("ark",))),
    Defect("ask-revoked-long-ago", "pki.crl.revoked", _crl(begin=-90 * _DAY, end=-60 * _DAY, revoked=("ask",))),
)

_PROVIDER_KEY: Final = (
    Defect("vlek-without-provider", "sev-snp.leaf-extensions", _extension("5"), key=AmdSigningKey.VLEK),
    Defect("vlek-with-chip", "sev-snp.leaf-extensions", _extension("4", bytes(range(64))), key=AmdSigningKey.VLEK),
    Defect("vlek-as-vcek", "sev-snp.leaf-kind", _report(key_info=0), key=AmdSigningKey.VLEK),
    Defect("vlek-named-vcek", "sev-snp.leaf-extensions", _leaf(common_name="SEV-VCEK"), key=AmdSigningKey.VLEK),
    Defect("vlek-under-ask", "pki.amd.name", _all(_leaf(issuer="ask"), _sent("ask", "ark")), key=AmdSigningKey.VLEK),
    Defect("vlek-tcb", "sev-snp.tcb", _endorsed("microcode", 1), key=AmdSigningKey.VLEK),
    Defect("vlek-expired", "pki.chain.expired", _leaf_expired, key=AmdSigningKey.VLEK),
    Defect("asvk-revoked", "pki.crl.revoked", _crl(revoked=("asvk",)), key=AmdSigningKey.VLEK),
)

DEFECTS: Final = {defect.name: defect for defect in (*_REPORT, *_LEAF, *_CHAIN, *_BINDING, *_REVOCATION, *_PROVIDER_KEY)}
"""All, by name."""
