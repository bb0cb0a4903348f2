"""Simulated SGX enclaves: quotes in Intel's format under a throw-away Intel, with the collateral that judges them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from attest.crypto import sha256
from attest.dcap.quote import BodyType, EnclaveReport
from attest.dcap.simulate import Recipe, SimulatedPlatform, default_platform, encode_report, recipe
from attest.dcap.simulate_claims import platform_with_claims
from attest.dcap.simulate_pki import SimulatedIntel
from attest.errors import AttestError, UsageError
from attest.evidence import ClaimValue, Collateral, CollateralItem, Debug, Evidence
from attest.kinds.sgx.claims import Attribute, SgxClaims
from attest.kinds.sgx.verify import NAME, verify
from attest.trust import Origin, TrustStore

LABEL: Final = "enclave"
_FLAGS: Final = {
    "mode64": Attribute.MODE64,
    "provision_key": Attribute.PROVISION_KEY,
    "launch_key": Attribute.EINITTOKEN_KEY,
    "key_separation": Attribute.KSS,
}
_BYTES: Final = {"mr_enclave": 32, "mr_signer": 32, "config_id": 64, "isv_ext_prod_id": 16, "isv_family_id": 16}
_NUMBERS: Final = ("isv_prod_id", "isv_svn", "misc_select", "config_svn")


@dataclass(frozen=True, slots=True)
class SimulatedEnclave:
    """An enclave: its platform, and its report without REPORTDATA."""

    platform: SimulatedPlatform
    report: EnclaveReport
    version: int = 3


def default_enclave(number: int = 0) -> SimulatedEnclave:
    """A sound 64-bit enclave; the same ``number`` is the same processor."""
    platform = default_platform(number)
    return SimulatedEnclave(
        platform,
        EnclaveReport(
            platform.platform.cpu_svn, 0, bytes(16), int(Attribute.INIT | Attribute.MODE64), 0xE7, sha256(b"simulated enclave"),
            sha256(b"simulated enclave signer"), bytes(64), 1, 1, 0, bytes(16), bytes(64),
        ),
    )  # fmt: skip


def claims_of(pki: SimulatedIntel, enclave: SimulatedEnclave, *, at: datetime) -> SgxClaims:
    """What verification finds: the claims of the enclave's quote at ``at``."""
    evidence, items = simulate(pki, enclave, report_data=bytes(64), at=at)
    return verify(evidence, trust=trust(pki), collateral=Collateral(items), at=at).claims


def trust(pki: SimulatedIntel) -> TrustStore:
    """The store that the simulation verifies under."""
    return TrustStore.of("simulation", Origin.SIMULATED, pki.anchors())


def with_claims(enclave: SimulatedEnclave, changes: Mapping[str, ClaimValue], *, pki: SimulatedIntel, at: datetime) -> SimulatedEnclave:
    """The enclave with claims changed, judged again to see that a quote can make them together.

    Raises UsageError for a name that is not a claim, and for what no quote can say.
    """
    unknown = sorted(set(changes) - set(SgxClaims.__dataclass_fields__))
    if unknown:
        raise UsageError.of("there is no such claim", found=", ".join(unknown), expected=", ".join(SgxClaims.__dataclass_fields__))
    try:
        report = enclave.report
        for name, value in changes.items():
            report = _changed(report, name, value)
        version = changes.get("quote_version", enclave.version)
        if not isinstance(version, int):
            raise TypeError("quote_version is no number")
        changed = SimulatedEnclave(platform_with_claims(enclave.platform, changes), report, version)
        found = claims_of(pki, changed, at=at).values()
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


def _changed(report: EnclaveReport, name: str, value: ClaimValue) -> EnclaveReport:
    """The report with one claim set; names that are not the report's leave it as it is."""
    if name in _FLAGS:
        flag = int(_FLAGS[name])
        return replace(report, attributes=report.attributes | flag if value else report.attributes & ~flag)
    if name == "debug":
        flag = int(Attribute.DEBUG)
        return replace(report, attributes=report.attributes | flag if value == Debug.ON else report.attributes & ~flag)
    if name in ("attributes", "xfrm"):
        return replace(report, **{name: int(str(value), 16)})  # type: ignore[arg-type]
    if name in _BYTES:
        data = bytes.fromhex(str(value)) or bytes(_BYTES[name])
        if len(data) != _BYTES[name]:
            raise ValueError(f"{name} of {len(data)} bytes")
        return replace(report, **{name: data})  # type: ignore[arg-type]
    if name in _NUMBERS and isinstance(value, int):
        return replace(report, **{name: value})  # type: ignore[arg-type]
    return report


def simulate(
    pki: SimulatedIntel,
    enclave: SimulatedEnclave,
    *,
    report_data: bytes,
    at: datetime,
    label: str = LABEL,
    change: Callable[[Recipe], None] | None = None,
) -> tuple[Evidence, tuple[CollateralItem, ...]]:
    """Evidence of one enclave for ``report_data`` (64 bytes) and its collateral; ``change`` spoils the recipe (a defect's ``apply``).

    Raises UsageError for report data of another size.
    """
    if len(report_data) != 64:
        raise UsageError.of("an SGX enclave takes report data of 64 bytes", found=f"{len(report_data)} bytes", expected="64 bytes")
    made = recipe(
        pki,
        enclave.platform,
        kind=NAME,
        label=label,
        body_type=BodyType.SGX,
        body=encode_report(replace(enclave.report, report_data=report_data)),
        version=enclave.version,
        at=at,
    )
    if change is not None:
        change(made)
    return made.evidence(), made.collateral()
