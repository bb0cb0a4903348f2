"""Verify a SEV-SNP report: its form, its endorsement chain to the pinned root of its product, its signature, and that the three agree.

The steps are numbered as docs/checks.md lists them. Policy (debugging, TCB floors, measurements) is not judged here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from attest.checks import Check, Checklist
from attest.crypto import sha384, verify_p384
from attest.errors import AttestError, Outcome
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence, Revocation, Verified, conclude
from attest.kinds.sev_snp import kds
from attest.kinds.sev_snp.certificates import EXTENSIONS, STRUCT_VERSION, Endorsement
from attest.kinds.sev_snp.claims import SnpClaims, TcbSet, claims_of, significant_chip_id, version_text
from attest.kinds.sev_snp.material import FORM, ISSUERS, LEAF, gather, issuers
from attest.kinds.sev_snp.product import TCB_FORM, AmdProduct, ProductLine, line_of_model
from attest.kinds.sev_snp.report import REPORT_CHECKS, SIGNED, AmdSigningKey, SnpReport, parse, where
from attest.pki import RevocationAnswer, VerifiedChain, check_crl, verify_amd_chain
from attest.pki.crl import ISSUER as CRL_ISSUER
from attest.trust import TrustStore

_REPORT: Final = "AMD 56860 rev 1.58 table 23 (ATTESTATION_REPORT)"
_CERTIFICATE: Final = "AMD 57230 (Versioned Chip Endorsement Key Certificate and KDS Interface)"

LEAF_KIND: Final = Check(
    "sev-snp.leaf-kind",
    "kind of endorsement certificate",
    _REPORT + ", SIGNING_KEY",
    fix="send the certificate of the key that signed: VCEK or VLEK, as SIGNING_KEY says",
)
PRODUCT: Final = Check(
    "sev-snp.product",
    "product line of report and certificate",
    _REPORT + ", CPUID_FAM_ID and CPUID_MOD_ID; " + _CERTIFICATE + ", productName",
    fix="use the certificates of this processor's product line; lines without published data are refused",
)
CHAIN: Final = Check(
    "sev-snp.chain",
    "endorsement certificate chain",
    _CERTIFICATE,
    fix="use the chain that AMD's key distribution service gives for this product",
)
SIGNATURE: Final = Check(
    "sev-snp.signature",
    "signature of the report",
    _REPORT + ", SIGNATURE",
    fix="the report is altered, or the certificate is that of another chip or TCB: collect both again",
)
CHIP: Final = Check(
    "sev-snp.chip",
    "chip of report and certificate",
    _REPORT + ", CHIP_ID; " + _CERTIFICATE + ", hwID",
    fix="use the VCEK of the chip that made the report",
)
TCB: Final = Check(
    "sev-snp.tcb",
    "TCB of report and certificate",
    _REPORT + ", REPORTED_TCB; " + _CERTIFICATE + ", SPL extensions",
    fix="use the VCEK or VLEK for the report's REPORTED_TCB",
)
TCB_ORDER: Final = Check(
    "sev-snp.tcb-order",
    "order of the TCB versions",
    _REPORT + ", REPORTED_TCB, COMMITTED_TCB and CURRENT_TCB",
    fix="no firmware commits or reports more than it runs: do not trust this report",
)
REVOCATION: Final = Check(
    "sev-snp.revocation",
    "revocation of the endorsement chain",
    _CERTIFICATE + ", CRL; RFC 5280 section 6.3",
    fix="fetch the current CRL of the ARK: attest collateral fetch",
)
LEAF_REVOCATION: Final = Check(
    "sev-snp.leaf-revocation",
    "revocation of the VCEK or VLEK itself",
    "AMD revokes by TCB: every leaf has serial number 0, and a CRL of the ARK lists only what the ARK issued",
    limitation=True,
)
ID_BLOCK: Final = Check(
    "sev-snp.id-block",
    "signatures of ID block and author key",
    "AMD 56860 rev 1.58 (SNP_LAUNCH_FINISH): checked by the firmware at launch, the report has only digests",
    limitation=True,
)

CHECKS: Final = (
    *REPORT_CHECKS, FORM, LEAF, EXTENSIONS, LEAF_KIND, PRODUCT, STRUCT_VERSION, ISSUERS, CHAIN, SIGNATURE, CHIP, TCB_FORM, TCB, TCB_ORDER,
    REVOCATION, LEAF_REVOCATION, ID_BLOCK,
)  # fmt: skip


def statement(evidence: Evidence) -> bytes:
    """SHA-384 over bytes 0..0x29F: the same for both signatures (r, s) and (r, n-s). Raises MalformedError."""
    data = evidence.part("report")
    parse(data)
    return sha384(data[:SIGNED])


def verify(evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[SnpClaims]:
    """Verify one report at ``at``. Raises AttestError whose reasons name the failed check and the device.

    1. form of the report  2. certificates at hand, their extensions  3. kind of key, product line  4. chain to the product's root
    5. signature over the received bytes  6. chip  7. TCB  8. order of TCB versions  9. revocation
    """
    try:
        with Checklist(evidence.label, CHECKS) as checklist:
            return _verify(evidence, checklist, trust=trust, collateral=collateral, at=at)
    except AttestError as error:
        raise error.about(evidence.label) from None


def _verify(evidence: Evidence, checklist: Checklist, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[SnpClaims]:
    data = evidence.part("report")
    report = parse(data)  # (1)
    for check in REPORT_CHECKS:
        checklist.passed(check)
    material = gather(evidence, report, collateral)  # (2)
    endorsement = material.endorsement
    checklist.passed(FORM)
    checklist.passed(LEAF, f"from {material.source}")
    checklist.passed(EXTENSIONS)
    line = _line(report, endorsement, checklist)  # (3)
    anchors = trust.for_role(line.role)  # (4)
    issued = issuers(material, line, anchors)
    checklist.passed(ISSUERS)
    chain = verify_amd_chain(endorsement.certificate, issued.intermediate, issued.root, anchors=anchors, at=at, name=f"{line.name} chain")
    checklist.passed(CHAIN, f"{chain.anchor.name} {chain.anchor.spki_sha256}")
    fingerprints = chain.fingerprints
    verify_p384(chain.leaf.public_key(), report.signature, data[:SIGNED], SIGNATURE, where=where("r"))  # (5)
    checklist.passed(SIGNATURE, f"{endorsement.kind.value.upper()} {fingerprints[0]}")
    _chip(report, line, endorsement, checklist)  # (6)
    tcbs = TcbSet.decode(report, line.layout)  # (7)
    checklist.passed(TCB_FORM)
    _tcb(tcbs, endorsement, line, checklist)
    _order(report, tcbs, checklist)  # (8)
    answers = _revocation(chain, line, endorsement, collateral, checklist, at=at)  # (9)
    checklist.not_checked(LEAF_REVOCATION, "AMD lists no VCEK or VLEK: a TCB floor in the policy takes the place of revocation")
    checklist.not_checked(ID_BLOCK, "the report carries the digests of the keys, not the signatures")
    revocation = Revocation.GOOD if answers else Revocation.UNKNOWN
    return conclude(
        evidence,
        claims_of(report, line=line, tcbs=tcbs, csp_id=endorsement.csp_id, revocation=revocation, simulated=trust.simulated),
        checklist=checklist,
        statement=sha384(data[:SIGNED]),
        freshness=report.report_data,
        chain=fingerprints,
        trust=trust,
        collateral=tuple(dict.fromkeys((*material.items, *issued.items, *(answer.digest for answer in answers)))),
        at=at,
        valid_until=min([chain.not_after, *(answer.next_update for answer in answers)]),
    )


def _line(report: SnpReport, endorsement: Endorsement, checklist: Checklist) -> ProductLine:
    """The product line, by the processor's model; a version 2 report does not say it, and takes that of the certificate."""
    checklist.require(
        LEAF_KIND,
        endorsement.kind is report.signing_key,
        where=where("key_info"),
        found=f"a {endorsement.kind.value.upper()} certificate",
        expected=f"a {report.signing_key.value.upper()} certificate",
    )
    if report.version < 3:
        # Early Turin firmware wrote version 2, which does not say in which of two layouts its TCB versions are.
        PRODUCT.require(
            endorsement.line.product is not AmdProduct.TURIN,
            where=where("version"),
            found="a version 2 report of a Turin processor",
            expected="version 3 or later",
            fix="update the host firmware",
        )
        line = endorsement.line
    else:
        model = f"family 0x{report.family:02x} model 0x{report.model:02x}"
        known = line_of_model(report.family, report.model)
        if known is None:
            raise PRODUCT.failure(where=where("family"), found=model, expected="a Milan, Genoa or Turin processor")
        line = known
        PRODUCT.require(
            endorsement.line is line,
            where="leaf certificate, productName",
            found=endorsement.line.name,
            expected=f"{line.name} ({model})",
        )
    checklist.passed(PRODUCT, line.name)
    checklist.require(
        STRUCT_VERSION,
        endorsement.layout is line.layout,
        where="leaf certificate, structVersion",
        found=str(endorsement.layout.struct_version),
        expected=f"{line.layout.struct_version} on {line.name}",
    )
    return line


def _chip(report: SnpReport, line: ProductLine, endorsement: Endorsement, checklist: Checklist) -> None:
    size = line.chip_id_size
    CHIP.require(
        not any(report.chip_id[size:]), where=where("chip_id"), found="bytes behind the chip identity", expected=f"{size} bytes, then zeros"
    )
    chip_id = significant_chip_id(report, line)
    if endorsement.kind is AmdSigningKey.VLEK:
        checklist.passed(CHIP, f"a VLEK names a provider and no chip: {endorsement.csp_id}")
        return
    CHIP.require(
        len(endorsement.hwid) == size, where="VCEK, hwID", found=f"{len(endorsement.hwid)} bytes", expected=f"{size} bytes on {line.name}"
    )
    if not chip_id:
        checklist.passed(CHIP, f"the report masks its chip; the VCEK is that of {endorsement.hwid.hex()}")
        return
    checklist.require(
        CHIP,
        endorsement.hwid == chip_id,
        where=where("chip_id"),
        found=chip_id.hex(),
        expected=f"{endorsement.hwid.hex()}, the chip of the VCEK",
        detail=chip_id.hex(),
    )


def _tcb(tcbs: TcbSet, endorsement: Endorsement, line: ProductLine, checklist: Checklist) -> None:
    differing = endorsement.tcb.differs(tcbs.reported)
    if differing:
        raise TCB.failure(
            where=where("reported_tcb"),
            found=tcbs.reported.text(differing),
            expected=f"{endorsement.tcb.text(differing)}, as the {endorsement.kind.value.upper()} says",
        )
    checklist.passed(TCB, tcbs.reported.text(line.layout.components))


def _order(report: SnpReport, tcbs: TcbSet, checklist: Checklist) -> None:
    """REPORTED and COMMITTED are at most CURRENT, in every component.

    REPORTED is the host's choice up to what is installed. LAUNCH is not compared: firmware can be rolled back under a running guest.
    """
    for name, tcb in (("reported_tcb", tcbs.reported), ("committed_tcb", tcbs.committed)):
        above = tcb.above(tcbs.current)
        if above:
            raise TCB_ORDER.failure(where=where(name), found=tcb.text(above), expected=f"at most the current {tcbs.current.text(above)}")
    checklist.require(
        TCB_ORDER,
        report.committed_firmware <= report.current_firmware,
        where=where("committed_build"),
        found=f"committed firmware {version_text(report.committed_firmware)}",
        expected=f"at most the current {version_text(report.current_firmware)}",
    )


def _revocation(
    chain: VerifiedChain, line: ProductLine, endorsement: Endorsement, collateral: Collateral, checklist: Checklist, *, at: datetime
) -> tuple[RevocationAnswer, ...]:
    """Every CRL of this ARK must be authentic and list neither intermediate nor root; one that is fresh makes the answer good."""
    _, intermediate, root = chain.certificates
    answers: list[RevocationAnswer] = []
    undecided = f"no CRL of {chain.anchor.name}"
    for item in collateral.of_type(CollateralType.CRL):
        try:
            answers.append(check_crl(item.data, issuer=root, subjects=(intermediate, root), at=at, name=_name(item)))
        except AttestError as error:
            if error.code == CRL_ISSUER.id:
                continue  # of another product, or of another kind of device
            if error.outcome is not Outcome.CANNOT_DECIDE:
                raise
            undecided = f"{item.name}: {error.reasons[0]}"
    if answers:
        names = ", ".join(f"{answer.digest[:16]} until {answer.next_update:%Y-%m-%dT%H:%M:%SZ}" for answer in answers)
        checklist.passed(REVOCATION, f"{len(answers)} CRL of {answers[0].responder}: {names}")
    else:
        checklist.not_checked(
            REVOCATION, undecided, fix=f"fetch {kds.url(kds.crl_path(line, endorsement.kind))} into the bundle: attest collateral fetch"
        )
    return tuple(answers)


def _name(item: CollateralItem) -> str:
    return f"CRL {item.name}"
