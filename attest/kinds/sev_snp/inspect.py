"""An *unverified* report, field by field, for people."""

from __future__ import annotations

from collections.abc import Mapping

from attest.errors import AttestError
from attest.evidence import Evidence
from attest.kinds.sev_snp.certificates import read
from attest.kinds.sev_snp.claims import bits_of, significant_chip_id, version_text
from attest.kinds.sev_snp.product import ProductLine, line_of_model
from attest.kinds.sev_snp.report import PlatformBit, PolicyBit, SnpReport, parse, where
from attest.pki import load_amd_leaf
from attest.wire import pem_blocks


def inspect(evidence: Evidence) -> Mapping[str, str]:
    """Field name to readable value, in the order of the bytes. Raises MalformedError."""
    report = parse(evidence.part("report"))
    certificate = _certificate(evidence)
    line = line_of_model(report.family, report.model) or (_line_of(evidence) if report.version < 3 else None)
    policy = PolicyBit(report.policy & ~0xFFFF & ~PolicyBit.ALWAYS_ONE)
    return {
        "version": str(report.version),
        "guest SVN": str(report.guest_svn),
        "policy": f"0x{report.policy:x}: ABI {report.policy >> 8 & 0xFF}.{report.policy & 0xFF} or later, {_flags(policy)}",
        "debugging": "ALLOWED" if PolicyBit.DEBUG_ALLOWED in policy else "off",
        "family ID": report.family_id.hex(),
        "image ID": report.image_id.hex(),
        "VMPL": str(report.vmpl),
        "current TCB": _tcb(report, "current_tcb", line),
        "platform": f"0x{report.platform_info:x}: {_flags(PlatformBit(report.platform_info))}",
        "signing key": report.signing_key.value.upper(),
        "author key": "yes" if report.author_key_enabled else "no",
        "report data": report.report_data.hex(),
        "measurement": report.measurement.hex(),
        "host data": report.host_data.hex(),
        "ID key digest": report.id_key_digest.hex(),
        "author key digest": report.author_key_digest.hex(),
        "report ID": report.report_id.hex(),
        "migration agent": report.report_id_ma.hex() if any(byte != 0xFF for byte in report.report_id_ma) else "none",
        "reported TCB": _tcb(report, "reported_tcb", line),
        "processor": _processor(report, line),
        "chip ID": (significant_chip_id(report, line) if line else report.chip_id).hex() if any(report.chip_id) else "masked",
        "committed TCB": _tcb(report, "committed_tcb", line),
        "current firmware": version_text(report.current_firmware),
        "committed firmware": version_text(report.committed_firmware),
        "launch TCB": _tcb(report, "launch_tcb", line),
        "mitigations at launch": _bits(report, report.launch_mitigations),
        "mitigations now": _bits(report, report.current_mitigations),
        "certificate": certificate,
    }


def _flags(flags: PolicyBit | PlatformBit) -> str:
    return ", ".join((item.name or "").lower() for item in flags) or "no flags"


def _bits(report: SnpReport, vector: int) -> str:
    if report.version < 5:
        return "not in this version"
    return ", ".join(sorted(bits_of(vector), key=int)) or "none"


def _tcb(report: SnpReport, name: str, line: ProductLine | None) -> str:
    raw: bytes = getattr(report, name)
    number = f"0x{int.from_bytes(raw, 'little'):016x}"
    if line is None:
        return f"{number} (layout depends on the processor, which a version {report.version} report does not say)"
    return f"{number}: {line.layout.decode(raw, where(name)).text(line.layout.components)}"


def _processor(report: SnpReport, line: ProductLine | None) -> str:
    name = line.name if line else "unknown"
    if report.version < 3:
        return f"{name}, as the certificate says" if line else "not in this version"
    return f"{name} (family 0x{report.family:02x} model 0x{report.model:02x} stepping 0x{report.stepping:02x})"


def _line_of(evidence: Evidence) -> ProductLine | None:
    if "certificates" not in evidence.parts:
        return None
    return read(load_amd_leaf(pem_blocks(evidence.part("certificates"), "CERTIFICATE", "certificates", most=3)[0])).line


def _certificate(evidence: Evidence) -> str:
    """The endorsement in a few words; what cannot be read is said, because somebody inspects to find that out."""
    if "certificates" not in evidence.parts:
        return "none"
    try:
        blocks = pem_blocks(evidence.part("certificates"), "CERTIFICATE", "certificates", most=3)
        endorsement = read(load_amd_leaf(blocks[0]))
    except AttestError as error:
        return f"unreadable: {error}"
    owner = f"chip {endorsement.hwid.hex()}" if endorsement.hwid else f"provider {endorsement.csp_id}"
    until = endorsement.certificate.not_valid_after_utc
    return (
        f"{endorsement.kind.value.upper()} for {endorsement.line.name}, {owner}, "
        f"{endorsement.tcb.text(endorsement.layout.components)}, until {until:%Y-%m-%d}"
    )
