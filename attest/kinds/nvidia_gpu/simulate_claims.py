"""Say what a simulated GPU shall claim, in the words of its claims, and get the state that makes it claim so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from attest.crypto import sha384
from attest.errors import UsageError
from attest.evidence import ClaimValue, Measurements, Revocation
from attest.kinds.nvidia_gpu.claims import FirmwareIdentity, GpuMode, VideoDecoder
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu
from attest.kinds.nvidia_gpu.simulate_pki import FIRMWARE
from attest.kinds.nvidia_gpu.simulate_rim import ACTIVE

_Setter = Callable[[SimulatedGpu, str], SimulatedGpu]


def _revocation(gpu: SimulatedGpu, value: str) -> SimulatedGpu:
    return replace(gpu, answers=Revocation(value) is Revocation.GOOD)


def _measurements(source: str) -> _Setter:
    def setter(gpu: SimulatedGpu, value: str) -> SimulatedGpu:
        wanted = Measurements(value)
        if wanted is Measurements.UNKNOWN:
            return replace(gpu, manifests=False)
        index = min(ACTIVE[source])
        others = {own: data for own, data in gpu.measurements.items() if own not in ACTIVE[source]}
        changed = others | ({index: sha384(b"simulated mismatch")} if wanted is Measurements.MISMATCH else {})
        return replace(gpu, measurements=MappingProxyType(changed))

    return setter


_SETTERS: Final[Mapping[str, _Setter]] = MappingProxyType(
    {
        "driver_version": lambda gpu, value: replace(gpu, driver_version=value),
        "vbios_version": lambda gpu, value: replace(gpu, vbios_version=value),
        "project": lambda gpu, value: replace(gpu, project=value),
        "project_sku": lambda gpu, value: replace(gpu, project_sku=value),
        "chip_sku": lambda gpu, value: replace(gpu, chip_sku=value),
        "mode": lambda gpu, value: replace(gpu, mode=GpuMode(value)),
        "nvdec": lambda gpu, value: replace(gpu, nvdec=VideoDecoder(value)),
        "firmware_identity": lambda gpu, value: replace(gpu, fwid=FIRMWARE if FirmwareIdentity(value) is FirmwareIdentity.BOUND else None),
        "driver_measurements": _measurements("driver"),
        "vbios_measurements": _measurements("vbios"),
        "revocation": _revocation,
    }
)


def with_claims(gpu: SimulatedGpu, changes: Mapping[str, ClaimValue]) -> SimulatedGpu:
    """The GPU in the state in which it makes these claims.

    Raises UsageError for a name that is not a claim, for one that follows from others (``debug`` is off exactly when both
    measurements match), and for a value that no GPU can claim.
    """
    for name, value in changes.items():
        if name not in _SETTERS:
            raise UsageError.of("this claim of a GPU cannot be set", found=name, expected=", ".join(_SETTERS))
        try:
            gpu = _SETTERS[name](gpu, str(value))
        except ValueError as error:
            raise UsageError.of("no GPU can make this claim", found=f"{name}={value}", expected=str(error)) from None
    return gpu
