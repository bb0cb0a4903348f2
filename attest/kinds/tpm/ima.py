"""Linux IMA measurement list: its ASCII form, and replay to the quoted PCR 10.

Kernel documentation, "IMA Template Management Mechanism"; security/integrity/ima/ima_template_lib.c. The list may run ahead of the quote,
so a prefix of it must give the quoted value; entries behind that prefix are not attested and are counted, never read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from attest.checks import Check
from attest.errors import Outcome
from attest.kinds.tpm.algorithm import BANKS, SIZES, Algorithm
from attest.wire import utf8

_KERNEL: Final = "Linux kernel documentation, IMA templates"

IMA_FORM: Final = Check(
    "tpm.ima-form",
    "form of the IMA list",
    _KERNEL,
    Outcome.MALFORMED,
    "send ascii_runtime_measurements as the kernel writes it, with template ima-ng, ima-sig, ima-ngv2, ima-sigv2 or ima-buf",
)
IMA_HASH: Final = Check(
    "tpm.ima-template-hash",
    "template hashes of the IMA list",
    _KERNEL,
    fix="an entry is not what the kernel measured: the list was altered",
)
IMA_REPLAY: Final = Check(
    "tpm.ima-replay",
    "IMA list against the quoted PCR 10",
    _KERNEL,
    fix="no beginning of the list gives the quoted value: read the list after quoting, and of the same boot",
)
IMA_CHECKS: Final = (IMA_FORM, IMA_HASH, IMA_REPLAY)

IMA_PCR: Final = 10
MAX_ENTRIES: Final = 65_536
_SIZES: Final = {"md5": 16, "sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64, "sm3": 32}
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*\Z")
_DIGEST: Final = re.compile(r"(?:(ima|verity):)?([a-z0-9-]+):([0-9a-f]+)\Z")
_TEMPLATES: Final = {"ima-ng": 2, "ima-sig": 3, "ima-ngv2": 2, "ima-sigv2": 3, "ima-buf": 3}


@dataclass(frozen=True, slots=True)
class ImaEntry:
    """One measurement. ``violation`` entries extend all ones: the file was open for writing while it was measured.

    template_hash  as the list says it: SHA-1 over ``template_data``
    path           of the file, or the name of the buffer
    digest         "sha256:…" of the file
    """

    line: int
    template: str
    template_hash: bytes
    template_data: bytes
    digest: str
    path: str
    signed: bool

    @property
    def violation(self) -> bool:
        """Whether the kernel marked it as one: an all-zero template hash."""
        return not any(self.template_hash)


@dataclass(frozen=True, slots=True)
class ImaList:
    """Entries that the quote attests, and how many more the list has."""

    attested: tuple[ImaEntry, ...]
    behind: int


def parse_ima(data: bytes) -> tuple[ImaEntry, ...]:
    """Read a list. Raises MalformedError, or the failure of ``tpm.ima-template-hash``."""
    lines = utf8(data, "IMA list").removesuffix("\n").split("\n")
    IMA_FORM.require(len(lines) <= MAX_ENTRIES, found=f"{len(lines)} entries", expected=f"at most {MAX_ENTRIES}")
    return tuple(_entry(line, number) for number, line in enumerate(lines, 1)) if data else ()


def _entry(line: str, number: int) -> ImaEntry:
    where = f"IMA list, line {number}"
    fields = line.split(" ", 4)
    IMA_FORM.require(len(fields) == 5, where=where, found=f"{len(fields)} fields", expected="PCR, template hash, template, digest and path")
    pcr, template_hash, template, digest, rest = fields
    IMA_FORM.require(pcr == str(IMA_PCR), where=where, found=f"PCR {pcr[:8]}", expected=str(IMA_PCR))
    IMA_FORM.require(template in _TEMPLATES, where=where, found=f"template {template[:20]}", expected=", ".join(_TEMPLATES))
    IMA_FORM.require(
        len(template_hash) == 2 * SIZES[Algorithm.SHA1] and _HEX.match(template_hash) is not None,
        where=where,
        found=template_hash[:44],
        expected="20 bytes of hex",
    )
    path, tail = rest, b""
    if _TEMPLATES[template] == 3:
        # The kernel escapes nothing, but a signature or buffer is hex behind the last space, even when it is empty.
        path, space, text = rest.rpartition(" ")
        IMA_FORM.require(bool(space) and _HEX.match(text) is not None, where=where, found=rest[-40:], expected="a path, then hex")
        tail = bytes.fromhex(text)
    match = _DIGEST.match(digest)
    algorithm = match[2] if match else ""
    IMA_FORM.require(
        match is not None and algorithm in _SIZES and len(match[3]) == 2 * _SIZES[algorithm] and bool(match[1]) == template.endswith("v2"),
        where=where,
        found=digest[:24],
        expected=", ".join(_SIZES),
    )
    prefix, _, value = digest.rpartition(":")
    packed = _field(prefix.encode() + b":\0" + bytes.fromhex(value)) + _field(path.encode() + b"\0")
    if _TEMPLATES[template] == 3:
        packed += _field(tail)
    entry = ImaEntry(number, template, bytes.fromhex(template_hash), packed, digest, path, bool(tail))
    made = hashlib.sha1(packed, usedforsecurity=False).digest()  # only what the list prints; PCRs are replayed with the bank's hash
    IMA_HASH.require(entry.violation or made == entry.template_hash, where=where, found=entry.template_hash.hex(), expected=made.hex())
    return entry


def _field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def replay_ima(entries: tuple[ImaEntry, ...], bank: int, quoted: bytes) -> ImaList:
    """The longest beginning of the list whose replay in ``bank`` gives ``quoted``. Raises the failure of ``tpm.ima-replay``.

    Kernels before 5.8 pad SHA-1 digests with zeros instead; such a list does not replay, and is refused.
    """
    size, name = SIZES[Algorithm(bank)], BANKS[Algorithm(bank)].value
    value = bytes(size)
    found = 0 if value == quoted else -1
    for count, entry in enumerate(entries, 1):
        extend = bytes([0xFF]) * size if entry.violation else hashlib.new(name, entry.template_data).digest()
        value = hashlib.new(name, value + extend).digest()
        if value == quoted:
            found = count
    IMA_REPLAY.require(
        found >= 0,
        where=f"PCR {IMA_PCR} ({name})",
        found=f"{value.hex()} after {len(entries)} entries",
        expected=f"{quoted.hex()}, as quoted",
    )
    return ImaList(entries[:found], len(entries) - found)
