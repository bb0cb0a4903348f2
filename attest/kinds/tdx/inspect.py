"""An unverified TDX quote in readable form."""

from __future__ import annotations

from collections.abc import Mapping

from attest.dcap.checks import TEE
from attest.dcap.quote import Tee, parse
from attest.dcap.readable import describe
from attest.evidence import Evidence
from attest.kinds.tdx.event_log import read_event_log
from attest.kinds.tdx.report import XFAM_FEATURES, Attribute, parse_body


def inspect(evidence: Evidence) -> Mapping[str, str]:
    """Field name to readable value, of a quote that nothing vouches for yet. Raises MalformedError."""
    quote = parse(evidence.part("quote"))
    if quote.tee is not Tee.TDX:
        raise TEE.failure(where="quote offset 0x004", found=quote.tee.name, expected=Tee.TDX.name)
    report = parse_body(quote.body, quote.body_type)
    fields = {
        **describe(quote, evidence.parts.get("certificates")),
        "body": report.body.value,
        "TEE_TCB_SVN": report.tee_tcb_svn.hex(),
        "TEE_TCB_SVN2": report.tee_tcb_svn2.hex() or "not in this body",
        "ATTRIBUTES": f"0x{report.attributes:016x} {', '.join(str(bit.name) for bit in Attribute(report.attributes)) or 'none'}",
        "XFAM": f"0x{report.xfam:016x} {', '.join(name for bit, name in XFAM_FEATURES.items() if report.xfam >> bit & 1)}",
        "MRSEAM": report.mr_seam.hex(),
        "MRSIGNERSEAM": report.mr_signer_seam.hex(),
        "MRTD": report.mr_td.hex(),
        "MRCONFIGID": report.mr_config_id.hex(),
        "MROWNER": report.mr_owner.hex(),
        "MROWNERCONFIG": report.mr_owner_config.hex(),
        **{f"RTMR{index}": value.hex() for index, value in enumerate(report.rtmr)},
        "MRSERVICETD": report.mr_service_td.hex() or "not in this body",
        "REPORTDATA": report.report_data.hex(),
    }
    if "event-log" in evidence.parts:
        log = read_event_log(evidence.parts["event-log"])
        for index, value in enumerate(log.registers):
            verdict = "as in the quote" if value == report.rtmr[index] else "another than in the quote"
            fields[f"event log, RTMR{index}"] = f"{value.hex()} ({verdict})"
    return fields
