"""Verify a TDX quote: the DCAP core, the TD report's own form, the event log, and on Azure the paravisor's runtime data."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from attest.checks import Check, Checklist, CheckResult, Status
from attest.crypto import sha384
from attest.dcap.checks import DCAP_CHECKS, TDX_CHECKS
from attest.dcap.quote import Tee, parse
from attest.dcap.verify import verify_quote
from attest.evidence import Collateral, Evidence, Verified, conclude
from attest.kinds.tdx.azure import RUNTIME_DATA, read_runtime_data
from attest.kinds.tdx.claims import TdxClaims, claims_of
from attest.kinds.tdx.event_log import FORM as EVENT_LOG_FORM
from attest.kinds.tdx.event_log import EventLog, read_event_log
from attest.kinds.tdx.report import TD_ATTRIBUTES, XFAM, parse_body
from attest.trust import TrustStore

NAME: Final = "tdx"

EVENT_LOG: Final = Check(
    "tdx.event-log",
    "event log and RTMR0 to RTMR2",
    "TCG PC Client Platform Firmware Profile 1.06, section 10; UEFI 2.10 section 38.4.1",
    fix="send the log of this boot, complete: what it lists must give the registers of the quote",
)
RTMR3: Final = Check(
    "tdx.rtmr3",
    "extensions of RTMR3",
    "Linux and containers extend RTMR3 at run time: no log of the firmware lists what",
    limitation=True,
)

CHECKS: Final = (*DCAP_CHECKS, *TDX_CHECKS, TD_ATTRIBUTES, XFAM, EVENT_LOG_FORM, EVENT_LOG, RUNTIME_DATA, RTMR3)

_RTMR3: Final = (
    CheckResult(RTMR3, Status.NOT_CHECKED, "the register is a claim as it stands; what went into it is known to the guest alone"),
)
_NO_LOG: Final = (
    CheckResult(EVENT_LOG_FORM, Status.PASSED, "no log"),
    CheckResult(EVENT_LOG, Status.PASSED, "no log: a policy can demand one, or the registers themselves"),
)
_NO_RUNTIME_DATA: Final = (CheckResult(RUNTIME_DATA, Status.PASSED, "none: REPORTDATA is the guest's own"),)


def statement(evidence: Evidence) -> bytes:
    """SHA-384 over header and body: the same for both signatures (r, s) and (r, n-s). Raises MalformedError."""
    return sha384(parse(evidence.part("quote")).signed)


def verify(evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[TdxClaims]:
    """Verify one guest at ``at``. Raises AttestError whose reasons name the failed check."""
    with Checklist(evidence.label, CHECKS) as checklist:
        verified = verify_quote(
            evidence.part("quote"),
            tee=Tee.TDX,
            certificates=evidence.parts.get("certificates"),
            trust=trust,
            collateral=collateral,
            at=at,
            checklist=checklist,
        )
        report = parse_body(verified.quote.body, verified.quote.body_type)
        checklist.passed(TD_ATTRIBUTES, f"0x{report.attributes:016x}")
        checklist.passed(XFAM, f"0x{report.xfam:016x}")
        log = _event_log(evidence, report.rtmr, checklist)
        runtime = None
        if "runtime-data" in evidence.parts:
            runtime = read_runtime_data(evidence.parts["runtime-data"], report.report_data)
            checklist.passed(RUNTIME_DATA, "REPORTDATA is that of the paravisor: the guest speaks through user-data")
        else:
            checklist.adopt(_NO_RUNTIME_DATA)
        return conclude(
            evidence,
            claims_of(verified, report, log=log, runtime=runtime, simulated=trust.simulated, at=at),
            checklist=checklist,
            statement=sha384(verified.quote.signed),
            freshness=runtime.user_data if runtime else report.report_data,
            chain=verified.chain,
            trust=trust,
            collateral=verified.collateral,
            at=at,
            valid_until=verified.valid_until,
        )


def _event_log(evidence: Evidence, rtmr: tuple[bytes, bytes, bytes, bytes], checklist: Checklist) -> EventLog | None:
    """The log, when there is one, must give the first three registers."""
    checklist.adopt(_RTMR3)
    if "event-log" not in evidence.parts:
        checklist.adopt(_NO_LOG)
        return None
    log = read_event_log(evidence.parts["event-log"])
    checklist.passed(EVENT_LOG_FORM)
    for index in range(3):
        EVENT_LOG.require(
            log.registers[index] == rtmr[index],
            where=f"RTMR{index}",
            found=f"{log.registers[index].hex()} by the log",
            expected=f"{rtmr[index].hex()} in the quote",
        )
    checklist.passed(EVENT_LOG, f"{len(log.events)} records")
    return log
