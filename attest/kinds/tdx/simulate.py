"""Simulated TDX guests: quotes in Intel's format under a throw-away Intel, with the collateral that judges them.

A guest is described by its platform and its TD report; :func:`with_claims` sets any claim that a quote can make. What comes out verifies
under the simulation's own anchors only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from attest.crypto import sha384
from attest.dcap.quote import BodyType
from attest.dcap.simulate import Recipe, SimulatedPlatform, default_platform, recipe
from attest.dcap.simulate_claims import platform_with_claims
from attest.dcap.simulate_pki import SimulatedIntel
from attest.dcap.status import TcbStatus
from attest.errors import AttestError, UsageError
from attest.evidence import ClaimValue, Collateral, CollateralItem, Debug, Evidence
from attest.kinds.tdx.claims import TdxClaims
from attest.kinds.tdx.report import BODIES, XFAM_FEATURES, Attribute, TdBody, TdReport, encode_body
from attest.kinds.tdx.verify import NAME, verify
from attest.trust import Origin, TrustStore

LABEL: Final = "cpu"

_BODY_TYPES: Final = {body: body_type for body_type, body in BODIES.items()}
_FLAGS: Final = {
    "sept_ve_disabled": Attribute.SEPT_VE_DISABLE,
    "migratable": Attribute.MIGRATABLE,
    "protection_keys": Attribute.PKS,
    "key_locker": Attribute.KEY_LOCKER,
    "linear_address_separation": Attribute.LASS,
    "tpa": Attribute.TPA,
    "performance_monitoring": Attribute.PERFMON,
}
_DIGESTS: Final = ("mr_td", "mr_config_id", "mr_owner", "mr_owner_config", "mr_seam", "mr_service_td")


@dataclass(frozen=True, slots=True)
class SimulatedTd:
    """A guest: its platform, its report without REPORTDATA, and what it sends beside the quote (event log, runtime data)."""

    platform: SimulatedPlatform
    report: TdReport
    parts: tuple[tuple[str, bytes], ...] = ()


def default_guest(number: int = 0) -> SimulatedTd:
    """A sound TD 1.5 guest; the same ``number`` is the same processor."""
    svn = bytes([7, 1, 3, *bytes(13)])
    registers = tuple(sha384(b"simulated RTMR%d" % index) for index in range(3))
    return SimulatedTd(
        default_platform(number),
        TdReport(
            TdBody.TD15, svn, sha384(b"simulated TDX module"), bytes(48), bytes(8), int(Attribute.SEPT_VE_DISABLE), 0x600E7,
            sha384(b"simulated launch measurement"), bytes(48), bytes(48), bytes(48), (registers[0], registers[1], registers[2], bytes(48)),
            bytes(64), svn, bytes(48), b"",
        ),
    )  # fmt: skip


def claims_of(pki: SimulatedIntel, guest: SimulatedTd, *, at: datetime) -> TdxClaims:
    """What verification finds: the claims of the guest's quote at ``at``."""
    evidence, items = simulate(pki, guest, report_data=bytes(64), at=at)
    return verify(evidence, trust=trust(pki), collateral=Collateral(items), at=at).claims


def trust(pki: SimulatedIntel) -> TrustStore:
    """The store that the simulation verifies under."""
    return TrustStore.of("simulation", Origin.SIMULATED, pki.anchors())


def with_claims(guest: SimulatedTd, changes: Mapping[str, ClaimValue], *, pki: SimulatedIntel, at: datetime) -> SimulatedTd:
    """The guest with claims changed, judged again to see that a quote can make them together.

    Raises UsageError for a name that is not a claim, and for what no quote can say.
    """
    unknown = sorted(set(changes) - set(TdxClaims.__dataclass_fields__))
    if unknown:
        raise UsageError.of("there is no such claim", found=", ".join(unknown), expected=", ".join(TdxClaims.__dataclass_fields__))
    try:
        report = guest.report
        for name, value in changes.items():
            report = _changed(report, name, value)
        changed = replace(guest, platform=platform_with_claims(guest.platform, changes), report=report)
        found = claims_of(pki, _with_current(changed, changes), at=at).values()
        changed = _with_current(changed, changes)
    except (AttestError, ValueError, TypeError) as error:
        raise UsageError.of("no quote can make these claims", found=str(error)) from None
    lost = [name for name in changes if found[name] != changes[name]]
    if lost:
        raise UsageError.of(
            "no quote can make these claims together",
            found=", ".join(f"{name} is {changes[name]}" for name in lost),
            expected=", ".join(f"{name} is {found[name]}, because of other claims" for name in lost),
        )
    return changed


def _changed(report: TdReport, name: str, value: ClaimValue) -> TdReport:
    """The report with one claim set; names that are not the report's leave it as it is."""
    if name in _FLAGS:
        return replace(report, attributes=_flag(report.attributes, _FLAGS[name], on=bool(value)))
    if name == "debug":
        return replace(report, attributes=_flag(report.attributes, Attribute.DEBUG, on=value == Debug.ON))
    if name in _DIGESTS:
        digest = bytes.fromhex(str(value)) or bytes(48)
        if len(digest) != 48:
            raise ValueError(f"{name} of {len(digest)} bytes")
        return replace(report, **{name: digest})  # type: ignore[arg-type]
    if name.startswith("rtmr"):
        registers = list(report.rtmr)
        registers[int(name[4:])] = bytes.fromhex(str(value))
        return replace(report, rtmr=(registers[0], registers[1], registers[2], registers[3]))
    if name == "service_td" and value and not any(report.mr_service_td):
        return replace(report, mr_service_td=sha384(b"simulated service TD"))
    if name == "xfam":
        return replace(report, xfam=int(str(value), 16))
    if name == "features" and isinstance(value, frozenset):
        return replace(report, xfam=sum(1 << bit for bit, feature in XFAM_FEATURES.items() if feature in value))
    return _of_module(report, name, value)


def _of_module(report: TdReport, name: str, value: ClaimValue) -> TdReport:
    """The same for the body and for the TDX module that it was made under."""
    if name == "td_body":
        return _with_body(report, TdBody(str(value)))
    if name in ("tdx_module_svn", "tdx_module_version") and isinstance(value, int):
        svn = bytearray(report.tee_tcb_svn)
        svn[0 if name == "tdx_module_svn" else 1] = value
        return replace(report, tee_tcb_svn=bytes(svn), tee_tcb_svn2=bytes(svn) if report.tee_tcb_svn2 else b"")
    if name == "tee_tcb_svn":  # the same TCB now, unless that is set too
        both = bytes.fromhex(str(value))
        return replace(report, tee_tcb_svn=both, tee_tcb_svn2=both if report.tee_tcb_svn2 else b"")
    if name == "current_tee_tcb_svn":
        return replace(report, tee_tcb_svn2=bytes.fromhex(str(value)))
    return report


def _with_body(report: TdReport, body: TdBody) -> TdReport:
    later = body is not TdBody.TD10
    return replace(
        report,
        body=body,
        tee_tcb_svn2=(report.tee_tcb_svn2 or report.tee_tcb_svn) if later else b"",
        mr_service_td=(report.mr_service_td or bytes(48)) if later else b"",
        extension=bytes(237) if body is TdBody.TD15_EX else b"",
    )


def _with_current(guest: SimulatedTd, changes: Mapping[str, ClaimValue]) -> SimulatedTd:
    """A guest that should be launched again: its module was updated since."""
    wanted = changes.get("tcb_status")
    if wanted not in (TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED):
        return guest
    launch = guest.report.tee_tcb_svn
    return replace(guest, report=replace(guest.report, tee_tcb_svn2=bytes([launch[0] + 1, *launch[1:]])))


def _flag(attributes: int, flag: Attribute, *, on: bool) -> int:
    return attributes | int(flag) if on else attributes & ~int(flag)


def simulate(
    pki: SimulatedIntel,
    guest: SimulatedTd,
    *,
    report_data: bytes,
    at: datetime,
    label: str = LABEL,
    change: Callable[[Recipe], None] | None = None,
) -> tuple[Evidence, tuple[CollateralItem, ...]]:
    """Evidence of one guest for ``report_data`` (64 bytes) and its collateral; ``change`` spoils the recipe (a defect's ``apply``).

    Raises UsageError for report data of another size.
    """
    if len(report_data) != 64:
        raise UsageError.of("a TDX guest takes report data of 64 bytes", found=f"{len(report_data)} bytes", expected="64 bytes")
    body_type = _BODY_TYPES[guest.report.body]
    made = recipe(
        pki,
        guest.platform,
        kind=NAME,
        label=label,
        body_type=body_type,
        body=encode_body(replace(guest.report, report_data=report_data)),
        version=4 if body_type is BodyType.TD10 else 5,
        at=at,
    )
    made.parts |= dict(guest.parts)
    if change is not None:
        change(made)
    return made.evidence(), made.collateral()
