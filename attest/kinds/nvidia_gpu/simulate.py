"""Simulated Hopper GPUs: reports, certificates and collateral in NVIDIA's formats, under throw-away roots.

Every field can be set, and every part can be changed before it is signed, so that a policy author can make any case and a test can
break one rule at a time (see defects.py). What comes out verifies under the simulation's own anchors only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from attest.crypto import sha256
from attest.errors import UsageError
from attest.evidence import CollateralItem, CollateralType, Evidence
from attest.kinds.nvidia_gpu.claims import GpuMode, VideoDecoder, driver_rim_id, vbios_rim_id
from attest.kinds.nvidia_gpu.evidence_json import KIND
from attest.kinds.nvidia_gpu.opaque import OpaqueData, OpaqueField, OpaqueType, gpu_info
from attest.kinds.nvidia_gpu.report import BLOCK_COUNT, DIGEST_BYTES
from attest.kinds.nvidia_gpu.simulate_pki import FIRMWARE, AnswerForm, SimulatedNvidia, answer_form
from attest.kinds.nvidia_gpu.simulate_rim import ACTIVE, ManifestForm, golden, manifest_form

_LINKS: Final = 18
_FLAGS: Final = {GpuMode.SPT: 0, GpuMode.MPT: 1, GpuMode.PPCIE: 2}
_DECODER: Final = {VideoDecoder.ENABLED: 0xAA, VideoDecoder.DISABLED: 0x55, VideoDecoder.UNKNOWN: 0x00}


@dataclass(frozen=True, slots=True)
class SimulatedGpu:
    """One GPU and the state it is in.

    gpu              number of the chip in the simulation; the same number is the same chip
    label            of the evidence; "gpu-<number>" when empty
    mode             UNKNOWN leaves the feature flag out, as drivers before 580 do
    fwid             48 bytes, or None to leave the firmware identity out, as drivers before 550 do
    switches         identities of NVSwitches (8 bytes each), which a GPU reports in protected-PCIe mode
    measurements     index to value, instead of the reference value
    manifests        put the two reference manifests into the collateral
    answers          put the OCSP answers into the collateral
    """

    gpu: int = 0
    label: str = ""
    driver_version: str = "580.95.05"
    vbios_version: str = "96.00.A5.00.01"
    project: str = "1010"
    project_sku: str = "0200"
    chip_sku: str = "882"
    mode: GpuMode = GpuMode.SPT
    nvdec: VideoDecoder = VideoDecoder.DISABLED
    fwid: bytes | None = FIRMWARE
    switches: tuple[bytes, ...] = ()
    measurements: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))
    manifests: bool = True
    answers: bool = True


@dataclass(slots=True)
class Block:
    """One measurement block as it is written."""

    index: int
    value: bytes
    specification: int = 1
    size: int = 51
    type: int = 1
    value_size: int = DIGEST_BYTES

    def encode(self) -> bytes:
        """Bytes of the block."""
        return (
            bytes((self.index, self.specification))
            + self.size.to_bytes(2, "little")
            + bytes((self.type,))
            + self.value_size.to_bytes(2, "little")
            + self.value
        )


@dataclass(slots=True)
class Recipe:
    """Everything that one simulated GPU sends, before it is put together; a defect changes a member.

    Changes of ``request``, ``response``, ``blocks`` and ``opaque`` are signed; ``finish`` works on the signed report. Collateral
    forms are keyed by member ("gpu-0-identity") and by source ("driver"); ``extra`` is added as it is.
    """

    pki: SimulatedNvidia
    gpu: SimulatedGpu
    at: datetime
    request: bytearray
    response: bytearray
    blocks: list[Block]
    responder_nonce: bytes
    opaque: list[tuple[int, bytes]]
    key: ec.EllipticCurvePrivateKey
    certificates: list[x509.Certificate]
    manifests: dict[str, ManifestForm]
    answers: dict[str, AnswerForm]
    finish: list[Callable[[bytes], bytes]] = field(default_factory=list)
    pem: list[Callable[[bytes], bytes]] = field(default_factory=list)
    extra: list[tuple[CollateralType, str, bytes]] = field(default_factory=list)
    shared: bool = True

    def report(self) -> bytes:
        """The signed report."""
        record = b"".join(block.encode() for block in self.blocks)
        opaque = b"".join(kind.to_bytes(2, "little") + len(data).to_bytes(2, "little") + data for kind, data in self.opaque)
        signed = b"".join(
            (
                self.request,
                self.response,
                len(record).to_bytes(3, "little"),
                record,
                self.responder_nonce,
                len(opaque).to_bytes(2, "little"),
                opaque,
            )
        )
        r, s = utils.decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA384())))
        data = signed + r.to_bytes(48, "big") + s.to_bytes(48, "big")
        for change in self.finish:
            data = change(data)
        return data

    def evidence(self) -> Evidence:
        """Report and chain."""
        chain = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in self.certificates)
        for change in self.pem:
            chain = change(chain)
        return Evidence.of(KIND, label_of(self.gpu), {"report": self.report(), "certificates": chain})

    def collateral(self) -> tuple[CollateralItem, ...]:
        """Manifests and OCSP answers. Those without a defect are made once in a simulation, because devices share them."""
        items: list[CollateralItem] = []
        names = _manifest_names(self.gpu)
        for source, manifest in self.manifests.items():
            data = self._once(("rim", source, manifest.version), manifest.encode)
            items.append(CollateralItem(CollateralType.RIM, names[source], data, self.at))
        for name, answer in self.answers.items():
            data = self._once(("ocsp", name, self.at), answer.encode)
            items.append(CollateralItem(CollateralType.OCSP, name, data, self.at))
        items += [CollateralItem(kind, name, data, self.at) for kind, name, data in self.extra]
        return tuple(items)

    def _once(self, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        return self.pki.once(key, make) if self.shared else make()


def label_of(gpu: SimulatedGpu) -> str:
    """Label of its evidence."""
    return gpu.label or f"gpu-{gpu.gpu}"


def recipe(pki: SimulatedNvidia, gpu: SimulatedGpu, *, nonce: bytes, at: datetime) -> Recipe:
    """What a GPU in this state sends for ``nonce`` (32 bytes) at ``at`` (aware).

    Raises UsageError for a nonce of another size, a GPU that the simulation does not have, or versions that cannot be encoded.
    """
    if len(nonce) != 32:
        raise UsageError.of("a GPU takes a nonce of 32 bytes", found=f"{len(nonce)} bytes", expected="32 bytes")
    attestation = pki[f"gpu-{gpu.gpu}-attestation"]
    manifests = {
        "driver": manifest_form(pki, "driver", gpu.driver_version),
        "vbios": manifest_form(pki, "vbios", gpu.vbios_version),
    }
    members = (f"gpu-{gpu.gpu}-identity", "device-provisioner", "device-product", "rim-driver", "rim-vbios", "rim-l3", "rim-ca")
    return Recipe(
        pki=pki,
        gpu=gpu,
        at=at,
        request=bytearray((0x11, 0xE0, 0x01, 0xFF)) + nonce + b"\0",
        response=bytearray((0x11, 0x60, 0, 0, BLOCK_COUNT)),
        blocks=[Block(index + 1, _measurement(gpu, index)) for index in range(BLOCK_COUNT)],
        responder_nonce=sha256(b"simulated responder nonce %d" % gpu.gpu + nonce),
        opaque=_opaque(gpu),
        key=attestation.key,
        certificates=pki.device_chain(gpu.gpu),
        manifests=manifests if gpu.manifests else {},
        answers={name: answer_form(pki, name, at=at) for name in members} if gpu.answers else {},
    )


def simulate(
    pki: SimulatedNvidia, gpu: SimulatedGpu, *, nonce: bytes, at: datetime, change: Callable[[Recipe], object] | None = None
) -> tuple[Evidence, tuple[CollateralItem, ...]]:
    """Evidence of one GPU and the collateral that it needs; ``change`` spoils the recipe (a defect's ``apply``)."""
    made = recipe(pki, gpu, nonce=nonce, at=at)
    if change is not None:
        made.shared = False
        change(made)
    return made.evidence(), made.collateral()


def simulate_node(
    pki: SimulatedNvidia, gpus: Sequence[SimulatedGpu], *, nonce: bytes, at: datetime
) -> tuple[tuple[Evidence, ...], tuple[CollateralItem, ...]]:
    """Evidence of several GPUs, and their collateral with shared pieces once."""
    made = [simulate(pki, gpu, nonce=nonce, at=at) for gpu in gpus]
    shared = {(item.type, item.name): item for _, items in made for item in items}
    return tuple(evidence for evidence, _ in made), tuple(shared.values())


def _measurement(gpu: SimulatedGpu, index: int) -> bytes:
    if index in gpu.measurements:
        return gpu.measurements[index]
    if index in ACTIVE["driver"]:
        return golden("driver", gpu.driver_version, index)
    if index in ACTIVE["vbios"]:
        return golden("vbios", gpu.vbios_version, index)
    return bytes(DIGEST_BYTES)


def _opaque(gpu: SimulatedGpu) -> list[tuple[int, bytes]]:
    """The fields that a driver of that age reports, in the order in which it does."""
    switches = b"".join(gpu.switches[link % len(gpu.switches)][::-1] for link in range(_LINKS)) if gpu.switches else None
    fields: list[tuple[OpaqueType, bytes | None]] = [
        (OpaqueType.VBIOS_VERSION, _vbios(gpu.vbios_version)),
        (OpaqueType.BOARD_ID, bytes.fromhex("b1030000")),
        (OpaqueType.CHIP_SKU, gpu.chip_sku.encode().ljust(9, b"\0")),
        (OpaqueType.CHIP_SKU_MODIFIER, b"0\0\0\0\0"),
        (OpaqueType.PROJECT, gpu.project.encode() + b"\0"),
        (OpaqueType.PROJECT_SKU, gpu.project_sku.encode() + b"\0"),
        (OpaqueType.PROJECT_SKU_MODIFIER, b"\0\0"),
        (OpaqueType.DRIVER_VERSION, gpu.driver_version.encode() + b"\0"),
        (OpaqueType.GPU_INFO, bytes.fromhex("8001000000000000")),
        (OpaqueType.MEASUREMENT_COUNTERS, bytes(256)),
        (OpaqueType.CPR_INFO, bytes.fromhex("00c00100")),
        (OpaqueType.NVDEC0_STATUS, bytes((_DECODER[gpu.nvdec],))),
        (OpaqueType.FWID, gpu.fwid),
        (OpaqueType.PROTECTED_PCIE_STATUS, b"\xaa" if gpu.mode is GpuMode.PPCIE else b"\x55"),
        (OpaqueType.SWITCH_PDIS, switches),
        (OpaqueType.OPAQUE_VERSION, b"\x01\0" if gpu.mode in _FLAGS else None),
        (OpaqueType.FEATURE_FLAG, _FLAGS[gpu.mode].to_bytes(2, "little") if gpu.mode in _FLAGS else None),
    ]
    return [(kind.value, data) for kind, data in fields if data is not None]


def _vbios(text: str) -> bytes:
    parts = text.split(".")
    try:
        number = bytes(int(part, 16) for part in parts)
    except ValueError:
        number = b""
    if len(number) != 5:
        raise UsageError.of("not a VBIOS version", found=text, expected="five bytes in hex, such as 96.00.A5.00.01")
    return number[3::-1] + number[4:] + bytes(3)


def _manifest_names(gpu: SimulatedGpu) -> dict[str, str]:
    info = gpu_info(OpaqueData(tuple(OpaqueField(kind, data, 0) for kind, data in _opaque(gpu))))
    return {"driver": driver_rim_id(info), "vbios": vbios_rim_id(info)}
