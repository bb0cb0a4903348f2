"""Simulated SEV-SNP guests: reports, certificates and CRLs in AMD's formats, under throw-away authorities.

A guest is described by the claims that it shall make, so every claim can be set; every part can be changed before it is signed, so that
a test can break one rule at a time (see defects.py). What comes out verifies under the simulation's own anchors only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ssl import DER_cert_to_PEM_cert
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from attest.crypto import sha384, sha512
from attest.errors import AttestError, UsageError
from attest.evidence import ClaimValue, CollateralItem, CollateralType, Debug, Evidence, Revocation, Tri
from attest.kinds.sev_snp.certificates import SPL
from attest.kinds.sev_snp.claims import PLATFORM_CLAIMS, PLATFORM_STATES, POLICY_CLAIMS, SnpClaims, TcbSet, claims_of
from attest.kinds.sev_snp.product import COMPONENTS, LINES, AmdProduct, ProductLine, Tcb
from attest.kinds.sev_snp.recognise import NAME
from attest.kinds.sev_snp.report import SIGNED, AmdSigningKey, PlatformBit, PolicyBit, SnpReport, encode, parse
from attest.kinds.sev_snp.simulate_pki import CrlSpec, LeafSpec, SimulatedAmd

LABEL: Final = "cpu"
PROVIDER: Final = "CN=simulated.example"

_DAY: Final = timedelta(days=1)
_LIFE: Final = {AmdSigningKey.VCEK: 7 * 365 * _DAY, AmdSigningKey.VLEK: 365 * _DAY}
# Processor, TCB and platform flags of a machine that is up to date in 2026.
_MACHINES: Final = {
    AmdProduct.MILAN: ((0x19, 0x01, 0x01), Tcb(0, 4, 0, 27, 222), PlatformBit(0)),
    AmdProduct.GENOA: ((0x19, 0x11, 0x01), Tcb(0, 10, 0, 23, 84), PlatformBit(0)),
    AmdProduct.TURIN: ((0x1A, 0x02, 0x01), Tcb(1, 3, 2, 5, 97), PlatformBit.IOMMU_WRITE_SAFE),
}
_PRODUCT_NAMES: Final = {(AmdProduct.MILAN, AmdSigningKey.VCEK): "Milan-B0"}


# -- what a guest claims --------------------------------------------------------------------------------------------------


def default_claims(product: AmdProduct, *, signing_key: AmdSigningKey = AmdSigningKey.VCEK, chip: int = 0) -> SnpClaims:
    """Claims of a sound guest on an up-to-date machine; the same ``chip`` is the same processor. Change them with :func:`with_claims`."""
    line = LINES[product]
    (family, model, stepping), tcb, flags = _MACHINES[product]
    raw = line.layout.encode(tcb)
    vcek = signing_key is AmdSigningKey.VCEK
    report = SnpReport(
        version=5,
        guest_svn=1,
        policy=PolicyBit.ALWAYS_ONE | PolicyBit.SMT_ALLOWED,
        family_id=bytes(16),
        image_id=bytes(16),
        vmpl=0,
        signature_algorithm=1,
        current_tcb=raw,
        platform_info=PlatformBit.SMT | PlatformBit.ECC | PlatformBit.ALIAS_CHECK | flags,
        key_info=0 if vcek else 1 << 2,
        report_data=bytes(64),
        measurement=sha384(b"simulated launch measurement"),
        host_data=bytes(32),
        id_key_digest=sha384(b"simulated ID key"),
        author_key_digest=bytes(48),
        report_id=b"SIMULATED by attest".ljust(32, b"\0"),
        report_id_ma=b"\xff" * 32,
        reported_tcb=raw,
        family=family,
        model=model,
        stepping=stepping,
        chip_id=chip_identity(line, chip).ljust(64, b"\0") if vcek else bytes(64),
        committed_tcb=raw,
        current_build=3,
        current_minor=58,
        current_major=1,
        committed_build=3,
        committed_minor=58,
        committed_major=1,
        launch_tcb=raw,
        launch_mitigations=0b1011,
        current_mitigations=0b1011,
        r=bytes(48),
        s=bytes(48),
    )
    return _read_back(report, line, "" if vcek else PROVIDER, Revocation.GOOD)


def with_claims(claims: SnpClaims, changes: Mapping[str, ClaimValue]) -> SnpClaims:
    """The claims with ``changes``, and whatever follows from them. ``revocation`` unknown means that there is no CRL.

    Versions are set by their text. Raises UsageError for a name that is not a claim, and for what no report can say: a claim that follows
    from others (``provisional_firmware``), a value out of range, a flag that the report version does not have.
    """
    unknown = sorted(set(changes) - set(claims.values()))
    if unknown:
        raise UsageError.of("there is no such claim", found=", ".join(unknown), expected=", ".join(claims.values()))
    own: dict[str, ClaimValue] = {**_following(changes), **changes}
    try:
        changed = replace(claims, **own)  # type: ignore[arg-type]  # names are checked, values read back below
        line = LINES[changed.product]
        report = replace(report_of(changed, bytes(64)), r=b"\1" + bytes(47), s=b"\1" + bytes(47))
        result = _read_back(parse(encode(report)), line, changed.csp_id, changed.revocation)
    except (AttestError, ValueError, TypeError, struct.error) as error:
        raise UsageError.of("no report can make these claims", found=str(error)) from None
    lost = [name for name in changes if getattr(result, name) != changes[name]]
    if lost:
        raise UsageError.of(
            "no report can make these claims together",
            found=", ".join(f"{name} is {changes[name]}" for name in lost),
            expected=", ".join(f"{name} is {getattr(result, name)}, because of other claims" for name in lost),
        )
    return result


def _following(changes: Mapping[str, ClaimValue]) -> dict[str, ClaimValue]:
    """Claims that a change of key brings with it."""
    if "signing_key" not in changes:
        return {}
    vlek = changes["signing_key"] == AmdSigningKey.VLEK
    return {"csp_id": PROVIDER, "device_id": ""} if vlek else {"csp_id": ""}


def _read_back(report: SnpReport, line: ProductLine, csp_id: str, revocation: Revocation) -> SnpClaims:
    tcbs = TcbSet.decode(report, line.layout)
    return claims_of(report, line=line, tcbs=tcbs, csp_id=csp_id, revocation=revocation, simulated=True)


def chip_identity(line: ProductLine, chip: int) -> bytes:
    """Identity of a simulated chip, 64 bytes or 8."""
    return sha512(b"simulated chip %d" % chip)[: line.chip_id_size]


def report_of(claims: SnpClaims, report_data: bytes) -> SnpReport:
    """The unsigned report that makes these claims for ``report_data`` (64 bytes)."""
    line = LINES[claims.product]
    family, model, stepping = _MACHINES[claims.product][0] if claims.report_version >= 3 else (0, 0, 0)
    debug = PolicyBit.DEBUG_ALLOWED if claims.debug is Debug.ON else 0
    policy = PolicyBit.ALWAYS_ONE | debug | sum(bit for name, bit in POLICY_CLAIMS if getattr(claims, name))
    platform = sum(bit for name, bit in PLATFORM_CLAIMS if getattr(claims, name))
    platform += sum(bit for name, bit, _ in PLATFORM_STATES if getattr(claims, name) is Tri.YES)
    current_major, current_minor, current_build = (int(part) for part in claims.firmware_version.split("."))
    committed_major, committed_minor, committed_build = (int(part) for part in claims.committed_firmware_version.split("."))
    levels = {
        prefix: line.layout.encode(Tcb(*(getattr(claims, f"{prefix}_{name}") for name in COMPONENTS)))
        for prefix in ("reported", "committed", "current", "launch")
    }
    return SnpReport(
        version=claims.report_version,
        guest_svn=claims.guest_svn,
        policy=policy | claims.policy_abi_major << 8 | claims.policy_abi_minor,
        family_id=bytes.fromhex(claims.family_id),
        image_id=bytes.fromhex(claims.image_id),
        vmpl=claims.vmpl,
        signature_algorithm=1,
        current_tcb=levels["current"],
        platform_info=platform,
        key_info=int(claims.author_key_enabled) | (1 << 2 if claims.signing_key is AmdSigningKey.VLEK else 0),
        report_data=report_data,
        measurement=bytes.fromhex(claims.measurement),
        host_data=bytes.fromhex(claims.host_data),
        id_key_digest=bytes.fromhex(claims.id_key_digest) or bytes(48),
        author_key_digest=bytes.fromhex(claims.author_key_digest) or bytes(48),
        report_id=b"SIMULATED by attest".ljust(32, b"\0"),
        report_id_ma=b"\xff" * 32,
        reported_tcb=levels["reported"],
        family=family,
        model=model,
        stepping=stepping,
        chip_id=bytes.fromhex(claims.device_id).ljust(64, b"\0"),
        committed_tcb=levels["committed"],
        current_build=current_build,
        current_minor=current_minor,
        current_major=current_major,
        committed_build=committed_build,
        committed_minor=committed_minor,
        committed_major=committed_major,
        launch_tcb=levels["launch"],
        launch_mitigations=sum(1 << int(bit) for bit in claims.launch_mitigations),
        current_mitigations=sum(1 << int(bit) for bit in claims.current_mitigations),
        r=bytes(48),
        s=bytes(48),
    )


# -- what it sends --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Recipe:
    """Everything that one simulated guest sends, before it is put together; a defect changes a member.

    report    unsigned report
    body      changes of the encoded report before it is signed, (offset, bytes)
    finish    changes of the signed report
    leaf      certificate of the signing key, and the key
    signer    key that signs the report
    sent      authorities whose certificates come with the leaf, in order; None sends no certificates at all
    der       changes of the endorsement certificate after it was signed
    pem       changes of the certificates part
    crl_der   changes of the CRLs after they were signed
    stored    authorities whose certificates are in the collateral
    crls      CRLs in the collateral
    """

    pki: SimulatedAmd
    claims: SnpClaims
    at: datetime
    report: SnpReport
    leaf: LeafSpec
    signer: ec.EllipticCurvePrivateKey
    crls: list[CrlSpec]
    label: str = LABEL
    sent: tuple[str, ...] | None = ("ask", "ark")
    stored: tuple[str, ...] = ()
    body: list[tuple[int, bytes]] = field(default_factory=list)
    finish: list[Callable[[bytes], bytes]] = field(default_factory=list)
    der: list[Callable[[bytes], bytes]] = field(default_factory=list)
    crl_der: list[Callable[[bytes], bytes]] = field(default_factory=list)
    pem: list[Callable[[bytes], bytes]] = field(default_factory=list)

    def signed_report(self) -> bytes:
        """The report with its signature."""
        data = bytearray(encode(self.report))
        for offset, change in self.body:
            data[offset : offset + len(change)] = change
        r, s = utils.decode_dss_signature(self.signer.sign(bytes(data[:SIGNED]), ec.ECDSA(hashes.SHA384())))
        signature = r.to_bytes(72, "little") + s.to_bytes(72, "little")
        return _changed(bytes(data[:SIGNED]) + signature + bytes(data[SIGNED + len(signature) :]), self.finish)

    def evidence(self) -> Evidence:
        """Report and certificates."""
        parts = {"report": self.signed_report()}
        if self.sent is not None:
            der = _changed(self.pki.leaf(self.leaf), self.der)
            pem = DER_cert_to_PEM_cert(der).encode() + self.pki.chain_pem(*self.sent)
            parts["certificates"] = _changed(pem, self.pem)
        return Evidence.of(NAME, self.label, parts)

    def collateral(self) -> tuple[CollateralItem, ...]:
        """Certificates and CRLs."""
        line = self.pki.line.name.lower()
        items: list[CollateralItem] = []
        if self.stored:
            pem = self.pki.chain_pem(*self.stored)
            items.append(CollateralItem(CollateralType.CERTIFICATES, f"simulated-{line}-chain", pem, self.at))
        for index, crl in enumerate(self.crls):
            der = _changed(self.pki.crl(crl), self.crl_der)
            items.append(CollateralItem(CollateralType.CRL, f"simulated-{line}-crl-{index}", der, self.at))
        return tuple(items)


def _changed(data: bytes, changes: list[Callable[[bytes], bytes]]) -> bytes:
    for change in changes:
        data = change(data)
    return data


def recipe(pki: SimulatedAmd, claims: SnpClaims, *, report_data: bytes, at: datetime, label: str = LABEL) -> Recipe:
    """What a guest with these claims sends for ``report_data`` (64 bytes) at ``at`` (aware).

    Raises UsageError for report data of another size, and for claims of another product line than that of ``pki``.
    """
    if len(report_data) != 64:
        raise UsageError.of("an SNP guest takes report data of 64 bytes", found=f"{len(report_data)} bytes", expected="64 bytes")
    if claims.product is not pki.product:
        raise UsageError.of("these simulated authorities are of another product line", found=pki.product, expected=claims.product)
    report = report_of(claims, report_data)
    vcek = claims.signing_key is AmdSigningKey.VCEK
    key = ec.generate_private_key(ec.SECP384R1())
    start = at.replace(microsecond=0) - 30 * _DAY
    leaf = LeafSpec(
        common_name="SEV-VCEK" if vcek else "SEV-VLEK",
        issuer="ask" if vcek else "asvk",
        key=key,
        extensions=leaf_extensions(pki.line, claims),
        not_before=start,
        not_after=start + _LIFE[claims.signing_key],
    )
    crls = [CrlSpec(at.replace(microsecond=0) - _DAY, at.replace(microsecond=0) + 30 * _DAY)]
    good = claims.revocation is Revocation.GOOD
    return Recipe(pki, claims, at, report, leaf, key, crls if good else [], label, (leaf.issuer, "ark"))


def leaf_extensions(line: ProductLine, claims: SnpClaims) -> tuple[tuple[str, bytes], ...]:
    """AMD's extensions for the key that signs these claims, as (last arcs of the OID, DER)."""
    vcek = claims.signing_key is AmdSigningKey.VCEK
    layout, components, reserved = SPL[line.layout.struct_version]
    name = _PRODUCT_NAMES.get((claims.product, claims.signing_key), line.name)
    levels = {arcs: getattr(claims, f"reported_{component}") for arcs, component in components.items()} | dict.fromkeys(reserved, 0)
    hwid = bytes.fromhex(claims.device_id) or chip_identity(line, 0)
    return (
        ("1", der_integer(layout.struct_version)),
        ("2", der_text(name)),
        *((arcs, der_integer(levels[arcs])) for arcs in sorted(levels)),
        ("4", hwid) if vcek else ("5", der_text(claims.csp_id)),
    )


def der_integer(value: int) -> bytes:
    """DER INTEGER of 0..32767."""
    body = value.to_bytes(2 if value > 0x7F else 1, "big")
    return bytes([0x02, len(body)]) + body


def der_text(text: str) -> bytes:
    """DER IA5String of up to 127 characters."""
    return bytes([0x16, len(text)]) + text.encode("ascii")


def simulate(
    pki: SimulatedAmd,
    claims: SnpClaims,
    *,
    report_data: bytes,
    at: datetime,
    label: str = LABEL,
    change: Callable[[Recipe], None] | None = None,
) -> tuple[Evidence, tuple[CollateralItem, ...]]:
    """Evidence of one guest and the collateral that it needs; ``change`` spoils the recipe (a defect's ``apply``)."""
    made = recipe(pki, claims, report_data=report_data, at=at, label=label)
    if change is not None:
        change(made)
    return made.evidence(), made.collateral()
