"""Everything that can be wrong with a simulated quote and its collateral, each with the check that must refuse it.

A defect in signed bytes is signed again, so that it is the named check and not a signature that refuses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from attest.dcap.pck import PckPlatform
from attest.dcap.quote import Tee
from attest.dcap.simulate import Recipe, qe_identity, tcb_info
from attest.dcap.simulate_pki import SimulatedIntel, encode_platform
from attest.dcap.status import TcbStatus
from attest.evidence import CollateralItem, CollateralType
from attest.wire import Json

Apply = Callable[[Recipe], None]
_DAY: Final = timedelta(days=1)
_ALL: Final = frozenset(Tee)
_TDX: Final = frozenset({Tee.TDX})


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong: its name for the command line, the code that must come out, the change that makes it, who can have it."""

    name: str
    code: str
    apply: Apply
    tees: frozenset[Tee] = _ALL


# -- changes --------------------------------------------------------------------------------------------------------------


def set_members(**members: object) -> Apply:
    """Members of the recipe."""

    def apply(recipe: Recipe) -> None:
        for name, value in members.items():
            setattr(recipe, name, value)

    return apply


def put(offset: int, data: bytes) -> Apply:
    """Bytes of the finished quote."""
    return lambda recipe: recipe.quote.append(lambda quote: quote[:offset] + data + quote[offset + len(data) :])


def set_body(offset: int, data: bytes) -> Apply:
    """Bytes of the body, signed."""

    def apply(recipe: Recipe) -> None:
        recipe.body = recipe.body[:offset] + data + recipe.body[offset + len(data) :]

    return apply


def _quote(change: Callable[[bytes], bytes]) -> Apply:
    return lambda recipe: recipe.quote.append(change)


def _auth(change: Callable[[int], tuple[int, bytes]]) -> Apply:
    """Bytes of the finished quote, relative to the start of the auth data."""

    def apply(recipe: Recipe) -> None:
        start = 48 + (6 if recipe.version >= 5 else 0) + len(recipe.body) + 4
        offset, data = change(start)
        put(offset, data)(recipe)

    return apply


def _qe(**changes: int | bytes) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.qe = dataclasses.replace(recipe.qe, **changes)  # type: ignore[arg-type]

    return apply


def _info(**members: Json) -> Apply:
    return lambda recipe: recipe.tcb_info.update(members)


def _identity(**members: Json) -> Apply:
    return lambda recipe: recipe.qe_identity.update(members)


def _first_level(**members: Json) -> Apply:
    def apply(recipe: Recipe) -> None:
        levels = recipe.tcb_info["tcbLevels"]
        if isinstance(levels, list) and isinstance(levels[0], dict):
            levels[0].update(members)

    return apply


def _platform(**changes: int | bytes | tuple[int, ...]) -> Apply:
    """The PCK certificate's platform; the collateral stays that of the other."""

    def apply(recipe: Recipe) -> None:
        platform: PckPlatform = dataclasses.replace(recipe.spec.platform, **changes)  # type: ignore[arg-type]
        recipe.leaf_extension = encode_platform(platform)

    return apply


def _without(kind: CollateralType) -> Apply:
    return lambda recipe: recipe.items.append(lambda items: [item for item in items if item.type is not kind])


def _item(kind: CollateralType, change: Callable[[bytes], bytes]) -> Apply:
    def spoil(items: list[CollateralItem]) -> list[CollateralItem]:
        return [CollateralItem(item.type, item.name, change(item.data), item.fetched_at) if item.type is kind else item for item in items]

    return lambda recipe: recipe.items.append(spoil)


def _other_root(recipe: Recipe) -> None:
    recipe.pki = SimulatedIntel.create(at=recipe.at)


def _revoke(authority: str, serial: Callable[[Recipe], int]) -> Apply:
    return lambda recipe: recipe.revoked.setdefault(authority or recipe.authority, []).append(serial(recipe))


def _short_components(recipe: Recipe) -> None:
    _tcb_of_first(recipe)["sgxtcbcomponents"] = [{"svn": 0}] * 15


def _unreachable(recipe: Recipe) -> None:
    recipe.tcb_info["tcbLevels"] = [recipe.tcb_info["tcbLevels"][-1]]  # type: ignore[index]
    _tcb_of_first(recipe)["pcesvn"] = 0xFFFF


def _same_level_twice(recipe: Recipe) -> None:
    levels = recipe.tcb_info["tcbLevels"]
    if isinstance(levels, list):
        levels.append(levels[0])


def _tcb_of_first(recipe: Recipe) -> dict[str, Json]:
    levels = recipe.tcb_info["tcbLevels"]
    tcb = levels[0]["tcb"] if isinstance(levels, list) and isinstance(levels[0], dict) else None
    if not isinstance(tcb, dict):
        raise AssertionError("a recipe without levels")
    return tcb


def _qe_svn_of_first(recipe: Recipe) -> None:
    recipe.qe_identity["tcbLevels"] = [{"tcb": {"isvsvn": 0xFFFF}, "tcbDate": "2026-05-13T00:00:00Z", "tcbStatus": "UpToDate"}]


def _status(**statuses: TcbStatus) -> Apply:
    """Statuses of the platform, made anew: documents follow."""

    def apply(recipe: Recipe) -> None:
        spec = dataclasses.replace(recipe.spec, **statuses)  # type: ignore[arg-type]
        svns = () if recipe.tee is Tee.SGX else (recipe.body[:16], *([recipe.body[584:600]] if len(recipe.body) > 584 else []))
        recipe.tcb_info = tcb_info(spec, svns, recipe.at)
        recipe.qe_identity = qe_identity(spec, recipe.tee, recipe.at)

    return apply


def _tcb_info_of_other_tee(recipe: Recipe) -> None:
    recipe.tcb_info = tcb_info(recipe.spec, (bytes(16),) if recipe.tee is Tee.SGX else (), recipe.at)


def _qe_identity_of_other_tee(recipe: Recipe) -> None:
    recipe.qe_identity = qe_identity(recipe.spec, Tee.TDX if recipe.tee is Tee.SGX else Tee.SGX, recipe.at)


_R: Final = TcbStatus.REVOKED
_LATE: Final[dict[str, Json]] = {"issueDate": "2020-01-01T00:00:00Z", "nextUpdate": "2020-01-31T00:00:00Z"}
_EARLY: Final[dict[str, Json]] = {"issueDate": "2099-01-01T00:00:00Z", "nextUpdate": "2099-01-31T00:00:00Z"}

DEFECTS: Final = (
    # the quote's form
    Defect("quote-empty", "dcap.quote-form", _quote(lambda _: b"")),
    Defect("quote-cut", "dcap.quote-form", _quote(lambda quote: quote[:-1])),
    Defect("auth-length", "dcap.quote-form", _auth(lambda start: (start - 4, b"\xff" * 4))),
    Defect("qe-auth-length", "dcap.quote-form", _auth(lambda start: (start + 134 + 448, b"\xff\xff")), _TDX),
    Defect("body-size", "dcap.quote-body", put(50, b"\xff\xff\xff\xff"), _TDX),
    Defect("outer-length", "dcap.quote-form", _auth(lambda start: (start + 130, b"\0\0\0\0")), _TDX),
    Defect("version", "dcap.quote-version", put(0, b"\x06")),
    Defect("tee", "dcap.quote-version", put(4, b"\x01")),
    Defect("key-type", "dcap.key-type", set_members(key_type=3)),
    Defect("vendor", "dcap.vendor", set_members(vendor=bytes(16))),
    Defect("outer-type", "dcap.certification-type", set_members(outer_type=5), _TDX),
    Defect("certification-type", "dcap.certification-type", set_members(certification_type=7)),
    Defect("certificate-missing", "dcap.pck-certificate", set_members(certification_type=4)),
    Defect("qe-reserved", "dcap.reserved", _auth(lambda start: (start + 134 + 96, b"\1")), _TDX),
    # PCK chain
    Defect("other-root", "pki.chain.anchor", _other_root),
    Defect("pck-name", "dcap.pck-role", set_members(leaf_name="Some other certificate")),
    Defect("pck-expired", "pki.chain.expired", set_members(leaf_end=timedelta(days=1))),
    Defect("pck-extension", "dcap.pck-extension", set_members(leaf_extension=b"\x30\x00")),
    Defect("pck-extension-missing", "dcap.pck-extension", set_members(leaf_extension=b"")),
    Defect("pck-two-cpusvn", "dcap.pck-extension", _platform(cpu_svn=bytes(16))),
    Defect("pck-instance-missing", "dcap.pck-extension", _platform(instance_id=b"")),
    # signatures
    Defect("qe-report-signature", "dcap.qe-report-signature", _auth(lambda start: (start + 134 + 8, b"\xff")), _TDX),
    Defect("attestation-key", "dcap.attestation-key", set_members(qe_data=bytes(64))),
    Defect("qe-report-data-tail", "dcap.attestation-key", set_members(qe_data=b"\1" * 64)),
    Defect("quote-signature", "dcap.quote-signature", _auth(lambda start: (start, bytes(64)))),
    Defect("body-changed", "dcap.quote-signature", put(48 + 54, b"\xff")),
    # documents
    Defect("tcb-info-missing", "dcap.tcb-info", _without(CollateralType.TCB_INFO)),
    Defect("tcb-info-of-other-tee", "dcap.tcb-info-tee", _tcb_info_of_other_tee),
    Defect("tcb-info-other-fmspc", "dcap.fmspc", _info(fmspc="000000000000")),
    Defect("tcb-info-other-pceid", "dcap.pceid", _info(pceId="0001")),
    Defect("tcb-info-version", "dcap.collateral-form", _info(version=4)),
    Defect("tcb-info-type", "dcap.collateral-form", _info(tcbType=1)),
    Defect("tcb-info-unknown-member", "dcap.collateral-form", _info(somethingNew=1)),
    Defect("tcb-info-components", "dcap.collateral-form", _short_components),
    Defect("tcb-info-same-level-twice", "dcap.collateral-form", _same_level_twice),
    Defect("tcb-info-status", "dcap.collateral-form", _first_level(tcbStatus="Perfect")),
    Defect("tcb-info-date", "dcap.collateral-form", _first_level(tcbDate="2026-02-30T00:00:00Z")),
    Defect("tcb-info-stale", "dcap.tcb-info-time", _info(**_LATE)),
    Defect("tcb-info-future", "dcap.tcb-info-time", _info(**_EARLY)),
    Defect(
        "tcb-info-edited",
        "dcap.tcb-info-signature",
        _item(CollateralType.TCB_INFO, lambda data: data.replace(b'"tcbEvaluationDataNumber":', b'"tcbEvaluationDataNumber":1')),
    ),
    Defect(
        "tcb-info-rewritten",
        "dcap.tcb-info-signature",
        _item(CollateralType.TCB_INFO, lambda data: data.replace(b'"fmspc":', b'"fmspc": ')),
    ),
    Defect("signed-by-pck", "dcap.signer-role", set_members(signer="pck")),
    Defect("signed-by-pck-ca", "dcap.signer-role", set_members(signer="platform", signer_chain=("platform", "root"))),
    Defect("qe-identity-missing", "dcap.qe-identity", _without(CollateralType.QE_IDENTITY)),
    Defect("qe-identity-version", "dcap.collateral-form", _identity(version=3)),
    Defect("qe-identity-of-other-tee", "dcap.qe-identity-tee", _qe_identity_of_other_tee),
    Defect("qe-identity-stale", "dcap.qe-identity-time", _identity(**_LATE)),
    Defect("qe-identity-future", "dcap.qe-identity-time", _identity(**_EARLY)),
    Defect(
        "qe-identity-edited",
        "dcap.qe-identity-signature",
        _item(CollateralType.QE_IDENTITY, lambda data: data.replace(b'"tcbEvaluationDataNumber":', b'"tcbEvaluationDataNumber":1')),
    ),
    # revocation
    Defect("root-crl-missing", "dcap.root-crl", set_members(crls=("platform",))),
    Defect("pck-crl-missing", "dcap.pck-crl", set_members(crls=("root",))),
    Defect("pck-crl-of-other-ca", "dcap.pck-crl", set_members(crls=("root", "processor"))),
    Defect("crl-stale", "dcap.pck-crl", set_members(crl_window=(-30 * _DAY, -_DAY))),
    Defect("crl-future", "dcap.pck-crl", set_members(crl_window=(_DAY, 30 * _DAY))),
    Defect("crl-without-number", "dcap.crl-form", set_members(crl_number=False)),
    Defect("pck-revoked", "pki.crl.revoked", _revoke("", lambda recipe: recipe.leaf_serial)),
    Defect("pck-ca-revoked", "pki.crl.revoked", _revoke("root", lambda r: r.pki.authorities[r.authority].certificate.serial_number)),
    Defect("signer-revoked", "pki.crl.revoked", _revoke("root", lambda r: r.pki.authorities["signer"].certificate.serial_number)),
    # platform
    Defect("qe-signer", "dcap.qe-match", _qe(mr_signer=b"\xaa" * 32)),
    Defect("qe-product", "dcap.qe-match", _qe(isv_prod_id=9)),
    Defect("qe-debug", "dcap.qe-match", _qe(attributes=0x13)),
    Defect("qe-misc-select", "dcap.qe-match", _qe(misc_select=1)),
    Defect("tcb-below-all", "dcap.tcb-level", _unreachable),
    Defect("qe-below-all", "dcap.qe-level", _qe_svn_of_first),
    Defect("tcb-revoked", "dcap.tcb-revoked", _status(status=_R)),
    Defect("qe-revoked", "dcap.tcb-revoked", _status(qe_status=_R)),
    Defect("module-revoked", "dcap.tcb-revoked", _status(module_status=_R), _TDX),
    Defect("module-signer", "dcap.tdx-module", set_body(64, b"\1"), _TDX),
    Defect("module-attributes", "dcap.tdx-module", set_body(112, b"\1"), _TDX),
    Defect("module-not-listed", "dcap.module-level", _info(tdxModuleIdentities=[]), _TDX),
)  # fmt: skip
