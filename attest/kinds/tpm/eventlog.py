"""TCG event log: bytes to events, and events to the PCR values that they explain.

TCG PC Client Platform Firmware Profile 1.06, section 10. Little-endian throughout. The log is not signed. What it says is believed only for
PCRs whose replay gives the quoted value, and even then an event's *type* is nobody's word: only its digest was extended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from attest.checks import Check
from attest.errors import Outcome
from attest.kinds.tpm.algorithm import BANKS, SIZES, Algorithm, name_of
from attest.kinds.tpm.report import PCRS
from attest.wire import Reader

_PROFILE: Final = "TCG PC Client Platform Firmware Profile 1.06, section 10"
_WHOLE: Final = "send the log as the firmware wrote it: /sys/kernel/security/tpm0/binary_bios_measurements"

LOG_HEADER: Final = Check("tpm.log-header", "header of the event log", _PROFILE + ".4.5.1 (Spec ID event)", Outcome.MALFORMED, _WHOLE)
LOG_EVENT: Final = Check("tpm.log-event", "form of the events of the log", _PROFILE + ".2.2", Outcome.MALFORMED, _WHOLE)
LOG_LOCALITY: Final = Check(
    "tpm.log-locality",
    "startup locality in the event log",
    _PROFILE + ".4.5.3",
    fix="the locality of TPM2_Startup must stand before the first event of PCR 0, once",
)
LOG_CHECKS: Final = (LOG_HEADER, LOG_EVENT, LOG_LOCALITY)

MAX_EVENTS: Final = 16_384  # a physical server has about 200; the size of the part bounds them first
_MAX_ALGORITHMS: Final = 8
_SIGNATURE: Final = b"Spec ID Event03\0"
_LOCALITY: Final = b"StartupLocality\0"
_LOCALITIES: Final = (0, 3, 4)
_DRTM: Final = range(17, 23)


class EventType(IntEnum):
    """Event types that mean something here. Firmware writes others, also of its own."""

    POST_CODE = 0x1
    NO_ACTION = 0x3
    SEPARATOR = 0x4
    ACTION = 0x5
    EVENT_TAG = 0x6
    S_CRTM_CONTENTS = 0x7
    S_CRTM_VERSION = 0x8
    CPU_MICROCODE = 0x9
    PLATFORM_CONFIG_FLAGS = 0xA
    TABLE_OF_DEVICES = 0xB
    COMPACT_HASH = 0xC
    IPL = 0xD
    IPL_PARTITION_DATA = 0xE
    NONHOST_CODE = 0xF
    NONHOST_CONFIG = 0x10
    NONHOST_INFO = 0x11
    OMIT_BOOT_DEVICE_EVENTS = 0x12
    EFI_VARIABLE_DRIVER_CONFIG = 0x80000001
    EFI_VARIABLE_BOOT = 0x80000002
    EFI_BOOT_SERVICES_APPLICATION = 0x80000003
    EFI_BOOT_SERVICES_DRIVER = 0x80000004
    EFI_RUNTIME_SERVICES_DRIVER = 0x80000005
    EFI_GPT_EVENT = 0x80000006
    EFI_ACTION = 0x80000007
    EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008
    EFI_HANDOFF_TABLES = 0x80000009
    EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000A
    EFI_HANDOFF_TABLES2 = 0x8000000B
    EFI_VARIABLE_BOOT2 = 0x8000000C
    EFI_GPT_EVENT2 = 0x8000000D
    EFI_HCRTM_EVENT = 0x80000010
    EFI_VARIABLE_AUTHORITY = 0x800000E0
    EFI_SPDM_FIRMWARE_BLOB = 0x800000E1
    EFI_SPDM_FIRMWARE_CONFIG = 0x800000E2


@dataclass(frozen=True, slots=True)
class Event:
    """One event, unverified: its place in the log, the PCR it extended, its type, a digest per algorithm, and its data."""

    index: int
    pcr: int
    type: int
    digests: Mapping[int, bytes]
    data: bytes

    @property
    def where(self) -> str:
        """ "event 12 (PCR 7)": for messages."""
        return f"event {self.index} (PCR {self.pcr})"


@dataclass(frozen=True, slots=True)
class EventLog:
    """A parsed log: the algorithms that it declares (SHA-1 alone for the legacy form), and its events without the header."""

    algorithms: tuple[int, ...]
    events: tuple[Event, ...]


def type_name(number: int) -> str:
    """ "EFI_GPT_EVENT", or "type 0x00008401"."""
    return next((kind.name for kind in EventType if kind == number), f"type 0x{number:08x}")


def parse_event_log(data: bytes) -> EventLog:
    """Read a crypto-agile or a legacy log; a log of 0 bytes has no events. Raises MalformedError."""
    reader = Reader(data, "event log")
    if not reader.remaining:
        return EventLog((), ())
    first = _legacy_event(reader, 0)
    if first.type != EventType.NO_ACTION or not first.data.startswith(_SIGNATURE):
        events = [first]
        while reader.remaining:
            events.append(_legacy_event(reader, len(events)))
        return EventLog((Algorithm.SHA1,), tuple(events))
    sizes = _spec_id(first.data)
    found: list[Event] = []
    while reader.remaining:
        found.append(_event(reader, len(found) + 1, sizes))
    return EventLog(tuple(sizes), tuple(found))


def _spec_id(data: bytes) -> dict[int, int]:
    """TCG_EfiSpecIdEvent: algorithm to digest size."""
    reader = Reader(data[len(_SIGNATURE) :], "Spec ID event", base=len(_SIGNATURE))
    reader.bytes(4, "platformClass")
    where = reader.where()
    _, major = reader.uint(1, "specVersionMinor"), reader.uint(1, "specVersionMajor")
    LOG_HEADER.require(major == 2, where=where, found=f"version {major}", expected="version 2")
    reader.bytes(2, "errata and uintnSize")
    where = reader.where()
    count = reader.uint(4, "numberOfAlgorithms")
    LOG_HEADER.require(0 < count <= _MAX_ALGORITHMS, where=where, found=f"{count} algorithms", expected=f"1 to {_MAX_ALGORITHMS}")
    sizes: dict[int, int] = {}
    for _ in range(count):
        where = reader.where()
        algorithm, size = reader.uint(2, "algorithmId"), reader.uint(2, "digestSize")
        known = next((number for own, number in SIZES.items() if own == algorithm), None)
        LOG_HEADER.require(
            algorithm not in sizes and known in (None, size) and size <= max(SIZES.values()),
            where=where,
            found=f"{name_of(algorithm)} of {size} bytes",
            expected="each algorithm once, with its own size",
        )
        sizes[algorithm] = size
    where = reader.where()
    vendor = reader.uint(1, "vendorInfoSize")
    LOG_HEADER.require(
        vendor == reader.remaining,
        where=where,
        found=f"{vendor} bytes of vendor information",
        expected=f"{reader.remaining} bytes to the end",
    )
    return sizes


def _legacy_event(reader: Reader, index: int) -> Event:
    pcr, kind = _head(reader, index)
    value = reader.bytes(SIZES[Algorithm.SHA1], "digest")
    return Event(index, pcr, kind, {Algorithm.SHA1: value}, reader.bytes(reader.uint(4, "eventSize"), "event"))


def _event(reader: Reader, index: int, sizes: Mapping[int, int]) -> Event:
    pcr, kind = _head(reader, index)
    at = reader.offset  # places are put into words only for a refusal: this runs for every event
    count = reader.uint(4, "digest count")
    if count > len(sizes):
        raise LOG_EVENT.failure(where=reader.where(at), found=f"{count} digests", expected=f"at most {len(sizes)}")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        at = reader.offset
        algorithm = reader.uint(2, "digest algorithm")
        if algorithm not in sizes or algorithm in digests:
            why = "twice" if algorithm in digests else "which the header does not declare"
            raise LOG_EVENT.failure(where=reader.where(at), found=f"{name_of(algorithm)}, {why}", expected="a declared algorithm, once")
        digests[algorithm] = reader.bytes(sizes[algorithm], "digest")
    return Event(index, pcr, kind, digests, reader.bytes(reader.uint(4, "eventSize"), "event"))


def _head(reader: Reader, index: int) -> tuple[int, int]:
    at = reader.offset
    if index >= MAX_EVENTS:
        raise LOG_EVENT.failure(where=reader.where(at), found="another event", expected=f"at most {MAX_EVENTS} events")
    pcr = reader.uint(4, "PCR index")
    kind = reader.uint(4, "event type")
    # Firmware marks some EV_NO_ACTION events with PCR 0xFFFFFFFF; they extend nothing.
    if pcr >= PCRS and not (kind == EventType.NO_ACTION and pcr == 0xFFFFFFFF):
        raise LOG_EVENT.failure(where=reader.where(at), found=f"PCR {pcr}", expected=f"0 to {PCRS - 1}")
    return pcr, kind


def replay(log: EventLog, bank: int) -> Mapping[int, bytes]:
    """The value of every PCR that the log extends, in one bank of a trusted hash.

    A PCR with an event that has no digest of that bank is left out: nothing explains it.

    Raises the failure of ``tpm.log-locality``.
    """
    size, algorithm = SIZES[Algorithm(bank)], BANKS[Algorithm(bank)].value
    values: dict[int, bytes] = {}
    lost: set[int] = set()
    locality = startup_locality(log)
    for event in extending(log):
        if bank not in event.digests:
            lost.add(event.pcr)
            continue
        start = bytes([0xFF]) * size if event.pcr in _DRTM else bytes(size)
        if event.pcr == 0:
            start = start[:-1] + bytes([locality])
        values[event.pcr] = hashlib.new(algorithm, values.get(event.pcr, start) + event.digests[bank]).digest()
    return MappingProxyType({pcr: value for pcr, value in values.items() if pcr not in lost})


def extending(log: EventLog) -> Iterator[Event]:
    """The events that extended a PCR: all but EV_NO_ACTION."""
    return (event for event in log.events if event.type != EventType.NO_ACTION)


def startup_locality(log: EventLog) -> int:
    """The locality that TPM2_Startup came from: PCR 0 starts with it. Raises the failure of ``tpm.log-locality``."""
    found: int | None = None
    extended = False
    for event in log.events:
        if event.type != EventType.NO_ACTION:
            extended = extended or event.pcr == 0
        elif event.pcr == 0 and event.data.startswith(_LOCALITY):
            LOG_LOCALITY.require(
                not extended and found is None, where=event.where, found="after PCR 0 was extended, or again", expected="once, before it"
            )
            LOG_LOCALITY.require(
                len(event.data) == len(_LOCALITY) + 1 and event.data[-1] in _LOCALITIES,
                where=event.where,
                found=event.data[len(_LOCALITY) :][:8].hex(),
                expected=" or ".join(map(str, _LOCALITIES)),
            )
            found = event.data[-1]
    return found or 0
