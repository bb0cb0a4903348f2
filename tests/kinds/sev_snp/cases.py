"""Every SEV-SNP case of the corpus: what is judged, when, and what must come out. Shared by the tests and `make corpus`.

Azure evidence is judged by the plain SNP report inside; what the paravisor and its vTPM add is no part of this kind.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert

from attest.errors import AttestError
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.certificates import read
from attest.kinds.sev_snp.report import SIZE
from attest.pki import load_amd_leaf, load_certificates, verify_amd_chain
from attest.trust import TrustStore

TRUST = TrustStore.production()
TODAY = "2026-11-21T00:00:00"
_HCL_HEADER = 0x20


@dataclass(frozen=True)
class Case:
    """``file`` is a report, Azure's container of one, or a report with a certificate table; ``leaf`` its endorsement, a file.

    ``expected`` is part of the outcome. Times are inside the validity of the leaf unless the case is about time.
    """

    file: str
    leaf: str
    expected: Mapping[str, str]
    at: str = TODAY
    suffix: str = ""

    @property
    def name(self) -> str:
        return self.file + self.suffix


@dataclass(frozen=True)
class ChainCase:
    """An endorsement certificate judged alone, under the chain of a product line."""

    leaf: str
    chain: str
    expected: Mapping[str, str]
    at: str = TODAY

    @property
    def name(self) -> str:
        return f"{self.leaf} under {self.chain}"


def outcome(case: Case, corpus: Path) -> dict[str, str]:
    """What the verifier says, in words."""
    folder = corpus / "sev-snp"
    at = datetime.fromisoformat(case.at).replace(tzinfo=UTC)
    try:
        evidence = _evidence(case, folder)
        result = SEV_SNP.verify(evidence, trust=TRUST, collateral=_issuers(folder, at), at=at)
    except AttestError as error:
        return {"refused": error.code, "found": error.reasons[0].found}
    return {name: str(value) for name, value in result.claims.values().items()} | {"freshness": result.freshness.hex()}


def outcome_of_chain(case: ChainCase, corpus: Path) -> dict[str, str]:
    """What an endorsement certificate is found to be."""
    folder = corpus / "sev-snp"
    at = datetime.fromisoformat(case.at).replace(tzinfo=UTC)
    try:
        endorsement = read(load_amd_leaf(_der(folder / case.leaf)))
        intermediate, root = load_certificates((folder / case.chain).read_bytes(), "chain", most=2)
        anchors = TRUST.for_role(endorsement.line.role)
        verify_amd_chain(endorsement.certificate, intermediate, root, anchors=anchors, at=at, name="chain")
    except AttestError as error:
        return {"refused": error.code}
    return {"line": endorsement.line.name, "tcb": endorsement.tcb.text(), "hwid": endorsement.hwid.hex(), "csp": endorsement.csp_id}


def _issuers(folder: Path, at: datetime) -> Collateral:
    files = sorted(folder.glob("roots-*.pem"))
    return Collateral(tuple(CollateralItem(CollateralType.CERTIFICATES, path.name, path.read_bytes(), at) for path in files))


def _evidence(case: Case, folder: Path) -> Evidence:
    path = folder / case.file
    if path.suffix == ".json":
        return _of(*_from_json(path))
    data = path.read_bytes()
    if "hcl-report" in case.file:
        data = data[_HCL_HEADER : _HCL_HEADER + SIZE]
    if "certtable" in case.file:
        found = SEV_SNP.recognise(data)
        if not found:
            raise AssertionError(f"{case.file} is not recognised")
        return found[0]
    return _of(data, DER_cert_to_PEM_cert(_der(folder / case.leaf)) if case.leaf else "")


def _of(report: bytes, pem: str) -> Evidence:
    parts = {"report": report}
    if pem:
        parts["certificates"] = pem.encode()
    return Evidence.of("sev-snp", "cpu", parts)


def _from_json(path: Path) -> tuple[bytes, str]:
    """Report and VCEK of trustee's Azure evidence, in its first or a later encoding."""
    evidence = json.loads(path.read_bytes())
    if "report" in evidence:
        hcl, pem = bytes(evidence["report"]), evidence["vcek"]
    else:
        hcl, pem = _base64(evidence["hcl_report"]), DER_cert_to_PEM_cert(_base64(evidence["vcek"]))
    return hcl[_HCL_HEADER : _HCL_HEADER + SIZE], pem


def _base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _der(path: Path) -> bytes:
    """The first certificate of a file."""
    data = path.read_bytes()
    if not data.startswith(b"-----"):
        return data
    end = "-----END CERTIFICATE-----\n"
    return PEM_cert_to_DER_cert(data.decode().split(end)[0] + end)


# -- the cases ------------------------------------------------------------------------------------------------------------

_V5 = ("milan-v5-gcp-teekit.report.bin", "milan-v5-gcp-teekit.vcek.pem")
_VLEK = ("milan-vlek-trustee.report.bin", "milan-vlek-trustee.vlek.der")
_AZURE_MILAN = {"product": "milan", "debug": "off", "vmpl": "0", "alias_check": "yes", "provisional_firmware": "False", "csp_id": ""}

ACCEPTED = (
    Case(
        "milan-v2-gosevguest.report.bin",
        "milan-v2-gosevguest.vcek.der",
        {
            "debug": "on", "product": "milan", "report_version": "2", "vmpl": "0", "alias_check": "unknown", "id_key_digest": "",
            "provisional_firmware": "False", "smt_enabled": "True", "freshness": "0102030405" + "00" * 59,
        },
    ),
    Case(
        "milan-trustee.report.bin",
        "milan-trustee.vcek.der",
        {
            "debug": "off", "product": "milan", "report_version": "2", "provisional_firmware": "True", "reported_microcode": "115",
            "current_microcode": "206", "committed_microcode": "115", "firmware_version": "1.52.4",
        },
    ),
    Case(
        *_VLEK,
        {
            "signing_key": "vlek", "csp_id": "CN=cc-us-east-2.amazonaws.com", "vmpl": "1", "device_id": "", "chip_identity": "masked",
            "provisional_firmware": "True", "reported_microcode": "217", "current_microcode": "220", "committed_microcode": "219",
            "tsme_enabled": "True", "debug": "off",
        },
        at="2025-12-01T00:00:00",
        suffix=" in 2025",
    ),
    Case(
        *_V5,
        {
            "product": "milan", "report_version": "5", "debug": "off", "firmware_version": "1.55.35", "reported_microcode": "222",
            "alias_check": "yes", "freshness": "00" * 64, "provisional_firmware": "False", "trusted_io": "no",
        },
    ),
    Case("milan-v5-gcp-with-certtable.bin", "", {"product": "milan", "report_version": "5", "freshness": "00" * 64}),
    Case(
        "genoa-siena-v3-trustee.report.bin",
        "genoa-siena-v3-trustee.vcek.der",
        {"product": "genoa", "report_version": "3", "reported_bootloader": "10", "reported_snp": "23", "reported_microcode": "25"},
    ),
    Case("azure-trustee.hcl-report.bin", "azure-trustee.vcek.pem", {"report_version": "2", "provisional_firmware": "True"}),
    Case("azure-trustee.evidence-v0.json", "", _AZURE_MILAN),
    Case("azure-trustee.evidence-v1.json", "", _AZURE_MILAN),
    Case("azure-trustee.evidence-v2.json", "", _AZURE_MILAN),
)  # fmt: skip

REFUSED = (
    Case(*_VLEK, {"refused": "pki.chain.expired"}, suffix=" today"),
    Case(*_VLEK, {"refused": "pki.chain.expired"}, at="2025-12-11T00:00:00", suffix=" a day late"),
    Case(_VLEK[0], _V5[1], {"refused": "sev-snp.leaf-kind"}, suffix=" with a VCEK", at="2025-12-20T00:00:00"),
    # Another chip of the same TCB: only the signature, and then the chip identity, tell.
    Case("azure-kinvolk.hcl-report-snp.bin", "azure-kinvolk.certs.pem", {"refused": "sev-snp.signature"}),
    Case("azure-v2-milan.hcl-report.bin", "", {"refused": "sev-snp.leaf"}),
    Case("milan-trustee.report.bin", "milan-v2-gosevguest.vcek.der", {"refused": "sev-snp.signature"}, suffix=" with another VCEK"),
    Case("milan-trustee.report.bin", "turin-virtee.vcek.der", {"refused": "sev-snp.product"}, suffix=" with a Turin VCEK"),
    Case("milan-trustee.report.bin", "trustee.vcek-invalid-legacy.der", {"refused": "pki.chain.signature"}, suffix=" with a forged VCEK"),
    Case("milan-trustee.report.bin", "trustee.vcek-invalid-new.der", {"refused": "pki.chain.signature"}, suffix=" with a forged new VCEK"),
    Case("genoa-siena-v3-trustee.report.bin", _V5[1], {"refused": "sev-snp.product"}, suffix=" with a Milan VCEK"),
    # Edits of signed bytes without a new signature. The form is judged first, so most fail by the check that they are named after.
    Case("neg/empty.bin", _V5[1], {"refused": "sev-snp.length"}),
    Case("neg/v5-trailing-byte.bin", _V5[1], {"refused": "sev-snp.length"}),
    Case("neg/v5-truncated-1183.bin", _V5[1], {"refused": "sev-snp.length"}),
    Case("neg/v5-version-1.bin", _V5[1], {"refused": "sev-snp.version"}),
    Case("neg/v5-version-6.bin", _V5[1], {"refused": "sev-snp.version"}),
    Case("neg/v5-sigalgo-0.bin", _V5[1], {"refused": "sev-snp.algorithm"}),
    Case("neg/v5-policy-bit17-clear.bin", _V5[1], {"refused": "sev-snp.policy"}),
    Case("neg/v5-reserved-018b-set.bin", _V5[1], {"refused": "sev-snp.reserved"}),
    Case("neg/v5-reserved-208-set.bin", _V5[1], {"refused": "sev-snp.reserved"}),
    Case("neg/v5-unsigned-tail-330-set.bin", _V5[1], {"refused": "sev-snp.reserved"}),
    Case("neg/v5-signing-key-none.bin", _V5[1], {"refused": "sev-snp.signing-key"}),
    Case("neg/v5-signing-key-vlek.bin", _V5[1], {"refused": "sev-snp.leaf-kind"}),
    Case("neg/v5-sig-r-high-bytes-set.bin", _V5[1], {"refused": "sev-snp.signature-form"}),
    Case("neg/v5-sig-zero.bin", _V5[1], {"refused": "sev-snp.signature-form"}),
    Case("neg/v5-bitflip-measurement.bin", _V5[1], {"refused": "sev-snp.signature"}),
    Case("neg/v5-debug-bit.bin", _V5[1], {"refused": "sev-snp.signature"}),
    Case("neg/v5-reported-tcb-ucode-plus1.bin", _V5[1], {"refused": "sev-snp.signature"}),
    Case("neg/certtable-duplicate-vcek.bin", "", {"refused": "sev-snp.table-duplicate"}),
    Case("neg/certtable-into-header.bin", "", {"refused": "sev-snp.table-header"}),
    Case("neg/certtable-no-terminator.bin", "", {"refused": "sev-snp.table-terminator"}),
    Case("neg/certtable-offset-overflow.bin", "", {"refused": "sev-snp.table-overflow"}),
    Case("neg/certtable-past-end.bin", "", {"refused": "sev-snp.table-bounds"}),
)

NEGATED = Case("neg/v5-sig-s-negated.bin", _V5[1], {"product": "milan", "freshness": "00" * 64})
"""(r, n-s): another signature of the same statement, and so accepted."""

CASES = (*ACCEPTED, *REFUSED, NEGATED)

CHAINS = (
    ChainCase(
        "turin-azure.vcek.der",
        "roots-turin.vcek.cert_chain.pem",
        {"line": "Turin", "tcb": "fmc 1, bootloader 3, tee 2, snp 5, microcode 90", "hwid": "5b0f3945c57a2338"},
    ),
    ChainCase(
        "turin-virtee.vcek.der",
        "roots-turin.vcek.cert_chain.pem",
        {"line": "Turin", "tcb": "fmc 0, bootloader 0, tee 0, snp 0, microcode 9", "hwid": "1e550a8ee5cf9f4d"},
    ),
    ChainCase("turin-azure.vcek.der", "roots-turin.vlek.cert_chain.pem", {"refused": "pki.amd.name"}),
    ChainCase("turin-azure.vcek.der", "roots-milan.vcek.cert_chain.pem", {"refused": "pki.chain.link"}),
    ChainCase("turin-azure.vcek.der", "roots-turin.vcek.cert_chain.pem", {"refused": "pki.chain.not-yet-valid"}, at="2026-07-01T00:00:00"),
    ChainCase("genoa-siena-v3-trustee.vcek.der", "roots-genoa.vcek.cert_chain.pem", {"line": "Genoa"}),
    ChainCase("genoa-siena-v3-trustee.vcek.der", "roots-genoa.vlek.cert_chain.pem", {"refused": "pki.amd.name"}),
    ChainCase(
        "milan-vlek-trustee.vlek.der",
        "roots-milan.vlek.cert_chain.pem",
        {"line": "Milan", "csp": "CN=cc-us-east-2.amazonaws.com", "hwid": ""},
        at="2025-12-01T00:00:00",
    ),
    ChainCase("milan-vlek-trustee.vlek.der", "roots-milan.vcek.cert_chain.pem", {"refused": "pki.amd.name"}, at="2025-12-01T00:00:00"),
    ChainCase("trustee.vcek-invalid-legacy.der", "roots-milan.vcek.cert_chain.pem", {"refused": "pki.chain.signature"}),
    ChainCase("trustee.vcek-invalid-new.der", "roots-milan.vcek.cert_chain.pem", {"refused": "pki.chain.signature"}),
    ChainCase("azure-kinvolk.certs.pem", "roots-milan.vcek.cert_chain.pem", {"line": "Milan"}),
)

NOT_OF_THIS_KIND = (
    "azure-kinvolk.akpub.pem", "azure-kinvolk.quote.bin", "azure-kinvolk.var-data.bin", "azure-trustee.quote.bin",
    "azure-trustee.tpm-quote-v1.json", "azure-trustee.tpm-quote.msg", "azure-trustee.tpm-quote.sig", "neg/azure-hcl-bad-magic.bin",
    "neg/azure-hcl-hashtype-invalid.bin", "neg/azure-hcl-type-tdx.bin", "neg/azure-hcl-vardata-ak-swapped.bin",
    "neg/azure-hcl-vardata-size-overflow.bin", "neg/azure-v2-pcr-swapped.json", "neg/azure-v2-quote-bad-magic.json",
    "idblock/test_auth_block.bin", "idblock/test_auth_sig.bin", "idblock/test_id_sig.bin", "trustee-e2e.evidence.json",
)  # fmt: skip
"""Azure's paravisor and vTPM, launch input of the firmware, and a report as JSON, which is here as bytes too."""
