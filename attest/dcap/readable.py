"""A quote's header and certification in readable form, for people. Nothing here is verified."""

from __future__ import annotations

from collections.abc import Mapping

from attest import limits
from attest.dcap.pck import read_platform
from attest.dcap.quote import Quote
from attest.pki import load_certificates
from attest.pki.certificate import common_name
from attest.wire import format_time


def describe(quote: Quote, certificates: bytes | None) -> Mapping[str, str]:
    """Field name to readable value. Raises MalformedError for certificates that cannot be read."""
    fields = {
        "version": str(quote.version),
        "TEE": quote.tee.name,
        "QE SVN and PCE SVN": f"{quote.qe_svn}, {quote.pce_svn}",
        "user data": quote.user_data.hex(),
        "certification": f"type {int(quote.certification.type)} ({quote.certification.type.name})",
        "QE MRSIGNER": quote.qe_report.mr_signer.hex(),
        "QE ISVPRODID and ISVSVN": f"{quote.qe_report.isv_prod_id}, {quote.qe_report.isv_svn}",
        "QE authentication data": f"{len(quote.qe_auth)} bytes",
        "bytes after the quote": str(quote.trailing),
    }
    pem = certificates if certificates is not None else quote.certification.pem
    if not pem:
        return fields
    chain = load_certificates(pem, "PCK chain", most=limits.MAX_CHAIN_LENGTH)
    platform = read_platform(chain[0])
    return {
        **fields,
        "PCK chain": ", ".join(common_name(certificate.subject) for certificate in chain),
        "PCK not after": format_time(chain[0].not_valid_after_utc),
        "FMSPC": platform.fmspc.hex().upper(),
        "PCE id": platform.pce_id.hex().upper(),
        "PPID": platform.ppid.hex(),
        "platform instance": platform.instance_id.hex() or "none",
        "platform type": platform.type.value,
        "SGX TCB components": " ".join(str(svn) for svn in platform.components),
        "PCE SVN of the PCK": str(platform.pce_svn),
    }
