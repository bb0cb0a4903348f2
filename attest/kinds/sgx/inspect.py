"""An unverified SGX quote in readable form."""

from __future__ import annotations

from collections.abc import Mapping

from attest.dcap.checks import TEE
from attest.dcap.quote import Tee, parse, parse_report
from attest.dcap.readable import describe
from attest.evidence import Evidence
from attest.kinds.sgx.claims import Attribute


def inspect(evidence: Evidence) -> Mapping[str, str]:
    """Field name to readable value, of a quote that nothing vouches for yet. Raises MalformedError."""
    quote = parse(evidence.part("quote"))
    if quote.tee is not Tee.SGX:
        raise TEE.failure(where="quote offset 0x004", found=quote.tee.name, expected=Tee.SGX.name)
    report = parse_report(quote.body, "report body")
    names = ", ".join(str(bit.name) for bit in Attribute if report.attributes & bit)
    return {
        **describe(quote, evidence.parts.get("certificates")),
        "CPUSVN": report.cpu_svn.hex(),
        "MISCSELECT": f"0x{report.misc_select:08x}",
        "ATTRIBUTES": f"0x{report.attributes:016x} {names}",
        "XFRM": f"0x{report.xfrm:016x}",
        "MRENCLAVE": report.mr_enclave.hex(),
        "MRSIGNER": report.mr_signer.hex(),
        "ISVPRODID and ISVSVN": f"{report.isv_prod_id}, {report.isv_svn}",
        "CONFIGID": report.config_id.hex(),
        "CONFIGSVN": str(report.config_svn),
        "ISVEXTPRODID": report.isv_ext_prod_id.hex(),
        "ISVFAMILYID": report.isv_family_id.hex(),
        "REPORTDATA": report.report_data.hex(),
    }
