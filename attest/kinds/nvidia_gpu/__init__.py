"""NVIDIA GPUs in confidential computing mode (Hopper): SPDM report, device identity chain, OCSP, reference manifests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attest.checks import Check
from attest.evidence import Collateral, Evidence, Kind, Scope, Verified, Wanted
from attest.kinds.nvidia_gpu import evidence_json
from attest.kinds.nvidia_gpu.certificates import hardware_model
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims, decoder_of, driver_rim_id, mode_of, vbios_rim_id
from attest.kinds.nvidia_gpu.report import parse_report, statement_digest
from attest.kinds.nvidia_gpu.verify import CHECKS, PARTS, read_certificates, read_report, verify
from attest.kinds.nvidia_gpu.wanted import wanted
from attest.trust import TrustStore


class _NvidiaGpu:
    """See :class:`attest.evidence.Kind`."""

    name: Final = evidence_json.KIND
    title: Final = "NVIDIA GPU (Hopper)"
    principal: Final = "NvidiaGpu"
    claims_type: Final = NvidiaGpuClaims
    scope: Final = Scope.DEVICE
    parts: Final = PARTS
    checks: Final[tuple[Check, ...]] = CHECKS

    def recognise(self, data: bytes) -> tuple[Evidence, ...]:
        return evidence_json.recognise(data)

    def statement(self, evidence: Evidence) -> bytes:
        data = evidence.part("report")
        parse_report(data)
        return statement_digest(data)

    def inspect(self, evidence: Evidence) -> Mapping[str, str]:
        _, report, info = read_report(evidence)
        fields = {
            "nonce": report.nonce.hex(),
            "driver": info.driver_version,
            "vbios": info.vbios_version,
            "project": f"{info.project} SKU {info.project_sku}, chip SKU {info.chip_sku}",
            "mode": mode_of(info).value,
            "video decoder": decoder_of(info).value,
            "firmware identity": info.fwid.hex() if info.fwid else "none",
            "nvlink switches": ", ".join(sorted({pdi.hex().upper() for pdi in info.switch_pdis or ()})) or "none",
            "opaque data version": str(info.opaque_version),
            "unknown opaque fields": ", ".join(map(str, info.unknown)) or "none",
            "driver manifest": driver_rim_id(info),
            "vbios manifest": vbios_rim_id(info),
        }
        if "certificates" in evidence.parts:
            certificates = read_certificates(evidence)
            fields["model"] = hardware_model(certificates) if len(certificates) > 1 else ""
            fields["certificates"] = str(len(certificates))
        for index, value in enumerate(report.measurements):
            if any(value):
                fields[f"measurement {index}"] = value.hex()
        return fields

    def wanted(self, evidence: Evidence, collateral: Collateral) -> tuple[Wanted, ...]:
        return wanted(evidence, collateral)

    def verify(self, evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[NvidiaGpuClaims]:
        return verify(evidence, trust=trust, collateral=collateral, at=at)


NVIDIA_GPU: Final[Kind] = _NvidiaGpu()
