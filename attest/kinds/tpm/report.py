"""TPMS_ATTEST, the structure that a TPM signs: bytes to typed fields (TPM 2.0 Library part 2, section 10.12). Big-endian throughout.

A restricted signing key signs nothing that begins with TPM_GENERATED_VALUE unless the TPM itself made it, so the magic number is what
tells a TPM's statement from data that somebody had signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from attest.checks import Check
from attest.errors import Outcome
from attest.kinds.tpm.algorithm import SIZES, Algorithm, name_of
from attest.wire import Reader

GENERATED: Final = 0xFF544347
MAX_BANKS: Final = 16
MAX_DATA: Final = 66  # TPM2B_DATA holds at most a TPMT_HA of the largest hash
PCRS: Final = 24

_PART2: Final = "TPM 2.0 Library part 2"
_ALTERED: Final = "the statement is altered, or is not one that a TPM made: collect it again"

MAGIC: Final = Check("tpm.magic", "statement made by a TPM", _PART2 + ", TPMS_ATTEST.magic (CVE-2024-29038)", fix=_ALTERED)
TYPE: Final = Check("tpm.type", "kind of statement", _PART2 + ", TPMI_ST_ATTEST", fix="send the output of TPM2_Quote as quote")
CLOCK: Final = Check("tpm.clock", "form of the clock information", _PART2 + ", TPMS_CLOCK_INFO", Outcome.MALFORMED, _ALTERED)
SELECTION: Final = Check(
    "tpm.selection",
    "form of the PCR selection",
    _PART2 + ", TPML_PCR_SELECTION",
    Outcome.MALFORMED,
    "quote each bank once, with PCRs 0 to 23",
)
REPORT_CHECKS: Final = (MAGIC, TYPE, CLOCK, SELECTION)


class AttestType(IntEnum):
    """TPMI_ST_ATTEST: what the statement is about."""

    NV = 0x8014
    COMMAND_AUDIT = 0x8015
    SESSION_AUDIT = 0x8016
    CERTIFY = 0x8017
    QUOTE = 0x8018
    TIME = 0x8019
    CREATION = 0x801A
    NV_DIGEST = 0x801C


@dataclass(frozen=True, slots=True)
class Selection:
    """PCRs of one bank: hash algorithm, and indices in ascending order."""

    bank: int
    pcrs: tuple[int, ...]

    def __str__(self) -> str:
        return f"{name_of(self.bank)}:{','.join(map(str, self.pcrs))}"


@dataclass(frozen=True, slots=True)
class Statement:
    """What every TPMS_ATTEST carries, unverified.

    qualified_signer  qualified Name of the key that signed: hash algorithm (2 bytes) and digest
    extra_data        what the requester chose, at most 64 bytes
    clock             milliseconds that the TPM was powered
    reset_count, restart_count, firmware  obfuscated unless the key is in the endorsement or platform hierarchy
    safe              False when the clock may have gone back since
    """

    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware: int


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote: the selected PCRs in the order in which they were hashed, and the digest over their values."""

    statement: Statement
    selections: tuple[Selection, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Certification:
    """TPM2_Certify or TPM2_CertifyCreation: the Name of a key that is in this TPM (or was made by it)."""

    statement: Statement
    type: AttestType
    name: bytes


def parse_quote(data: bytes) -> Quote:
    """Read a quote. Raises MalformedError or NotAuthenticError with one of :data:`REPORT_CHECKS`, or ``wire.…``."""
    reader = Reader(data, "quote")
    _, statement = _begin(reader, (AttestType.QUOTE,))
    selections = read_selections(reader)
    digest = _tpm2b(reader, "pcrDigest", max(SIZES.values()))
    reader.end()
    return Quote(statement, selections, digest)


def parse_certification(data: bytes) -> Certification:
    """Read the certification of a key. Raises as :func:`parse_quote`."""
    reader = Reader(data, "certification")
    kind, statement = _begin(reader, (AttestType.CERTIFY, AttestType.CREATION))
    name = _tpm2b(reader, "name", MAX_DATA)
    _tpm2b(reader, "qualifiedName" if kind is AttestType.CERTIFY else "creationHash", MAX_DATA)
    reader.end()
    return Certification(statement, kind, name)


def _begin(reader: Reader, expected: tuple[AttestType, ...]) -> tuple[AttestType, Statement]:
    where = reader.where()
    magic = reader.uint_be(4, "magic")
    MAGIC.require(magic == GENERATED, where=where, found=f"0x{magic:08x}", expected=f"0x{GENERATED:08x} (TPM_GENERATED_VALUE)")
    where = reader.where()
    number = reader.uint_be(2, "type")
    kind = next((kind for kind in expected if kind == number), None)
    if kind is None:
        known = next((f" ({other.name.lower()})" for other in AttestType if other == number), "")
        wanted = " or ".join(f"0x{kind:04x} ({kind.name.lower()})" for kind in expected)
        raise TYPE.failure(where=where, found=f"0x{number:04x}{known}", expected=wanted)
    signer = _tpm2b(reader, "qualifiedSigner", MAX_DATA)
    extra = _tpm2b(reader, "extraData", MAX_DATA)
    clock, resets, restarts = reader.uint_be(8, "clock"), reader.uint_be(4, "resetCount"), reader.uint_be(4, "restartCount")
    where = reader.where()
    safe = reader.uint_be(1, "safe")
    CLOCK.require(safe in (0, 1), where=where, found=f"safe is {safe}", expected="0 or 1")
    return kind, Statement(signer, extra, clock, resets, restarts, safe == 1, reader.uint_be(8, "firmwareVersion"))


def read_selections(reader: Reader) -> tuple[Selection, ...]:
    """TPML_PCR_SELECTION: at most 16 banks, each at most once, at least one PCR in all."""
    where = reader.where()
    count = reader.uint_be(4, "selection count")
    SELECTION.require(count <= MAX_BANKS, where=where, found=f"{count} banks", expected=f"at most {MAX_BANKS}")
    selections: list[Selection] = []
    for _ in range(count):
        place = reader.where()
        bank, size = reader.uint_be(2, "hash"), reader.uint_be(1, "sizeofSelect")
        SELECTION.require(size == PCRS // 8, where=place, found=f"{size} bytes of bitmap", expected=f"{PCRS // 8}, for {PCRS} PCRs")
        bits = int.from_bytes(reader.bytes(size, "pcrSelect"), "little")
        SELECTION.require(
            bank not in {known.bank for known in selections}, where=place, found=f"{name_of(bank)} twice", expected="each bank once"
        )
        selections.append(Selection(bank, tuple(index for index in range(PCRS) if bits >> index & 1)))
    SELECTION.require(any(item.pcrs for item in selections), where=where, found="no PCR at all", expected="at least one quoted PCR")
    return tuple(selections)


def encode_selections(selections: tuple[Selection, ...]) -> bytes:
    """TPML_PCR_SELECTION; the inverse of :func:`read_selections`."""
    out = len(selections).to_bytes(4, "big")
    for item in selections:
        bits = sum(1 << pcr for pcr in item.pcrs)
        out += item.bank.to_bytes(2, "big") + bytes([PCRS // 8]) + bits.to_bytes(PCRS // 8, "little")
    return out


def _tpm2b(reader: Reader, field: str, most: int) -> bytes:
    """A TPM2B of at most ``most`` bytes; a longer one reads as truncated, because no TPM makes it."""
    size = reader.uint_be(2, f"size of {field}")
    return reader.bytes(size if size <= most else reader.remaining + 1, field)


def bank_of(selections: tuple[Selection, ...]) -> Selection:
    """The strongest bank of a quote that has PCRs in it."""
    return max((item for item in selections if item.pcrs), key=lambda item: SIZES[Algorithm(item.bank)])
