"""The values of the quoted PCRs. They are not signed: the quote signs which PCRs were selected, and a digest over their values.

So a value is believed only under the label that the *signed* selection gives it. The list's own labels must agree with it, or somebody has
moved a value to another PCR (CVE-2024-29039).

Form of the list: as tpm2_quote writes it (``--pcrs_format serialized``), little-endian: u32 count of banks; 16 times {hash u16,
sizeofSelect u8, bitmap 3 bytes, 2 bytes zero}; u32 count of digest lists; each {u32 count, 8 times {u16 size, 64 bytes}}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from attest.checks import Check
from attest.crypto import same
from attest.errors import Outcome
from attest.kinds.tpm.algorithm import BANKS, SIZES, Algorithm, digest, name_of
from attest.kinds.tpm.report import MAX_BANKS, PCRS, Quote, Selection
from attest.wire import Reader

_PART2: Final = "TPM 2.0 Library part 2, TPML_PCR_SELECTION and TPML_DIGEST"

PCR_FORM: Final = Check(
    "tpm.pcr-form", "form of the list of PCR values", "tpm2_quote(1), --pcrs_format", Outcome.MALFORMED, "send the file of tpm2_quote -o"
)
PCR_LABELS: Final = Check(
    "tpm.pcr-labels",
    "labels of the PCR values against the signed selection",
    _PART2 + " (CVE-2024-29039)",
    fix="the list labels its values otherwise than the TPM signed them: collect quote and list together",
)
PCR_BANK: Final = Check(
    "tpm.pcr-bank", "hash of the quoted PCR banks", "NIST SP 800-131A rev 2", fix="quote the SHA-256 or SHA-384 bank, and no SHA-1 bank"
)
PCR_DIGEST: Final = Check(
    "tpm.pcr-digest",
    "PCR values against the quoted digest",
    "TPM 2.0 Library part 3, TPM2_Quote",
    fix="a PCR changed between reading and quoting, or the list is altered: collect both again",
)
PCR_CHECKS: Final = (PCR_FORM, PCR_LABELS, PCR_BANK, PCR_DIGEST)

_SLOT: Final = 64
_PER_LIST: Final = 8


@dataclass(frozen=True, slots=True)
class PcrList:
    """An unverified list: the selections that it claims, and the values in their order."""

    selections: tuple[Selection, ...]
    values: tuple[bytes, ...]


def parse_pcrs(data: bytes) -> PcrList:
    """Read a list. Raises MalformedError."""
    reader = Reader(data, "PCR list")
    where = reader.where()
    count = reader.uint(4, "count of banks")
    PCR_FORM.require(count <= MAX_BANKS, where=where, found=f"{count} banks", expected=f"at most {MAX_BANKS}")
    selections = []
    for index in range(MAX_BANKS):
        if index >= count:
            reader.zero(8, "unused bank")
            continue
        where = reader.where()
        bank, size = reader.uint(2, "hash"), reader.uint(1, "sizeofSelect")
        PCR_FORM.require(size == PCRS // 8, where=where, found=f"{size} bytes of bitmap", expected=f"{PCRS // 8}")
        bits = reader.uint(3, "pcrSelect")
        reader.zero(2, "padding")
        selections.append(Selection(bank, tuple(pcr for pcr in range(PCRS) if bits >> pcr & 1)))
    where = reader.where()
    lists = reader.uint(4, "count of lists")
    most = MAX_BANKS * PCRS // _PER_LIST
    PCR_FORM.require(lists <= most, where=where, found=f"{lists} lists", expected=f"at most {most}")
    values: list[bytes] = []
    for _ in range(lists):
        where = reader.where()
        used = reader.uint(4, "count of digests")
        PCR_FORM.require(used <= _PER_LIST, where=where, found=f"{used} digests", expected=f"at most {_PER_LIST}")
        for slot in range(_PER_LIST):
            where = reader.where()
            size = reader.uint(2, "size of digest")
            PCR_FORM.require(size <= _SLOT, where=where, found=f"{size} bytes", expected=f"at most {_SLOT}")
            value = reader.bytes(size, "digest")
            reader.zero(_SLOT - size, "rest of the slot")
            PCR_FORM.require(slot < used or not size, where=where, found="a value that is not counted", expected=f"{used} values")
            if slot < used:
                values.append(value)
    reader.end()
    return PcrList(tuple(selections), tuple(values))


def encode_pcrs(selections: Sequence[Selection], values: Sequence[bytes]) -> bytes:
    """Write a list; the inverse of :func:`parse_pcrs`. ``values`` in selection order, ascending index."""
    out = len(selections).to_bytes(4, "little")
    for selection in selections:
        bits = sum(1 << pcr for pcr in selection.pcrs)
        out += selection.bank.to_bytes(2, "little") + bytes([PCRS // 8]) + bits.to_bytes(3, "little") + bytes(2)
    out += bytes(8 * (MAX_BANKS - len(selections)))
    groups = [values[start : start + _PER_LIST] for start in range(0, len(values), _PER_LIST)]
    out += len(groups).to_bytes(4, "little")
    for group in groups:
        out += len(group).to_bytes(4, "little")
        for value in (*group, *([b""] * (_PER_LIST - len(group)))):
            out += len(value).to_bytes(2, "little") + value.ljust(_SLOT, b"\0")
    return out


@dataclass(frozen=True, slots=True)
class QuotedPcrs:
    """PCR values that the quote vouches for: bank to index to value. Made by :func:`verify_pcrs`."""

    banks: Mapping[int, Mapping[int, bytes]]


def verify_pcrs(quote: Quote, listed: PcrList, signature_hash: int) -> QuotedPcrs:
    """Match a list with its quote. The digest is made with the hash of the signature, whatever the banks.

    1. every bank of a trusted hash  2. the same selection, in the same order  3. as many values, each of its bank's size  4. digest

    Raises a failure of one of :data:`PCR_CHECKS`.
    """
    for selection in quote.selections:  # (1)
        PCR_BANK.require(
            selection.bank in BANKS, where="quote", found=f"{name_of(selection.bank)} bank", expected="sha256, sha384 or sha512"
        )
    PCR_LABELS.require(  # (2)
        listed.selections == quote.selections,
        where="PCR list",
        found=" + ".join(map(str, listed.selections)),
        expected=f"{' + '.join(map(str, quote.selections))}, as signed",
    )
    places = [(item.bank, pcr) for item in quote.selections for pcr in item.pcrs]
    PCR_FORM.require(len(places) == len(listed.values), where="PCR list", found=f"{len(listed.values)} values", expected=f"{len(places)}")
    for (bank, pcr), value in zip(places, listed.values, strict=True):  # (3)
        size = SIZES[Algorithm(bank)]
        PCR_FORM.require(len(value) == size, where=f"PCR {pcr}", found=f"{len(value)} bytes", expected=f"{size} bytes of {name_of(bank)}")
    made = digest(signature_hash, b"".join(listed.values))  # (4)
    PCR_DIGEST.require(same(made, quote.digest), where="quote, pcrDigest", found=made.hex(), expected=quote.digest.hex())
    banks: dict[int, dict[int, bytes]] = {}
    for (bank, pcr), value in zip(places, listed.values, strict=True):
        banks.setdefault(bank, {})[pcr] = value
    return QuotedPcrs(MappingProxyType({bank: MappingProxyType(values) for bank, values in banks.items()}))
