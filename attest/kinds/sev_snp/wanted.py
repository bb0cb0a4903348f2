"""What AMD's key distribution service has for a report that the bundle does not carry: endorsement, issuers, CRL."""

from __future__ import annotations

from collections.abc import Iterator

from attest.evidence import Collateral, CollateralType, Evidence, Wanted
from attest.kinds.sev_snp import kds
from attest.kinds.sev_snp.certificates import read
from attest.kinds.sev_snp.product import ProductLine, line_of_model
from attest.kinds.sev_snp.report import AmdSigningKey, SnpReport, parse, where
from attest.pki import load_amd_leaf
from attest.wire import pem_blocks


def wanted(evidence: Evidence, collateral: Collateral) -> tuple[Wanted, ...]:
    """See :class:`attest.evidence.Kind`. A VLEK is wanted from nobody: the cloud provider alone has it."""
    report = parse(evidence.part("report"))
    line = _line(evidence, report)
    if line is None:
        return ()
    have = {(item.type, item.name) for item in collateral.items}
    return tuple(piece for piece in _pieces(evidence, report, line) if (piece.type, piece.name) not in have)


def _pieces(evidence: Evidence, report: SnpReport, line: ProductLine) -> Iterator[Wanted]:
    kind = report.signing_key
    name = f"{kind.value}-{line.name.lower()}"
    if "certificates" not in evidence.parts and kind is AmdSigningKey.VCEK and any(report.chip_id):
        path = kds.vcek_path(line, report.chip_id, line.layout.decode(report.reported_tcb, where("reported_tcb")))
        own = f"{name}-{report.chip_id[:8].hex()}-{report.reported_tcb[::-1].hex()}"
        yield Wanted(CollateralType.CERTIFICATES, own, kds.HOST, path, form="der-certificate")
    sent = len(pem_blocks(evidence.part("certificates"), "CERTIFICATE", "certificates", most=3)) if "certificates" in evidence.parts else 0
    if sent < 3:
        yield Wanted(CollateralType.CERTIFICATES, f"{name}-chain", kds.HOST, kds.chain_path(line, kind))
    yield Wanted(CollateralType.CRL, f"{name}-crl", kds.HOST, kds.crl_path(line, kind))


def _line(evidence: Evidence, report: SnpReport) -> ProductLine | None:
    """The product line: from the report, or (version 2) from what the endorsement says."""
    if report.version >= 3:
        return line_of_model(report.family, report.model)
    if "certificates" not in evidence.parts:
        return None
    der = pem_blocks(evidence.part("certificates"), "CERTIFICATE", "certificates", most=3)[0]
    return read(load_amd_leaf(der)).line
