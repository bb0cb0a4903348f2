"""What a verified TPM says, in the vocabulary that policies use.

Values of PCRs, programs and command lines are a policy's business; nothing here refuses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from attest.evidence import ClaimEnum, ClaimInfo, Claims, Debug, EventLogState, Revocation
from attest.kinds.tpm.algorithm import BANKS, SIZES, Algorithm, PcrBank
from attest.kinds.tpm.firmware import Boot, SecureBoot
from attest.kinds.tpm.identity import Hierarchy, Identity, KeyTrust, ResidentKey
from attest.kinds.tpm.ima import IMA_PCR, ImaList
from attest.kinds.tpm.pcrs import QuotedPcrs
from attest.kinds.tpm.public import Attribute, Public
from attest.kinds.tpm.report import Quote, bank_of

_PROFILE: Final = "TCG PC Client Platform Firmware Profile 1.06"
_USES: Final = (
    "firmware code",
    "firmware configuration",
    "option ROMs",
    "option ROM configuration",
    "boot loader and EFI applications",
    "partition table and boot configuration",
    "vendor's use",
    "Secure Boot state",
    "GRUB commands and kernel command line",
    "files that the boot loader read",
    "IMA",
    "unified kernel image and boot phases",
    "kernel command line and credentials",
    "system extensions",
    "shim's keys",
    "machine identity",
    "debugging; software can reset it",
    "dynamic launch",
    "dynamic launch",
    "dynamic launch",
    "dynamic launch",
    "dynamic launch",
    "dynamic launch",
    "applications; software can reset it",
)


class Ima(ClaimEnum):
    """Whether a Linux IMA list came with the evidence; one that does not fit the quote ends the verification."""

    REPLAYED = "replayed"
    ABSENT = "absent"


def _pcr(index: int) -> ClaimInfo:
    return ClaimInfo(f"PCR {index} ({_USES[index]}); empty when it is not quoted", where="quote, pcrDigest")


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmClaims(Claims):
    """Claims of one TPM. Digests are lower-case hex of the bank that ``pcr_bank`` names."""

    debug: Annotated[Debug, ClaimInfo("Whether firmware debugging is on; unknown without an event log", where="event log, PCR 7")]
    device_id: Annotated[
        str, ClaimInfo("Identity of the TPM: its endorsement certificate, or else its attestation key", where="trust store, ak")
    ]
    key_trust: Annotated[KeyTrust, ClaimInfo("Why the attestation key is believed to be in a TPM", where="trust store, ak-certificates")]
    enrolled_as: Annotated[str, ClaimInfo("Label of the enrolment; empty without one", where="trust store")]
    endorsement_verified: Annotated[
        bool, ClaimInfo("The key was bound to a verified endorsement certificate at enrolment", where="trust store")
    ]
    ak_name: Annotated[str, ClaimInfo("Name of the attestation key", where="ak", vendor="TPM2B_NAME")]
    certified_by: Annotated[
        str, ClaimInfo("Common name of the pinned root over the key's certificate; empty without one", where="ak-certificates")
    ]
    hierarchy: Annotated[
        Hierarchy,
        ClaimInfo(
            "Hierarchy of the attestation key; counters are claims only in the endorsement hierarchy",
            where="quote 0x006",
            vendor="qualifiedSigner",
        ),
    ]
    reset_count: Annotated[
        str,
        ClaimInfo(
            "Resets of the TPM, decimal; empty when obfuscated or not known to be true", where="quote, clockInfo", vendor="resetCount"
        ),
    ]
    restart_count: Annotated[
        str, ClaimInfo("Restarts since the last reset, decimal; empty as reset_count", where="quote, clockInfo", vendor="restartCount")
    ]
    firmware_version: Annotated[
        str, ClaimInfo("Firmware of the TPM, 16 hex digits; empty as reset_count", where="quote, firmwareVersion", vendor="firmwareVersion")
    ]
    clock_safe: Annotated[
        bool, ClaimInfo("The TPM's clock has not gone back; false for a while after a start", where="quote, clockInfo", vendor="safe")
    ]

    pcr_bank: Annotated[PcrBank, ClaimInfo("Bank of the PCR values: the strongest that is quoted", where="quote, pcrSelect")]
    pcr0: Annotated[str, _pcr(0)]
    pcr1: Annotated[str, _pcr(1)]
    pcr2: Annotated[str, _pcr(2)]
    pcr3: Annotated[str, _pcr(3)]
    pcr4: Annotated[str, _pcr(4)]
    pcr5: Annotated[str, _pcr(5)]
    pcr6: Annotated[str, _pcr(6)]
    pcr7: Annotated[str, _pcr(7)]
    pcr8: Annotated[str, _pcr(8)]
    pcr9: Annotated[str, _pcr(9)]
    pcr10: Annotated[str, _pcr(10)]
    pcr11: Annotated[str, _pcr(11)]
    pcr12: Annotated[str, _pcr(12)]
    pcr13: Annotated[str, _pcr(13)]
    pcr14: Annotated[str, _pcr(14)]
    pcr15: Annotated[str, _pcr(15)]
    pcr16: Annotated[str, _pcr(16)]
    pcr17: Annotated[str, _pcr(17)]
    pcr18: Annotated[str, _pcr(18)]
    pcr19: Annotated[str, _pcr(19)]
    pcr20: Annotated[str, _pcr(20)]
    pcr21: Annotated[str, _pcr(21)]
    pcr22: Annotated[str, _pcr(22)]
    pcr23: Annotated[str, _pcr(23)]
    blank_pcrs: Annotated[
        frozenset[str],
        ClaimInfo("Quoted PCRs whose bytes are all zero or all ones: nothing was measured into them", where="quote, pcrDigest"),
    ]

    event_log: Annotated[EventLogState, ClaimInfo("Firmware event log that replays to the quoted PCRs", where="event-log")]
    explained_pcrs: Annotated[frozenset[str], ClaimInfo("Quoted PCRs whose value the event log gives", where="event-log")]
    unexplained_pcrs: Annotated[
        frozenset[str], ClaimInfo("Quoted PCRs that neither event log nor IMA list explains", where="event-log, ima")
    ]
    unknown_events: Annotated[int, ClaimInfo("Events of explained PCRs whose type is in no specification", where="event-log")]
    secure_boot: Annotated[SecureBoot, ClaimInfo("UEFI Secure Boot", where=_PROFILE + ", PCR 7")]
    secure_boot_note: Annotated[str, ClaimInfo("Why the state of Secure Boot is unknown; empty when it is known", where="event log, PCR 7")]
    secure_boot_authorities: Annotated[
        frozenset[str], ClaimInfo("What allowed a program: variable, colon, SHA-256 of the certificate or entry", where="event log, PCR 7")
    ]
    forbidden_digest: Annotated[
        str, ClaimInfo("SHA-256 of the list of forbidden signatures (dbx); empty when there is none", where="event log, PCR 7")
    ]
    forbidden_entries: Annotated[int, ClaimInfo("Entries in the list of forbidden signatures (dbx)", where="event log, PCR 7")]
    dma_protection_disabled: Annotated[bool, ClaimInfo("Firmware measured that DMA protection is off", where="event log, PCR 7")]
    early_applications: Annotated[bool, ClaimInfo("A program ran before the firmware started the boot loader", where="event log, PCR 4")]
    boot_applications: Annotated[
        frozenset[str],
        ClaimInfo("Every program measured into PCR 4: boot loader, shim, kernel (Authenticode digests)", where="event log, PCR 4"),
    ]
    boot_drivers: Annotated[frozenset[str], ClaimInfo("Everything measured into PCR 2: option ROMs, drivers", where="event log, PCR 2")]
    boot_files: Annotated[
        frozenset[str], ClaimInfo("Everything measured into PCR 9: kernel, initial RAM disk, modules", where="event log, PCR 9")
    ]
    boot_commands: Annotated[
        frozenset[str],
        ClaimInfo(
            "Every text measured into PCRs 8 and 12; the digest where the log does not show the text", where="event log, PCRs 8 and 12"
        ),
    ]
    kernel_command_lines: Annotated[
        frozenset[str],
        ClaimInfo(
            "Those of boot_commands that the log labels as kernel command lines; labels are not measured", where="event log, PCRs 8, 9, 12"
        ),
    ]

    ima: Annotated[Ima, ClaimInfo("IMA list that replays to the quoted PCR 10", where="ima")]
    ima_entries: Annotated[int, ClaimInfo("Entries that the quote attests", where="ima")]
    ima_unattested: Annotated[int, ClaimInfo("Entries behind them, which nothing attests", where="ima")]
    ima_violations: Annotated[int, ClaimInfo("Attested entries that are violations", where="ima")]
    ima_digests: Annotated[frozenset[str], ClaimInfo("Digests of all attested files, with their algorithm", where="ima")]

    recipient_resident: Annotated[
        bool, ClaimInfo("The attestation key certifies a recipient key that cannot leave this TPM", where="certification")
    ]
    recipient_name: Annotated[str, ClaimInfo("Name of that key; empty without one", where="recipient", vendor="TPM2B_NAME")]
    recipient_pcrs: Annotated[
        frozenset[str],
        ClaimInfo(
            "PCRs of pcr_bank without whose quoted values the TPM does not use that key",
            where="recipient, authPolicy",
            vendor="TPM2_PolicyPCR",
        ),
    ]
    recipient_password: Annotated[
        bool, ClaimInfo("An authorisation value is enough to use that key, whatever was booted", where="recipient", vendor="userWithAuth")
    ]


def claims_of(
    *,
    quote: Quote,
    ak: Public,
    identity: Identity,
    pcrs: QuotedPcrs,
    boot: Boot,
    log: bool,
    ima: ImaList | None,
    resident: ResidentKey | None,
    simulated: bool,
) -> TpmClaims:
    """The claims of verified evidence; ``log`` says whether it came with an event log that has events."""
    bank = bank_of(quote.selections).bank
    values = pcrs.banks[bank]
    size = SIZES[Algorithm(bank)]
    plain = identity.hierarchy is Hierarchy.ENDORSEMENT
    enrolment = identity.enrolment
    statement = quote.statement
    explained = boot.explained | ({IMA_PCR} if ima is not None else frozenset())
    entries = ima.attested if ima is not None else ()
    bound = resident.pcrs if resident is not None else None
    hexes = {f"pcr{index}": values[index].hex() if index in values else "" for index in range(24)}
    return TpmClaims(
        debug=boot.debug,
        simulated=simulated,
        revocation=Revocation.GOOD if enrolment is not None else Revocation.UNKNOWN,
        device_id=enrolment.ek_certificate if enrolment is not None and enrolment.ek_certificate else ak.name.hex(),
        key_trust=identity.trust,
        enrolled_as=enrolment.label if enrolment is not None else "",
        endorsement_verified=enrolment is not None and bool(enrolment.ek_certificate),
        ak_name=ak.name.hex(),
        certified_by=identity.chain.anchor.name if identity.chain is not None else "",
        hierarchy=identity.hierarchy,
        reset_count=str(statement.reset_count) if plain else "",
        restart_count=str(statement.restart_count) if plain else "",
        firmware_version=f"{statement.firmware:016x}" if plain else "",
        clock_safe=statement.safe,
        pcr_bank=BANKS[Algorithm(bank)],
        **hexes,
        blank_pcrs=frozenset(str(pcr) for pcr, value in values.items() if value in (bytes(size), b"\xff" * size)),
        event_log=EventLogState.REPLAYED if log else EventLogState.ABSENT,
        explained_pcrs=frozenset(map(str, boot.explained)),
        unexplained_pcrs=frozenset(str(pcr) for pcr in values if pcr not in explained),
        unknown_events=len(boot.unknown_events),
        secure_boot=boot.secure_boot,
        secure_boot_note=boot.secure_boot_note,
        secure_boot_authorities=frozenset(boot.authorities),
        forbidden_digest=boot.forbidden_digest,
        forbidden_entries=boot.forbidden_entries,
        dma_protection_disabled=boot.dma_protection_disabled,
        early_applications=boot.early_applications,
        boot_applications=frozenset(boot.applications),
        boot_drivers=frozenset(boot.drivers),
        boot_files=frozenset(boot.files),
        boot_commands=frozenset(boot.commands),
        kernel_command_lines=frozenset(boot.command_lines),
        ima=Ima.REPLAYED if ima is not None else Ima.ABSENT,
        ima_entries=len(entries),
        ima_unattested=ima.behind if ima is not None else 0,
        ima_violations=sum(entry.violation for entry in entries),
        ima_digests=frozenset(entry.digest for entry in entries),
        recipient_resident=resident is not None,
        recipient_name=resident.public.name.hex() if resident is not None else "",
        recipient_pcrs=frozenset(map(str, bound.pcrs)) if bound is not None and bound.bank == bank else frozenset(),
        recipient_password=resident is not None and Attribute.USER_WITH_AUTH in resident.public.attributes,
    )
