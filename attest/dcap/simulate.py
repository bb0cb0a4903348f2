"""Simulated quotes and the collateral that judges them, under a throw-away Intel.

A platform is described by what Intel would say of it; the TCB Info and QE Identity are made so that verification finds exactly that. Every
part can be changed before it is signed (see defects.py), so that one rule at a time can be broken.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attest.crypto import sha256
from attest.dcap.collateral import QE_IDENTITY, TCB_INFO
from attest.dcap.pck import PckPlatform, PlatformType
from attest.dcap.quote import BODY_SIZES, INTEL_QE_VENDOR, BodyType, EnclaveReport, Tee
from attest.dcap.simulate_pki import (
    NAMES,
    PCK_NAME,
    SimulatedIntel,
    encode_platform,
    issue,
    make_crl,
    public_point,
    sign_raw,
    signed_item,
    simulated_ppid,
)
from attest.dcap.status import TcbStatus
from attest.evidence import CollateralItem, CollateralType, Evidence, Tri
from attest.wire import Json, format_time

_DAY: Final = timedelta(days=1)
_REPORT: Final = struct.Struct("<16sI12s16sQQ32s32s32s32s64sHHH42s16s64s")
_QE_SIGNERS: Final = {
    Tee.SGX: "8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff",
    Tee.TDX: "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5",
}
_QE_PRODUCTS: Final = {Tee.SGX: 1, Tee.TDX: 2}


@dataclass(frozen=True, slots=True)
class SimulatedPlatform:
    """A platform, and what Intel says of its parts.

    status, module_status and qe_status are those of the matched levels; whatever is out of date has a better level above it. ``date``,
    YYYY-MM-DD, is that of all matched levels.
    """

    platform: PckPlatform
    qe_svn: int = 4
    status: TcbStatus = TcbStatus.UP_TO_DATE
    module_status: TcbStatus = TcbStatus.UP_TO_DATE
    qe_status: TcbStatus = TcbStatus.UP_TO_DATE
    date: str = "2026-05-13"
    advisories: tuple[str, ...] = ()
    evaluation: int = 21
    issued_hours: int = 24


def default_platform(number: int = 0) -> SimulatedPlatform:
    """A scalable platform that is up to date in 2026; the same ``number`` is the same processor."""
    components = (3, 3, 2, 2, 4, 1, 0, 5, *(0,) * 8)
    return SimulatedPlatform(
        PckPlatform(
            simulated_ppid(number), components, 13, bytes(components), bytes(2), bytes.fromhex("90c06f000000"), PlatformType.SCALABLE,
            sha256(b"simulated instance %d" % number)[:16], Tri.YES, Tri.NO, Tri.YES,
        )
    )  # fmt: skip


@dataclass(slots=True)
class Recipe:
    """Everything that one simulated TEE sends and is judged with, before it is put together; a defect changes a member.

    body         report body as it will be signed
    header       version, attestation key type, QE SVN, PCE SVN, vendor, user data
    qe           report of the quoting enclave; its REPORTDATA is put in when the quote is made, unless ``qe_data`` says otherwise
    tcb_info and qe_identity   documents before they are signed
    signers      authority that signs TCB Info and QE Identity, and whose chain comes with them
    leaf         arguments of the PCK certificate
    revoked      serial numbers on the CRL of each authority
    crls         authorities whose CRLs are in the collateral
    quote and items   changes of what came out
    """

    pki: SimulatedIntel
    at: datetime
    kind: str
    label: str
    tee: Tee
    body_type: BodyType
    body: bytes
    version: int
    spec: SimulatedPlatform
    tcb_info: dict[str, Json]
    qe_identity: dict[str, Json]
    qe: EnclaveReport
    key_type: int = 2
    vendor: bytes = INTEL_QE_VENDOR
    qe_auth: bytes = bytes(range(32))
    qe_data: bytes | None = None
    authority: str = "platform"
    leaf_name: str = PCK_NAME
    leaf_end: timedelta = 5 * 365 * _DAY
    leaf_extension: bytes | None = None
    leaf_serial: int = 0x1234567890
    signer: str = "signer"
    signer_chain: tuple[str, ...] = ("signer", "root")
    crls: tuple[str, ...] = ("root", "platform")
    crl_window: tuple[timedelta, timedelta] = (-_DAY, 29 * _DAY)
    crl_number: bool = True
    revoked: dict[str, list[int]] = field(default_factory=dict)
    outer_type: int = 6
    certification_type: int = 5
    parts: dict[str, bytes] = field(default_factory=dict)
    attestation_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    pck_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    quote: list[Callable[[bytes], bytes]] = field(default_factory=list)
    items: list[Callable[[list[CollateralItem]], list[CollateralItem]]] = field(default_factory=list)

    def pck_chain(self) -> bytes:
        """PCK certificate, its CA and the root, PEM."""
        start = self.at.replace(microsecond=0) - 300 * _DAY
        extension = encode_platform(self.spec.platform) if self.leaf_extension is None else self.leaf_extension
        issuer = self.pki.authorities[self.authority]
        leaf = issue(
            self.leaf_name, self.pck_key.public_key(), NAMES[self.authority], issuer.key,
            start=start, end=start + self.leaf_end, serial=self.leaf_serial, extension=extension,
        )  # fmt: skip
        return leaf.public_bytes(serialization.Encoding.PEM) + self.pki.chain(self.authority, "root")

    def signed_quote(self) -> bytes:
        """The quote, signed from the inside out."""
        header = struct.pack("<HHIHH16s20s", self.version, self.key_type, int(self.tee), 0, 0, self.vendor, b"SIMULATED by attest\0")
        descriptor = struct.pack("<HI", int(self.body_type), BODY_SIZES[self.body_type]) if self.version >= 5 else b""
        signed = header + descriptor + self.body
        point = public_point(self.attestation_key)
        data = sha256(point + self.qe_auth) + bytes(32) if self.qe_data is None else self.qe_data
        report = encode_report(replace(self.qe, report_data=data))
        chain = self.pck_chain()
        certified = report + sign_raw(self.pck_key, report) + struct.pack("<H", len(self.qe_auth)) + self.qe_auth
        certified += struct.pack("<HI", self.certification_type, len(chain) + 1) + chain + b"\0"
        auth = sign_raw(self.attestation_key, signed) + point
        auth += certified if self.version == 3 else struct.pack("<HI", self.outer_type, len(certified)) + certified
        result = signed + struct.pack("<I", len(auth)) + auth
        for change in self.quote:
            result = change(result)
        return result

    def evidence(self) -> Evidence:
        """The quote, and what else the kind sends."""
        return Evidence.of(self.kind, self.label, {"quote": self.signed_quote(), **self.parts})

    def collateral(self) -> tuple[CollateralItem, ...]:
        """Documents and CRLs."""
        fetched = self.at.replace(microsecond=0)
        chain = self.pki.chain(*self.signer_chain) if self.signer != "pck" else self.pck_chain()
        key = self.pki.authorities[self.signer].key if self.signer != "pck" else self.pck_key
        prefix = f"simulated-{self.tee.name.lower()}"
        items = [
            CollateralItem(CollateralType.TCB_INFO, f"{prefix}-tcb-info", signed_item(TCB_INFO, self.tcb_info, key, chain), fetched),
            CollateralItem(
                CollateralType.QE_IDENTITY, f"{prefix}-qe-identity", signed_item(QE_IDENTITY, self.qe_identity, key, chain), fetched
            ),
        ]
        begin, end = self.crl_window
        for name in self.crls:
            crl = make_crl(
                self.pki.authorities[name],
                start=fetched + begin,
                end=fetched + end,
                revoked=self.revoked.get(name, ()),
                number=self.crl_number,
            )
            items.append(CollateralItem(CollateralType.CRL, f"simulated-{name}-crl", crl, fetched))
        for change in self.items:
            items = change(items)
        return tuple(items)


def recipe(
    pki: SimulatedIntel, spec: SimulatedPlatform, *, kind: str, label: str, body_type: BodyType, body: bytes, version: int, at: datetime
) -> Recipe:
    """What a sound TEE with this body sends at ``at`` (aware), on this platform."""
    tee = Tee.SGX if body_type is BodyType.SGX else Tee.TDX
    svns = () if tee is Tee.SGX else (body[:16],) if body_type is BodyType.TD10 else (body[:16], body[584:600])
    qe = EnclaveReport(
        bytes(spec.platform.cpu_svn), 0, bytes(16), 0x11, 0, sha256(b"simulated quoting enclave"),
        bytes.fromhex(_QE_SIGNERS[tee]), bytes(64),
        _QE_PRODUCTS[tee], spec.qe_svn, 0, bytes(16), bytes(64),
    )  # fmt: skip
    authority = "platform" if spec.platform.instance_id else "processor"
    return Recipe(
        pki, at, kind, label, tee, body_type, body, version, spec, tcb_info(spec, svns, at), qe_identity(spec, tee, at), qe,
        authority=authority, crls=("root", authority),
    )  # fmt: skip


def encode_report(report: EnclaveReport) -> bytes:
    """The 384 bytes of an SGX report body."""
    return _REPORT.pack(
        report.cpu_svn, report.misc_select, bytes(12), report.isv_ext_prod_id, report.attributes, report.xfrm, report.mr_enclave, bytes(32),
        report.mr_signer, bytes(32), report.config_id, report.isv_prod_id, report.isv_svn, report.config_svn, bytes(42),
        report.isv_family_id, report.report_data,
    )  # fmt: skip


# -- what Intel says of the platform --------------------------------------------------------------------------------------

_OLD: Final = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED, TcbStatus.REVOKED})


def tcb_info(spec: SimulatedPlatform, svns: tuple[bytes, ...], at: datetime) -> dict[str, Json]:
    """A TCB Info in which the platform is found at its status; ``svns`` as in :func:`attest.dcap.tcb.evaluate`."""
    platform = spec.platform
    own = _level(platform.components, platform.pce_svn, svns[0] if svns else b"", spec.date, spec.status, spec.advisories)
    levels: list[Json] = [own]
    if spec.status in _OLD:
        better = (platform.components[0] + 1, *platform.components[1:])
        levels.insert(0, _level(better, platform.pce_svn, svns[0] if svns else b"", spec.date, TcbStatus.UP_TO_DATE, ()))
    document: dict[str, Json] = {"id": "TDX" if svns else "SGX", "version": 3, **_dates(spec, at)}
    document |= {"fmspc": platform.fmspc.hex().upper(), "pceId": platform.pce_id.hex(), "tcbType": 0}
    document["tcbEvaluationDataNumber"] = spec.evaluation
    if svns:
        zero: dict[str, Json] = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        document["tdxModule"] = zero
        if svns[0][1]:
            levels_of = _svn_levels(svns[0][0], spec.module_status, spec.date, spec.advisories if spec.module_status in _OLD else ())
            document["tdxModuleIdentities"] = [{"id": f"TDX_{svns[0][1]:02X}", **zero, "tcbLevels": levels_of}]
    document["tcbLevels"] = levels
    return document


def qe_identity(spec: SimulatedPlatform, tee: Tee, at: datetime) -> dict[str, Json]:
    """A QE Identity in which the platform's quoting enclave is found at its status."""
    return {
        "id": "QE" if tee is Tee.SGX else "TD_QE",
        "version": 2,
        **_dates(spec, at),
        "tcbEvaluationDataNumber": spec.evaluation,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": _QE_SIGNERS[tee].upper(),
        "isvprodid": _QE_PRODUCTS[tee],
        "tcbLevels": _svn_levels(spec.qe_svn, spec.qe_status, spec.date, spec.advisories if spec.qe_status in _OLD else ()),
    }


def _dates(spec: SimulatedPlatform, at: datetime) -> dict[str, Json]:
    issued = at.replace(microsecond=0) - timedelta(hours=spec.issued_hours)
    return {"issueDate": format_time(issued), "nextUpdate": format_time(issued + 30 * _DAY)}


def _level(sgx: tuple[int, ...], pce_svn: int, svn: bytes, date: str, status: TcbStatus, advisories: tuple[str, ...]) -> Json:
    tcb: dict[str, Json] = {"sgxtcbcomponents": [{"svn": value} for value in sgx], "pcesvn": pce_svn}
    if svn:
        tcb["tdxtcbcomponents"] = [{"svn": value} for value in svn]
    return {"tcb": tcb, "tcbDate": f"{date}T00:00:00Z", "tcbStatus": status.value, **_listed(advisories)}


def _svn_levels(svn: int, status: TcbStatus, date: str, advisories: tuple[str, ...]) -> list[Json]:
    own: Json = {"tcb": {"isvsvn": svn}, "tcbDate": f"{date}T00:00:00Z", "tcbStatus": status.value, **_listed(advisories)}
    if status not in _OLD:
        return [own]
    return [{"tcb": {"isvsvn": svn + 1}, "tcbDate": f"{date}T00:00:00Z", "tcbStatus": TcbStatus.UP_TO_DATE.value}, own]


def _listed(advisories: tuple[str, ...]) -> dict[str, Json]:
    return {"advisoryIDs": list(advisories)} if advisories else {}
