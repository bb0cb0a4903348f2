"""The confidential computing event log (CCEL): what firmware and boot loader measured into the RTMRs, replayed.

The log is a TCG2 crypto-agile event log in which register 1 is RTMR0, 2 is RTMR1, 3 is RTMR2 and 4 is RTMR3 (0 is MRTD, which is not
extended). RTMR3 belongs to the running guest, whose extensions no firmware writes down: it is replayed, and compared by nobody here.

Sources: TCG PC Client Platform Firmware Profile 1.06, section 10 (event log); UEFI 2.10 section 38.4.1 (CC measurement registers);
Intel TDX Virtual Firmware Design Guide, section 8.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from attest import limits
from attest.checks import Check
from attest.crypto import sha384
from attest.errors import AttestError, Outcome
from attest.evidence import Tri
from attest.wire import Reader, bounded

FORM: Final = Check(
    "tdx.event-log-form",
    "form of the event log",
    "TCG PC Client Platform Firmware Profile 1.06, section 10.2 (crypto-agile log)",
    Outcome.MALFORMED,
    "send the CCEL as the firmware wrote it, without the padding behind it",
)
REGISTERS: Final = 4
_SIZE: Final = 48
_SHA384: Final = 0x000C
_ALGORITHMS: Final = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32}
_NO_ACTION: Final = 0x00000003
_IPL: Final = 0x0000000D
_DRIVER_CONFIG: Final = 0x80000001
_APPLICATION: Final = 0x80000003
_MAX_EVENTS: Final = 4096
_SIGNATURE: Final = b"Spec ID Event03\0"


@dataclass(frozen=True, slots=True)
class Event:
    """One record: measurement register as the log counts them (1 is RTMR0), event type, SHA-384 digest (48 bytes), event data."""

    register: int
    type: int
    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class EventLog:
    """A parsed log. Untrusted until its registers equal those of a verified quote.

    registers   RTMR0 to RTMR3 as the log makes them, 48 bytes each
    """

    events: tuple[Event, ...]
    registers: tuple[bytes, bytes, bytes, bytes]

    @property
    def applications(self) -> frozenset[str]:
        """Hex SHA-384 digests of the images that UEFI started: boot loader, kernel."""
        return frozenset(event.digest.hex() for event in self.events if event.type == _APPLICATION)

    @property
    def commands(self) -> frozenset[str]:
        """Hex SHA-384 digests of what the boot loader measured: its commands, the kernel's command line, kernel and initial RAM disk."""
        return frozenset(event.digest.hex() for event in self.events if event.type == _IPL)

    @property
    def secure_boot(self) -> Tri:
        """The UEFI variable SecureBoot as measured: unknown when it was not, or more than once.

        Registers cover digests, not data: what a record says beside its digest counts only when the digest is that of the data.
        """
        values = [_variable(event.data) for event in self.events if event.type == _DRIVER_CONFIG and sha384(event.data) == event.digest]
        found = [data for name, data in values if name == "SecureBoot"]
        if len(found) != 1 or found[0] not in (b"\0", b"\1"):
            return Tri.UNKNOWN
        return Tri.YES if found[0] == b"\1" else Tri.NO


def read_event_log(data: bytes) -> EventLog:
    """Read and replay a log. Raises MalformedError. What stands behind the last record is padding: 0xFF or zeros to the end."""
    bounded(data, limits.MAX_EVIDENCE_PART_BYTES, "event log")
    reader = Reader(data, "event log")
    _header(reader)
    events = tuple(_events(reader))
    registers = [bytes(_SIZE)] * REGISTERS
    for event in events:
        if event.type != _NO_ACTION and 1 <= event.register <= REGISTERS:
            registers[event.register - 1] = sha384(registers[event.register - 1] + event.digest)
    return EventLog(events, (registers[0], registers[1], registers[2], registers[3]))


def _header(reader: Reader) -> None:
    """The first record, in the form of TPM 1.2, which says which digests the others have."""
    reader.uint(4, "register of the first record")
    if (kind := reader.uint(4, "type of the first record")) != _NO_ACTION:
        raise _fail("the first record is no specification record", reader, f"type 0x{kind:x}", "EV_NO_ACTION")
    reader.bytes(20, "digest of the first record")
    event = reader.sub(reader.uint(4, "size of the first record"), "specification record")
    if event.bytes(len(_SIGNATURE), "signature") != _SIGNATURE:
        raise _fail("the log is not crypto-agile", reader, "another signature", "Spec ID Event03")
    event.bytes(8, "platform class and versions")
    for _ in range(event.uint(4, "number of algorithms")):
        algorithm, size = event.uint(2, "algorithm"), event.uint(2, "digest size")
        if _ALGORITHMS.get(algorithm) != size:
            raise _fail("a digest algorithm is not known", reader, f"0x{algorithm:04x} of {size} bytes", "an algorithm of TCG")
    event.bytes(event.uint(1, "size of vendor information"), "vendor information")
    event.end()


def _events(reader: Reader) -> Iterator[Event]:
    for number in range(_MAX_EVENTS + 1):
        if reader.remaining < 16 or _at_end(reader):
            return
        if number == _MAX_EVENTS:
            break
        register, kind = reader.uint(4, "register"), reader.uint(4, "type")
        count = reader.uint(4, "number of digests")
        digest = None
        if not 1 <= count <= len(_ALGORITHMS):
            raise _fail("a record has no or too many digests", reader, str(count), f"1 to {len(_ALGORITHMS)}")
        for _ in range(count):
            algorithm = reader.uint(2, "algorithm")
            if algorithm not in _ALGORITHMS:
                raise _fail("a digest algorithm is not known", reader, f"0x{algorithm:04x}", "an algorithm of TCG")
            value = reader.bytes(_ALGORITHMS[algorithm], "digest")
            if algorithm == _SHA384:
                digest = value
        if digest is None:
            raise _fail("a record has no SHA-384 digest", reader, "other digests", "SHA-384, which RTMRs use")
        yield Event(register, kind, digest, reader.bytes(reader.uint(4, "size of the event"), "event"))
    raise _fail("the log has too many records", reader, f"more than {_MAX_EVENTS}", f"at most {_MAX_EVENTS}")


def _at_end(reader: Reader) -> bool:
    return reader.peek(16) in (b"\xff" * 16, bytes(16))


def _variable(data: bytes) -> tuple[str, bytes]:
    """Name and content of a UEFI_VARIABLE_DATA: GUID 16, u64 name length in characters, u64 data length, name in UTF-16, data."""
    if len(data) < 32:
        return "", b""
    characters, size = int.from_bytes(data[16:24], "little"), int.from_bytes(data[24:32], "little")
    if characters > 256 or len(data) != 32 + 2 * characters + size:
        return "", b""
    return data[32 : 32 + 2 * characters].decode("utf-16-le", "replace"), data[32 + 2 * characters :]


def _fail(message: str, reader: Reader, found: str, expected: str) -> AttestError:
    return FORM.failure(where=reader.where(), found=f"{message}: {found}", expected=expected)
