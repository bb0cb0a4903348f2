"""The GPU attestation report: an SPDM 1.1 GET_MEASUREMENTS request, and the MEASUREMENTS response with its signature.

    request   0  SPDMVersion 0x11        response (offsets from its start)
              1  code 0xE0                        0  SPDMVersion 0x11
              2  param1 0x01 (sign)               1  code 0x60
              3  param2 0xFF (all)                2  param1, param2: 0
              4  nonce, 32 bytes                  4  NumberOfBlocks
             36  slot 0                           5  MeasurementRecordLength L1, u24
                                                  8  blocks
    block     0  index, from 1                 8+L1  responder nonce, 32 bytes
              1  specification 0x01 (DMTF)    40+L1  OpaqueLength L2, u16
              2  size 51, u16                 42+L1  opaque data
              4  value type 0x01           42+L1+L2  signature r, s: 48 bytes each, big-endian
              5  value size 48, u16
              7  value (SHA-384)

All integers are little-endian. Everything but the last 96 bytes is signed, the request included. Source: DMTF DSP0274 1.1
(SPDM); the sizes are those of every Hopper report seen.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from attest.checks import Check
from attest.crypto import sha384
from attest.errors import Outcome
from attest.kinds.nvidia_gpu.opaque import OPAQUE, OpaqueData, parse_opaque
from attest.wire import Reader

_AGAIN: Final = "collect the report again, and check that it was not altered or cut on the way"

SIZE: Final = Check(
    "nvidia-gpu.report-size",
    "length of the report",
    "DMTF DSP0274 1.1, GET_MEASUREMENTS and MEASUREMENTS; no byte may follow",
    Outcome.MALFORMED,
    _AGAIN,
)
REQUEST: Final = Check(
    "nvidia-gpu.report-request",
    "GET_MEASUREMENTS request in the report",
    "DMTF DSP0274 1.1, GET_MEASUREMENTS request message",
    Outcome.MALFORMED,
    _AGAIN,
)
RESPONSE: Final = Check(
    "nvidia-gpu.report-response",
    "MEASUREMENTS response header",
    "DMTF DSP0274 1.1, MEASUREMENTS response message",
    Outcome.MALFORMED,
    _AGAIN,
)
BLOCKS: Final = Check(
    "nvidia-gpu.report-blocks",
    "measurement blocks",
    "DMTF DSP0274 1.1, measurement block and DMTF measurement specification",
    Outcome.MALFORMED,
    _AGAIN,
)

REPORT_CHECKS: Final = (SIZE, REQUEST, RESPONSE, BLOCKS, OPAQUE)

NAME: Final = "GPU report"
REQUEST_BYTES: Final = 37
SIGNATURE_BYTES: Final = 96
NONCE_BYTES: Final = 32
DIGEST_BYTES: Final = 48
BLOCK_COUNT: Final = 64  # Hopper; an NVSwitch has 31

_HEADER: Final = bytes((0x11, 0xE0, 0x01, 0xFF))
_BLOCK: Final = struct.Struct("<BBHBH48s")
_BLOCK_HEADER: Final = (1, 51, 1, DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class Report:
    """One report. Untrusted: parsing says nothing about who made it.

    nonce             chosen by the requester, in the request (32 bytes)
    measurements      64 SHA-384 values; position i is block index i + 1 and index i of a reference manifest
    responder_nonce   chosen by the GPU (32 bytes); proves nothing about freshness to the requester
    opaque            NVIDIA's own fields
    signature         r and s, 48 bytes each, big-endian
    """

    nonce: bytes
    measurements: tuple[bytes, ...]
    responder_nonce: bytes
    opaque: OpaqueData
    signature: bytes

    def encode(self) -> bytes:
        """The bytes that :func:`parse_report` reads; ``parse_report(data).encode() == data`` for every accepted report."""
        record = b"".join(_BLOCK.pack(index, *_BLOCK_HEADER, value) for index, value in enumerate(self.measurements, 1))
        opaque = self.opaque.encode()
        return b"".join(
            (
                _HEADER,
                self.nonce,
                b"\0",
                bytes((0x11, 0x60, 0, 0, len(self.measurements))),
                len(record).to_bytes(3, "little"),
                record,
                self.responder_nonce,
                len(opaque).to_bytes(2, "little"),
                opaque,
                self.signature,
            )
        )


def signed_region(data: bytes) -> bytes:
    """The signed bytes of a report: all but the signature."""
    return data[:-SIGNATURE_BYTES]


def statement_digest(data: bytes) -> bytes:
    """SHA-384 over the signed bytes (48 bytes): identity of the statement, whatever the signature's encoding."""
    return sha384(signed_region(data))


def parse_report(data: bytes) -> Report:
    """Read a Hopper report. Raises MalformedError whose code is one of :data:`REPORT_CHECKS`."""
    record_bytes, opaque_bytes = _measure(data)
    reader = Reader(data, NAME)
    nonce = _request(reader)
    count = _response(reader)
    measurements = _blocks(reader, count, record_bytes)
    responder_nonce = reader.bytes(NONCE_BYTES, "responder nonce")
    reader.uint(2, "opaque length")
    opaque = parse_opaque(reader.sub(opaque_bytes, "opaque data"))
    signature = reader.bytes(SIGNATURE_BYTES, "signature")
    reader.end()
    return Report(nonce, measurements, responder_nonce, opaque, signature)


def _measure(data: bytes) -> tuple[int, int]:
    """Lengths of record and opaque data, when the report is exactly as long as they say."""
    least = REQUEST_BYTES + 42 + SIGNATURE_BYTES
    record = int.from_bytes(data[REQUEST_BYTES + 5 : REQUEST_BYTES + 8], "little")
    at = REQUEST_BYTES + 40 + record
    opaque = int.from_bytes(data[at : at + 2], "little")
    total = least + record + opaque
    SIZE.require(
        len(data) == total,
        found=f"{len(data)} bytes",
        expected=f"{total} bytes (record {record}, opaque data {opaque})",
        where=f"{NAME} offset 0x{min(len(data), total):03x}",
    )
    return record, opaque


def _request(reader: Reader) -> bytes:
    for expected, field in zip(_HEADER, ("SPDM version", "request code", "param1", "param2"), strict=True):
        _exactly(reader, REQUEST, field, expected)
    nonce = reader.bytes(NONCE_BYTES, "nonce")
    _exactly(reader, REQUEST, "slot", 0)
    return nonce


def _response(reader: Reader) -> int:
    for expected, field in zip((0x11, 0x60, 0, 0), ("SPDM version", "response code", "param1", "param2"), strict=True):
        _exactly(reader, RESPONSE, field, expected)
    count = reader.uint(1, "number of blocks")
    reader.uint(3, "record length")
    return count


def _exactly(reader: Reader, check: Check, field: str, expected: int) -> None:
    offset = reader.offset
    value = reader.uint(1, field)
    check.require(value == expected, found=f"{field} 0x{value:02x}", expected=f"0x{expected:02x}", where=reader.where(offset))


def _blocks(reader: Reader, count: int, size: int) -> tuple[bytes, ...]:
    start = reader.offset
    BLOCKS.require(
        count == BLOCK_COUNT and size == BLOCK_COUNT * _BLOCK.size,
        found=f"{count} blocks in {size} bytes",
        expected=f"{BLOCK_COUNT} blocks in {BLOCK_COUNT * _BLOCK.size} bytes",
        where=reader.where(start - 4),
    )
    values: list[bytes] = []
    for position, (index, *header, value) in enumerate(_BLOCK.iter_unpack(reader.bytes(size, "measurement record"))):
        if index != position + 1 or tuple(header) != _BLOCK_HEADER:
            raise BLOCKS.failure(
                found="block index {}, specification {}, size {}, value type {}, value size {}".format(index, *header),
                expected=f"block index {position + 1}, specification 1, size 51, value type 1, value size 48",
                where=reader.where(start + position * _BLOCK.size),
            )
        values.append(value)
    return tuple(values)
