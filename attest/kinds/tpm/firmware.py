"""What a replayed event log says about the boot: Secure Boot, programs, command lines.

Only events of PCRs whose replay gave the quoted value are read. Where the profile demands that an event's digest is that of its data, a
difference refuses the log; where it is a digest of something else (a program, a file), only the digest is reported.
Rules for the state of Secure Boot: TCG PC Client Platform Firmware Profile 1.06, section 3.3.4.8; UEFI 2.10 section 32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from attest.checks import Check
from attest.crypto import sha256
from attest.errors import AttestError
from attest.evidence import ClaimEnum, Debug
from attest.kinds.tpm.algorithm import BANKS, Algorithm
from attest.kinds.tpm.eventlog import Event, EventLog, EventType, extending, replay, type_name
from attest.kinds.tpm.uefi import GLOBAL, SECURITY_DATABASE, parse_variable, signature_entries

_PROFILE: Final = "TCG PC Client Platform Firmware Profile 1.06"

LOG_REPLAY: Final = Check(
    "tpm.log-replay",
    "event log against the quoted PCRs",
    _PROFILE + ", section 3.2",
    fix="the log does not explain PCRs 0 to 7: collect log and quote of one boot, with the bank that the log has",
)
LOG_DATA: Final = Check(
    "tpm.log-data",
    "event data against their digests",
    _PROFILE + ", section 10.4",
    fix="the log was altered: its digests are the measured ones, its texts are not",
)
LOG_SEPARATOR: Final = Check(
    "tpm.log-separator",
    "separators of PCRs 0 to 7",
    _PROFILE + ", section 3.3.4.4 (EV_SEPARATOR)",
    fix="firmware draws one line, of four zero bytes, between itself and the boot loader; anything else is an error that it measured",
)
FIRMWARE_CHECKS: Final = (LOG_REPLAY, LOG_DATA, LOG_SEPARATOR)

FIRMWARE_PCRS: Final = range(8)
"""Only firmware extends these, so a log explains them or is wrong. The others are extended by software that writes no log."""

_HASHED_DATA: Final = frozenset(
    {
        EventType.SEPARATOR,
        EventType.ACTION,
        EventType.EFI_ACTION,
        EventType.EFI_VARIABLE_DRIVER_CONFIG,
        EventType.EFI_VARIABLE_AUTHORITY,
    }
)
_KERNEL_PREFIXES: Final = (b"kernel_cmdline: ", b"grub_kernel_cmdline ")
_PREFIXES: Final = (*_KERNEL_PREFIXES, b"grub_cmd: ", b"grub_cmd ", b"module_cmdline: ")
_LOAD_OPTIONS: Final = 0x8F3B22ED  # tag of the Linux EFI stub
_BOOT_OPTION: Final = b"Calling EFI Application from Boot Option"
_PCR4_TEXTS: Final = (_BOOT_OPTION, b"Returning from EFI Application from Boot Option", b"Exit Boot Services Invocation", bytes(4))
_DEBUG_MODE: Final = b"UEFI Debug Mode"
_SEQUENCE: Final = b"\x30\x82"  # begin of a certificate in DER
_DMA: Final = b"DMA Protection Disabled"


class SecureBoot(ClaimEnum):
    """State of UEFI Secure Boot as measured into PCR 7."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Boot:
    """What the log says; everything empty or unknown without one. Filled by :func:`read_boot`."""

    explained: frozenset[int] = frozenset()
    secure_boot: SecureBoot = SecureBoot.UNKNOWN
    secure_boot_note: str = "no event log"
    debug: Debug = Debug.UNKNOWN
    dma_protection_disabled: bool = False
    early_applications: bool = False
    applications: set[str] = field(default_factory=set)
    drivers: set[str] = field(default_factory=set)
    authorities: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    commands: set[str] = field(default_factory=set)
    command_lines: set[str] = field(default_factory=set)
    forbidden_entries: int = 0
    forbidden_digest: str = ""
    unknown_events: tuple[str, ...] = ()


def read_boot(log: EventLog, bank: int, quoted: Mapping[int, bytes]) -> Boot:
    """Replay ``log`` and read what its explained events say.

    1. PCRs 0 to 7 that are quoted: explained exactly  2. data of events that are their own measurement  3. separators  4. what they say

    Raises a failure of ``tpm.log-…``.
    """
    boot = Boot()
    if not log.events:
        return boot
    values = replay(log, bank)
    name = BANKS[Algorithm(bank)].value
    for pcr in FIRMWARE_PCRS:  # (1)
        if pcr in quoted:
            made = values.get(pcr, bytes(len(quoted[pcr])))
            LOG_REPLAY.require(
                made == quoted[pcr], where=f"PCR {pcr} ({name})", found=made.hex(), expected=f"{quoted[pcr].hex()}, as quoted"
            )
    boot.explained = frozenset(pcr for pcr, value in quoted.items() if values.get(pcr) == value)
    events = tuple(event for event in extending(log) if event.pcr in boot.explained)
    for event in events:  # (2)
        if event.type in _HASHED_DATA:
            made = hashlib.new(name, event.data).digest()
            LOG_DATA.require(
                made == event.digests[bank] or _of_old_shim(event, event.digests[bank], name),
                where=f"{event.where}, {type_name(event.type)}",
                found=f"data with {name} {made.hex()}",
                expected=event.digests[bank].hex(),
            )
    _separators(events)  # (3)
    boot.unknown_events = tuple(f"{event.where}: {type_name(event.type)}" for event in events if event.type not in set(EventType))  # (4)
    for event in events:
        _collect(boot, event, event.digests[bank], name)
    boot.early_applications = early_applications(log, boot.explained)
    _secure_boot(boot, tuple(event for event in events if event.pcr == 7))
    return boot


def _of_old_shim(event: Event, digest: bytes, name: str) -> bool:
    """Shim before version 15.3 logs one byte more of its authority than it measures."""
    return event.type == EventType.EFI_VARIABLE_AUTHORITY and hashlib.new(name, event.data[:-1]).digest() == digest


def _separators(events: tuple[Event, ...]) -> None:
    seen: set[int] = set()
    for event in events:
        if event.type != EventType.SEPARATOR or event.pcr not in FIRMWARE_PCRS:
            continue
        LOG_SEPARATOR.require(event.pcr not in seen, where=event.where, found="a second separator", expected="one")
        LOG_SEPARATOR.require(event.data == bytes(4), where=event.where, found=event.data[:8].hex(), expected="00000000")
        seen.add(event.pcr)


def _collect(boot: Boot, event: Event, digest: bytes, name: str) -> None:
    """What one event adds. An event's type is nobody's word, so nothing is left out because of it: whoever relabels the event of a program
    he wants to hide still has its digest in the set.
    """
    if event.pcr == 4:
        if digest not in {hashlib.new(name, text).digest() for text in _PCR4_TEXTS}:
            boot.applications.add(digest.hex())
    elif event.pcr == 2 and event.type != EventType.SEPARATOR:
        boot.drivers.add(digest.hex())
    elif event.pcr in (8, 12):
        text, kernel = _text(event.data, digest, name)
        boot.commands.add(text or f"{name}:{digest.hex()}")
        if kernel:
            boot.command_lines.add(text)
    elif event.pcr == 9:
        text = _wide(event.data[8:], digest, name) if int.from_bytes(event.data[:4], "little") == _LOAD_OPTIONS else ""
        if text:
            boot.command_lines.add(text)
        boot.files.add(digest.hex())


def _text(data: bytes, digest: bytes, name: str) -> tuple[str, bool]:
    """The text that was measured, and whether it is labelled as a kernel command line; empty when the digest is that of another text.

    GRUB measures what stands behind its prefix, with or without a NUL; systemd-stub measures UTF-16.
    """
    for prefix in (*_PREFIXES, b""):
        text = data[len(prefix) :].rstrip(b"\0")
        if data.startswith(prefix) and digest in (hashlib.new(name, text).digest(), hashlib.new(name, text + b"\0").digest()):
            return text.decode("utf-8", "backslashreplace"), prefix in _KERNEL_PREFIXES
    wide = _wide(data, digest, name)
    return wide, bool(wide)


def _wide(data: bytes, digest: bytes, name: str) -> str:
    if len(data) % 2 == 0 and data[1:2] == b"\0" and hashlib.new(name, data).digest() == digest:
        return data.decode("utf-16-le", "backslashreplace").rstrip("\0")
    return ""


def _texts(text: bytes) -> set[bytes]:
    return {hashlib.new(bank.value, text + end).digest() for bank in BANKS.values() for end in (b"", b"\0")}


class _UnclearError(Exception):
    """PCR 7 does not say what the state of Secure Boot is; the text says why."""


def _secure_boot(boot: Boot, events: tuple[Event, ...]) -> None:
    """The state of Secure Boot and of firmware debugging. Any surprise in PCR 7 makes the state unknown, with the surprise named."""
    if 7 not in boot.explained:
        boot.secure_boot_note = "PCR 7 is not quoted"
        return
    measured = {digest for event in events for digest in event.digests.values()}
    boot.debug = Debug.ON if measured & _texts(_DEBUG_MODE) else Debug.OFF  # by digest: a type could be relabelled
    boot.dma_protection_disabled = bool(measured & _texts(_DMA))
    try:
        on = _state(boot, events)
    except (_UnclearError, AttestError) as unclear:
        boot.secure_boot_note = str(unclear)
        return
    boot.secure_boot = SecureBoot.ON if on else SecureBoot.OFF
    boot.secure_boot_note = ""


def _state(boot: Boot, events: tuple[Event, ...]) -> bool:
    variables: dict[str, bytes] = {}
    separated = False
    for event in events:
        if event.type == EventType.SEPARATOR:
            separated = True
        elif event.type == EventType.EFI_VARIABLE_DRIVER_CONFIG:
            variable = parse_variable(event.data, event.where)
            if separated or variable.name in variables:
                raise _UnclearError(f"{event.where}: variable {variable.name} after the separator, or again")
            expected = SECURITY_DATABASE if variable.name in ("db", "dbx", "dbt", "dbr") else GLOBAL
            if variable.guid != expected:
                raise _UnclearError(f"{event.where}: variable {variable.name} of another vendor")
            variables[variable.name] = variable.content
        elif event.type == EventType.EFI_VARIABLE_AUTHORITY:
            variable = parse_variable(event.data, event.where, exact=False)  # old versions of shim log bytes behind it
            owned = variable.guid == SECURITY_DATABASE and not variable.content.startswith(_SEQUENCE)  # they leave out the owner, too
            payload = variable.content[16:] if owned else variable.content
            boot.authorities.add(f"{variable.name}:{sha256(payload).hex()}")
        elif event.type == EventType.EFI_ACTION and event.data.rstrip(b"\0") == _DMA:
            continue
        else:
            raise _UnclearError(f"{event.where}: unexpected {type_name(event.type)}")
    if not separated:
        raise _UnclearError("PCR 7 has no separator")
    boot.forbidden_digest = sha256(variables["dbx"]).hex() if "dbx" in variables else ""
    boot.forbidden_entries = signature_entries(variables.get("dbx", b""), "dbx")
    state = variables.get("SecureBoot", b"")
    if state not in (b"\0", b"\1"):
        raise _UnclearError(f"variable SecureBoot is {state[:8].hex() or 'empty or missing'}")
    if state == b"\1":
        missing = [name for name in ("PK", "KEK", "db") if not variables.get(name)]
        if missing or not boot.authorities:
            raise _UnclearError(f"Secure Boot is on without {', '.join(missing) or 'an authority that was used'}")
    return state == b"\1"


def early_applications(log: EventLog, explained: frozenset[int]) -> bool:
    """Whether PCR 4 has an EFI application from before the firmware announced that it starts the boot loader."""
    announced = False
    for event in extending(log):
        if event.pcr != 4 or 4 not in explained:
            continue
        announced = announced or (event.type == EventType.EFI_ACTION and event.data.startswith(_BOOT_OPTION))
        if event.type == EventType.EFI_BOOT_SERVICES_APPLICATION and not announced:
            return True
    return False
