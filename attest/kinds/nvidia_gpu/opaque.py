"""The opaque data of a GPU's MEASUREMENTS response: type-length-value fields in which NVIDIA puts what SPDM has no place for.

Layout of one field: type u16, size u16, ``size`` bytes; all little-endian, no padding, in no fixed order. The numbers are those of
NVIDIA's attestation-sdk (``OpaqueDataType``). Unknown types are kept and listed, because new firmware adds some; a repeated type, or
a field that runs past the end, is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from attest.checks import Check
from attest.errors import MalformedError, Outcome
from attest.wire import Reader

OPAQUE: Final = Check(
    "nvidia-gpu.report-opaque",
    "opaque data of the report",
    "DMTF DSP0274 1.1, MEASUREMENTS OpaqueData; field numbers of NVIDIA attestation-sdk",
    Outcome.MALFORMED,
    "collect the report again; if it was not altered on the way, the firmware uses a layout that this version does not know",
)


class OpaqueType(IntEnum):
    """Field types of GPU reports that this reader interprets or can name."""

    CERTIFICATE_ISSUER = 1
    AUTHORITY_KEY_ID = 2
    DRIVER_VERSION = 3
    GPU_INFO = 4
    SKU = 5
    VBIOS_VERSION = 6
    MANUFACTURER_ID = 7
    TAMPER_DETECTION = 8
    SMC = 9
    VPR = 10
    NVDEC0_STATUS = 11
    MEASUREMENT_COUNTERS = 12
    CPR_INFO = 13
    BOARD_ID = 14
    CHIP_SKU = 15
    CHIP_SKU_MODIFIER = 16
    PROJECT = 17
    PROJECT_SKU = 18
    PROJECT_SKU_MODIFIER = 19
    FWID = 20
    PROTECTED_PCIE_STATUS = 21
    SWITCH_PDIS = 22
    FLOORSWEPT_PORTS = 23
    POSITION_ID = 24
    LOCK_STATUS = 25
    GPU_LINK_CONNECTIONS = 32
    SYSTEM_ENABLE_STATUS = 33
    OPAQUE_VERSION = 34
    CHIP_INFO = 35
    FEATURE_FLAG = 36


# Bytes of the fields whose size is fixed on Hopper, in every report seen.
_SIZES: Final = {
    OpaqueType.GPU_INFO: 8,
    OpaqueType.VBIOS_VERSION: 8,
    OpaqueType.NVDEC0_STATUS: 1,
    OpaqueType.MEASUREMENT_COUNTERS: 256,
    OpaqueType.CPR_INFO: 4,
    OpaqueType.BOARD_ID: 4,
    OpaqueType.FWID: 48,
    OpaqueType.PROTECTED_PCIE_STATUS: 1,
    OpaqueType.SWITCH_PDIS: 144,
    OpaqueType.OPAQUE_VERSION: 2,
    OpaqueType.FEATURE_FLAG: 2,
}

_KNOWN: Final = frozenset(OpaqueType)
_DRIVER: Final = re.compile(r"(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?\Z", re.ASCII)
_WORD: Final = re.compile(r"[0-9A-Za-z]{1,12}\Z")


@dataclass(frozen=True, slots=True)
class OpaqueField:
    """One field: its type number, its bytes, and the report offset at which it begins."""

    type: int
    data: bytes
    offset: int

    @property
    def where(self) -> str:
        """ "opaque field 6 at report offset 0xe11"."""
        return f"opaque field {self.type} at report offset 0x{self.offset:03x}"


@dataclass(frozen=True, slots=True)
class OpaqueData:
    """All fields in the order of the report."""

    fields: tuple[OpaqueField, ...]

    @property
    def unknown(self) -> tuple[int, ...]:
        """Types that this reader cannot name."""
        return tuple(field.type for field in self.fields if field.type not in _KNOWN)

    def get(self, wanted: OpaqueType) -> OpaqueField | None:
        """The field of one type, or None."""
        return next((field for field in self.fields if field.type == wanted), None)

    def encode(self) -> bytes:
        """The bytes that :func:`parse_opaque` reads."""
        return b"".join(field.type.to_bytes(2, "little") + len(field.data).to_bytes(2, "little") + field.data for field in self.fields)


def parse_opaque(reader: Reader) -> OpaqueData:
    """Read all fields up to the end of ``reader``.

    Raises MalformedError (nvidia-gpu.report-opaque) for a field that overruns the data, a repeated type, or a wrong fixed size.
    """
    fields: list[OpaqueField] = []
    seen: set[int] = set()
    while reader.remaining:
        offset = reader.offset
        if reader.remaining < 4:
            raise OPAQUE.failure(found=f"{reader.remaining} bytes", expected="a field header of 4 bytes", where=reader.where())
        kind = reader.uint(2, "type")
        size = reader.uint(2, "size")
        if size > reader.remaining:
            raise OPAQUE.failure(
                found=f"field {kind} with {size} bytes", expected=f"at most {reader.remaining} bytes", where=reader.where(offset)
            )
        field = OpaqueField(kind, reader.bytes(size, "value"), offset)
        if kind in seen:
            raise OPAQUE.failure(found=f"field {kind} a second time", expected="every field once", where=field.where)
        seen.add(kind)
        wanted = _SIZES.get(OpaqueType(kind)) if kind in _KNOWN else None
        if wanted is not None and size != wanted:
            raise OPAQUE.failure(found=f"{size} bytes", expected=f"{wanted} bytes", where=field.where)
        fields.append(field)
    return OpaqueData(tuple(fields))


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """What the opaque data of a Hopper report says, decoded.

    driver             (major, minor, patch), patch 0 when the text has two parts
    vbios              five bytes as a person reads them: 96.00.9F.00.01 is 0x96009F0001
    fwid               48 bytes, or None in reports of drivers before 550
    protected_pcie     byte of field 21 (0xAA on, 0x55 off), or None
    feature_flag       field 36 (0 SPT, 1 MPT, 2 PPCIE), or None before driver 580
    switch_pdis        identities of the NVSwitches on the 18 NVLinks, 8 bytes each as they are printed, in link order without the
                       unused links; None when the field is absent
    opaque_version     field 34, 0 when absent
    """

    driver_version: str
    driver: tuple[int, int, int]
    vbios_version: str
    vbios: int
    project: str
    project_sku: str
    chip_sku: str
    nvdec_status: int | None
    fwid: bytes | None
    protected_pcie: int | None
    switch_pdis: tuple[bytes, ...] | None
    opaque_version: int
    feature_flag: int | None
    unknown: tuple[int, ...]


def gpu_info(opaque: OpaqueData) -> GpuInfo:
    """Decode the fields of a Hopper report. Raises MalformedError (nvidia-gpu.report-opaque)."""
    driver_version = _text(opaque, OpaqueType.DRIVER_VERSION)
    match = _DRIVER.match(driver_version)
    if match is None:
        raise _bad(opaque, OpaqueType.DRIVER_VERSION, "a version such as 580.95.05")
    vbios = _vbios(opaque)
    pdis = opaque.get(OpaqueType.SWITCH_PDIS)
    version = opaque.get(OpaqueType.OPAQUE_VERSION)
    flag = opaque.get(OpaqueType.FEATURE_FLAG)
    fwid = opaque.get(OpaqueType.FWID)
    return GpuInfo(
        driver_version=driver_version,
        driver=(int(match[1]), int(match[2]), int(match[3] or 0)),
        vbios_version=".".join(f"{byte:02X}" for byte in vbios.to_bytes(5, "big")),
        vbios=vbios,
        project=_word(opaque, OpaqueType.PROJECT),
        project_sku=_word(opaque, OpaqueType.PROJECT_SKU),
        chip_sku=_word(opaque, OpaqueType.CHIP_SKU),
        nvdec_status=_byte(opaque, OpaqueType.NVDEC0_STATUS),
        fwid=fwid.data if fwid else None,
        protected_pcie=_byte(opaque, OpaqueType.PROTECTED_PCIE_STATUS),
        switch_pdis=_pdis(pdis.data) if pdis else None,
        opaque_version=int.from_bytes(version.data, "little") if version else 0,
        feature_flag=int.from_bytes(flag.data, "little") if flag else None,
        unknown=opaque.unknown,
    )


def _pdis(data: bytes) -> tuple[bytes, ...]:
    # Each identity is a little-endian u64; certificates and people write it the other way round.
    values = (data[position : position + 8][::-1] for position in range(0, len(data), 8))
    return tuple(value for value in values if any(value))


def _vbios(opaque: OpaqueData) -> int:
    """Five bytes: the low u32 of the little-endian field, then its fifth byte; the rest is unused and must be zero."""
    field = _required(opaque, OpaqueType.VBIOS_VERSION)
    if any(field.data[5:]):
        raise OPAQUE.failure(found=field.data.hex(), expected="zeros after the fifth byte", where=field.where)
    return int.from_bytes(field.data[:4], "little") << 8 | field.data[4]


def _byte(opaque: OpaqueData, wanted: OpaqueType) -> int | None:
    field = opaque.get(wanted)
    return field.data[0] if field else None


def _required(opaque: OpaqueData, wanted: OpaqueType) -> OpaqueField:
    field = opaque.get(wanted)
    if field is None:
        raise OPAQUE.failure(found="no such field", expected=f"field {wanted.value} ({wanted.name.lower().replace('_', ' ')})")
    return field


def _text(opaque: OpaqueData, wanted: OpaqueType) -> str:
    """ASCII behind which the field is filled with NUL."""
    text = _required(opaque, wanted).data.rstrip(b"\0")
    if not text.isascii() or not text.decode("ascii").isprintable():
        raise _bad(opaque, wanted, "printable ASCII, then NUL")
    return text.decode("ascii")


def _word(opaque: OpaqueData, wanted: OpaqueType) -> str:
    text = _text(opaque, wanted)
    if not _WORD.match(text):
        raise _bad(opaque, wanted, "letters and digits, then NUL")
    return text


def _bad(opaque: OpaqueData, wanted: OpaqueType, expected: str) -> MalformedError:
    field = _required(opaque, wanted)
    reason = OPAQUE.reason(found=repr(field.data[:24]), expected=expected, where=field.where)
    return MalformedError(reason)
