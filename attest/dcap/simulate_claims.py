"""Set the claims that any Intel platform makes on a simulated one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from attest.dcap.endorsements import PckCa
from attest.dcap.pck import PckPlatform, PlatformType
from attest.dcap.simulate import SimulatedPlatform
from attest.dcap.status import TcbStatus
from attest.evidence import ClaimValue, Tri

_BYTES: Final = {"device_id": "ppid", "platform_instance_id": "instance_id", "fmspc": "fmspc", "pce_id": "pce_id"}
_RELAUNCH: Final = {
    TcbStatus.TD_RELAUNCH_ADVISED: TcbStatus.UP_TO_DATE,
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: TcbStatus.CONFIGURATION_NEEDED,
}


def platform_with_claims(spec: SimulatedPlatform, changes: Mapping[str, ClaimValue]) -> SimulatedPlatform:
    """The platform with those of ``changes`` that are its own. Raises ValueError for values that no platform has."""
    platform = spec.platform
    for name, value in changes.items():
        platform = _platform(platform, name, value)
    spec = replace(spec, platform=platform)
    for name, value in changes.items():
        spec = _judged(spec, name, value)
    return spec


def _platform(platform: PckPlatform, name: str, value: ClaimValue) -> PckPlatform:
    if name in _BYTES:
        return replace(platform, **{_BYTES[name]: bytes.fromhex(str(value))})  # type: ignore[arg-type]
    if name == "cpu_svn":
        svn = bytes.fromhex(str(value))
        return replace(platform, cpu_svn=svn, components=tuple(svn))
    if name == "pce_svn" and isinstance(value, int):
        return replace(platform, pce_svn=value)
    if name == "platform_type":
        return replace(platform, type=PlatformType(str(value)))
    if name in ("dynamic_platform", "cached_keys", "smt_enabled"):
        return replace(platform, **{name: Tri(str(value))})  # type: ignore[arg-type]
    if name == "pck_ca" and value == PckCa.PROCESSOR:
        return replace(platform, instance_id=b"", dynamic_platform=Tri.UNKNOWN, cached_keys=Tri.UNKNOWN, smt_enabled=Tri.UNKNOWN)
    return platform


def _judged(spec: SimulatedPlatform, name: str, value: ClaimValue) -> SimulatedPlatform:
    if name == "qe_svn" and isinstance(value, int):
        return replace(spec, qe_svn=value)
    if name in ("tcb_status", "launch_tcb_status") and value in tuple(TcbStatus):
        status = TcbStatus(str(value))
        if status in _RELAUNCH:
            return replace(spec, status=_RELAUNCH[status], module_status=TcbStatus.OUT_OF_DATE)
        return replace(spec, status=status)
    if name == "tcb_date" and isinstance(value, int):
        text = f"{value:08d}"
        return replace(spec, date=f"{text[:4]}-{text[4:6]}-{text[6:]}")
    if name == "advisories" and isinstance(value, frozenset):
        return replace(spec, advisories=tuple(sorted(value)))
    if name == "tcb_evaluation_number" and isinstance(value, int):
        return replace(spec, evaluation=value)
    if name == "collateral_age" and isinstance(value, int):
        return replace(spec, issued_hours=value)
    return spec
