"""Every NVIDIA case of the corpus: what is judged, when, and what must come out. Shared by the tests and `make corpus`.

Times are those of the corpus' PROVENANCE: reports hold at any time, manifests and OCSP answers in their windows.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from attest.checks import Status
from attest.errors import AttestError
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence
from attest.kinds.nvidia_gpu import NVIDIA_GPU, rim
from attest.pki import Anchor
from attest.trust import Role, TrustStore

TRUST = TrustStore.production()
WHEEL_NONCE = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb"


@dataclass(frozen=True)
class Case:
    """``evidence`` is "report + chain", or an evidence JSON and the number of the device in it. ``expected`` is part of the outcome."""

    name: str
    evidence: tuple[str, str | int]
    expected: Mapping[str, str]
    at: str = "2026-11-21T00:00:00"
    rims: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()
    cut: int = 0


@dataclass(frozen=True)
class ManifestCase:
    """A manifest judged alone."""

    file: str
    expected: Mapping[str, str] = field(default_factory=dict)


def outcome(case: Case, corpus: Path) -> dict[str, str]:
    """What the verifier says, in words."""
    at = datetime.fromisoformat(case.at).replace(tzinfo=UTC)
    folder = corpus / "nvidia"
    items = [CollateralItem(CollateralType.RIM, name, (folder / "rim" / name).read_bytes(), at) for name in case.rims]
    items += [CollateralItem(CollateralType.OCSP, name, _answer(folder, name), at) for name in case.ocsp]
    try:
        result = NVIDIA_GPU.verify(_evidence(case, folder), trust=TRUST, collateral=Collateral(tuple(items)), at=at)
    except AttestError as error:
        return {"refused": error.code, "found": error.reasons[0].found}
    claims = result.claims.values()
    said = {name: str(claims[name]) for name in ("mode", "revocation", "rim_revocation", "firmware_identity", "debug", "device_id")}
    for source in ("driver", "vbios"):
        check = next(r for r in result.checks if r.check.id == f"nvidia-gpu.{source}-measurements")
        said[source] = str(claims[f"{source}_measurements"])
        if check.status is Status.FAILED and check.reason is not None:
            indices = [part.split(":")[0].removeprefix("index ") for part in check.reason.found.split("; ")]
            said[source] += f" at {', '.join(indices)}"
        if check.status is Status.PASSED:
            said[source] += f", {check.detail}"
    return said | {"nonce": result.freshness.hex()}


def outcome_of_manifest(case: ManifestCase, corpus: Path) -> dict[str, str]:
    """What a manifest is found to be."""
    try:
        manifest = rim.judge((corpus / "nvidia" / "rim" / case.file).read_bytes(), TRUST.for_role(Role.NVIDIA_RIM))
    except AttestError as error:
        return {"refused": error.code}
    return {
        "version": manifest.version,
        "active": str(len(manifest.golden)),
        "from": manifest.chain.not_before.strftime("%Y-%m-%dT%H:%M:%S"),
        "until": manifest.chain.not_after.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def _evidence(case: Case, folder: Path) -> Evidence:
    first, second = case.evidence
    if isinstance(second, int):
        return _from_json(folder / "evidence" / first, second)
    raw = (folder / "reports" / first).read_bytes()
    data = raw if first.endswith(".bin") else bytes.fromhex(raw.decode())
    chain = (folder / "chains" / second).read_bytes()
    return Evidence.of("nvidia-gpu", "gpu-0", {"report": data[: len(data) - case.cut], "certificates": chain})


def _from_json(path: Path, number: int) -> Evidence:
    data = path.read_bytes()
    found = NVIDIA_GPU.recognise(data)
    if found:
        return found[number]
    # Another tool's dump of the same pieces.
    gpu = json.loads(data)["gpus"][number]
    report = base64.b64decode(gpu["AttestationReport"]["py/b64"])
    chain = base64.b64decode(gpu["CertificateChains"]["GpuAttestationCertificateChain"][0]["pem"])
    return Evidence.of("nvidia-gpu", f"gpu-{number}", {"report": report, "certificates": chain})


def _answer(folder: Path, name: str) -> bytes:
    return base64.b64decode((folder / "ocsp" / name).read_bytes())


def anchor_of(path: Path) -> Anchor:
    """The pin of a root certificate in a file."""
    from cryptography import x509

    from attest.crypto import spki_sha256

    return Anchor(path.name, spki_sha256(x509.load_pem_x509_certificate(path.read_bytes()).public_key()))


# -- the cases --------------------------------------------------------------------------------------------------------------

_550 = ("h100_550.90.07.report.hex", "h100_550.90.07.pem")
_535 = ("h100_535.86.09_nofwid.report.hex", "h100_535.86.09_nofwid.pem")
_545 = ("h100_545.00_oldsample.report.hex", "h100_545.00_oldsample.pem")
_570 = ("h100_570.124.03.report.hex", "h100_570.124.03.pem")
_580 = ("h100_580.159.03_spt.report.hex", "h100_580.159.03_spt.pem")
_COCO = ("NEG_h100_580.95.05_trailing_byte.report.hex", "h100_580.95.05_coco.pem")
_BOTH = ("NV_GPU_DRIVER_GH100_550.90.07.xml", "NV_GPU_VBIOS_1010_0200_882_96009F0001.xml")
_ISSUE_1 = "NV_GPU_VBIOS_1010_0200_882_96005E0001.issue-2023-06.xml"
_ISSUE_2 = "NV_GPU_VBIOS_1010_0200_882_96005E0001.reissue-2023-12.xml"
_ISSUE_3 = "NV_GPU_VBIOS_1010_0200_882_96005E0001.test-issue.xml"
_GPU_OCSP = tuple(f"test_gpu_certificate_l{level}_base64encoded_ocsp_response.b64" for level in (2, 3, 4))
_RIM_OCSP = tuple(f"test_gpu_{word}_base64encoded_ocsp_response.b64" for word in ("driver_rim_l3", "driver_rim_l4", "rim_l2", "vbios_l4"))
_MATCH = {"driver": "match, 21 of 21 measurements", "vbios": "match, 12 of 12 measurements", "debug": "off"}
_GOOD = {"firmware_identity": "bound"}
_UNDECIDED = {"driver": "unknown", "vbios": "unknown", "revocation": "unknown", "rim_revocation": "unknown", "debug": "unknown"}
_2024 = "2024-09-01T00:00:00"

REPORTS = (
    Case("550.90.07 alone", _550, {**_GOOD, **_UNDECIDED, "mode": "unknown", "nonce": WHEEL_NONCE, "device_id": "41431D480FE5E87274"}),
    Case("550.90.07 with manifests", _550, {**_GOOD, **_MATCH, "revocation": "unknown", "rim_revocation": "unknown"}, _2024, _BOTH),
    Case("550.90.07, first second of the driver manifest", _550, _MATCH, "2024-06-01T02:08:29", _BOTH),
    Case("550.90.07, a second before", _550, {"driver": "unknown", "debug": "unknown"}, "2024-06-01T02:08:28", _BOTH),
    Case("550.90.07, last second of the VBIOS manifest", _550, _MATCH, "2026-02-22T23:17:58", _BOTH),
    Case("550.90.07, a second after", _550, {"driver": _MATCH["driver"], "vbios": "unknown"}, "2026-02-22T23:17:59", _BOTH),
    Case("550.90.07, last second of the driver manifest", _550, {"driver": _MATCH["driver"]}, "2026-06-01T02:08:29", _BOTH),
    Case("550.90.07, both manifests expired", _550, _UNDECIDED, "2026-06-01T02:08:30", _BOTH),
    Case("550.90.07 with the manifest of driver 545", _550, {"driver": "unknown"}, _2024, ("NV_GPU_DRIVER_GH100_545.00.xml",)),
    Case("550.90.07 with the manifest of driver 550.144", _550, {"driver": "unknown"}, _2024, ("NV_GPU_DRIVER_GH100_550.144.03.xml",)),
    Case("535.86.09, first issue", _535, {"firmware_identity": "absent", "vbios": _MATCH["vbios"]}, _2024, (_ISSUE_1,)),
    Case("535.86.09, reissue", _535, {"vbios": "mismatch at 9"}, _2024, (_ISSUE_2,)),
    Case("535.86.09, test issue", _535, {"vbios": "mismatch at 1, 2, 3, 9"}, _2024, (_ISSUE_3,)),
    Case("535.86.09, two issues", _535, {"refused": "nvidia-gpu.rim-ambiguous"}, _2024, (_ISSUE_1, _ISSUE_2)),
    Case("535.86.09, one issue twice", _535, {"vbios": _MATCH["vbios"]}, _2024, (_ISSUE_1, _ISSUE_1)),
    Case(
        "535.86.09, edited driver manifest",
        _535,
        {"refused": "nvidia-gpu.rim-signature"},
        _2024,
        ("NEG_NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",),
    ),
    Case(
        "545.00 with its own manifests",
        _545,
        {**_MATCH, "firmware_identity": "absent", "nonce": "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e"},
        _2024,
        ("NV_GPU_DRIVER_GH100_545.00.xml", _ISSUE_3),
    ),
    Case("545.00 with the production VBIOS manifest", _545, {"vbios": "mismatch at 1, 2, 3, 9"}, _2024, (_ISSUE_1,)),
    Case("570.124.03 alone", _570, {**_GOOD, **_UNDECIDED, "nonce": WHEEL_NONCE, "device_id": "41E23D711E1C4FBFAC"}),
    Case("570.124.03, VBIOS", _570, {"vbios": "mismatch at 9"}, _2024, ("1010_0205_862_96005E0004_PROD.swidtag",)),
    Case(
        "570.124.03, edited and expired driver manifest",
        _570,
        {"refused": "nvidia-gpu.rim-signature"},
        "2025-01-01T12:00:00",
        ("NEG_NV_GPU_DRIVER_GH100_570.124.03_expired.xml",),
    ),
    Case(
        "580.159.03",
        _580,
        {
            **_GOOD,
            "mode": "spt",
            "driver": "unknown",
            "vbios": "mismatch at 9",
            "device_id": "41E23D711E1C4FBFAC",
            "nonce": "5bb22e377702d4e1e8215a903ba094826b9ac7f731dee1fe8102958bf2840aca",
        },
        _2024,
        ("1010_0205_862_9600740020_PROD.swidtag",),
    ),
    Case("another GPU's chain", ("NEG_h100_560.00_badsig.report.hex", _535[1]), {"refused": "nvidia-gpu.signature"}),
    Case("trailing byte", _COCO, {"refused": "nvidia-gpu.report-size"}),
    Case(
        "trailing byte dropped",
        _COCO,
        {**_GOOD, "mode": "spt", "nonce": "87d8e24ab336adafe228d49e83d745f6dba4ae505372b6a5704820856b343fec", "vbios": "mismatch at 9"},
        _2024,
        ("1010_0200_882_960074001A_PROD.swidtag",),
        cut=1,
    ),
)

CHAINS = (
    *(
        Case(f"chain {name}", (report, name), {"refused": code})
        for report, name, code in (
            (_545[0], "NEG_h100_545.00_short.pem", "pki.chain.length"),
            (_550[0], "NEG_trustee_case2.pem", "pki.chain.length"),
            (_550[0], "NEG_trustee_case3.pem", "pki.chain.length"),
            (_550[0], "NEG_trustee_case4.pem", "pki.chain.length"),
            ("rtxpro6000_595.58.03_a.report.hex", "NEG_rtxpro6000_case3.pem", "pki.chain.length"),
            (_550[0], _570[1], "nvidia-gpu.signature"),
            (_570[0], _580[1], "nvidia-gpu.signature"),
        )
    ),
)

_REFUSED = {
    chip: {"refused": "nvidia-gpu.architecture", "found": f"architecture not supported: {chip}"} for chip in ("GB100", "GB20X", "LS_10")
}
OTHER_ARCHITECTURES = (
    Case("B200", ("b200_575.32.report.hex", "b200_575.32.pem"), _REFUSED["GB100"]),
    Case("RTX PRO 6000", ("rtxpro6000_595.58.03_a.report.hex", "rtxpro6000_595.58.03_a.pem"), _REFUSED["GB20X"]),
    Case("LS10", ("ls10_96.10.55.00.01.report.hex", "ls10_96.10.55.00.01.pem"), _REFUSED["LS_10"]),
    Case("LS10, another switch's chain", ("NEG_ls10_badsig.report.hex", "ls10_96.10.55.00.01.pem"), _REFUSED["LS_10"]),
    Case("LS10, altered", ("NEG_ls10_modified.report.bin", "ls10_google.pem"), _REFUSED["LS_10"]),
    Case("LS10, evidence JSON", ("ls10_96.10.55.00.01.json", 0), _REFUSED["LS_10"]),
    *(Case(f"one LS10 four times, {n}", ("NEG_ls10x4_same_device.json", n), _REFUSED["LS_10"]) for n in range(4)),
    *(Case(f"HGX switch {n}", ("ppcie_4xls10_96.10.73_switches.json", n), _REFUSED["LS_10"]) for n in range(4)),
    *(Case(f"HGX B200 {n}", ("mpt_8xb200_590.48.01.json", n), _REFUSED["GB100"]) for n in range(8)),
)

_PPCIE = {**_GOOD, **_UNDECIDED, "mode": "ppcie"}
_E97B = {**_PPCIE, "nonce": "e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576"}
_4760 = {**_PPCIE, "nonce": "4760e30534a0621357d458b1a7936551b5dc4cd1e69718adf7ed9fb0252a537e"}
EVIDENCE_JSON = (
    Case("PPCIE GPU", ("h100_590.12_ppcie_gpu.json", 0), _E97B),
    Case("PPCIE GPU b", ("h100_590.12_ppcie_gpu_b.json", 0), _E97B),
    Case("570.86.10", ("h100_570.86.10_cert_hold.json", 0), {**_GOOD, **_UNDECIDED, "nonce": WHEEL_NONCE}),
    *(Case(f"four GPUs, {n}", ("h100x4_590.12.json", n), _E97B) for n in range(4)),
    *(Case(f"HGX GPU {n}", ("ppcie_8xh100_590.12_gpus.json", n), _4760) for n in range(8)),
)

# The windows of the device's and of the manifests' answers do not overlap: no single time makes all of them fresh.
_ALL = (*_GPU_OCSP, *_RIM_OCSP)
_DEVICE_ONLY = {**_MATCH, "revocation": "good", "rim_revocation": "unknown"}
_RIM_ONLY = {**_MATCH, "revocation": "unknown", "rim_revocation": "good"}
_NEITHER = {**_MATCH, "revocation": "unknown", "rim_revocation": "unknown"}
OCSP = (
    Case("before the device's answers", _550, _NEITHER, "2025-08-21T06:47:07", _BOTH, _ALL),
    Case("first second of all device answers", _550, _DEVICE_ONLY, "2025-08-21T06:47:08", _BOTH, _ALL),
    Case("last second of the device's answers", _550, _DEVICE_ONLY, "2025-08-22T06:47:06", _BOTH, _ALL),
    Case("after the device's answers", _550, _NEITHER, "2025-08-22T06:47:07", _BOTH, _ALL),
    Case("before the manifests' answers", _550, _NEITHER, "2025-10-24T11:32:20", _BOTH, _ALL),
    Case("first second of the manifests' answers", _550, _RIM_ONLY, "2025-10-24T11:32:22", _BOTH, _ALL),
    Case("last second of the manifests' answers", _550, _RIM_ONLY, "2025-10-25T11:32:20", _BOTH, _ALL),
    Case("after the manifests' answers", _550, _NEITHER, "2025-10-25T11:32:22", _BOTH, _ALL),
    *(
        Case(f"without {name[9:24]}", _550, _NEITHER, "2025-08-21T12:00:00", _BOTH, tuple(other for other in _ALL if other != name))
        for name in _GPU_OCSP
    ),
    *(
        Case(f"without {name[9:22]}", _550, _NEITHER, "2025-10-24T12:00:00", _BOTH, tuple(other for other in _ALL if other != name))
        for name in _RIM_OCSP
    ),
    Case(
        "another GPU with these answers",
        _570,
        {"revocation": "unknown"},
        "2025-08-21T12:00:00",
        (),
        _GPU_OCSP,
    ),
)

CASES = (*REPORTS, *CHAINS, *OTHER_ARCHITECTURES, *EVIDENCE_JSON, *OCSP)

MANIFESTS = (
    ManifestCase(_BOTH[0], {"version": "550.90.07", "active": "21", "from": "2024-06-01T02:08:29", "until": "2026-06-01T02:08:29"}),
    ManifestCase(_BOTH[1], {"version": "96.00.9F.00.01", "active": "12", "from": "2024-02-23T23:17:58", "until": "2026-02-22T23:17:58"}),
    ManifestCase("NV_GPU_DRIVER_GH100_550.144.03.xml", {"version": "550.144.03", "until": "2026-12-30T16:56:50"}),
    ManifestCase("NV_GPU_DRIVER_GH100_545.00.xml", {"version": "545.00", "until": "2025-06-26T06:10:12"}),
    ManifestCase(
        "switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
        {"version": "96.10.55.00.01", "active": "31", "until": "2027-11-02T23:59:59"},
    ),
    ManifestCase(_ISSUE_1, {"version": "96.00.5E.00.01", "until": "2025-06-22T09:30:33"}),
    ManifestCase(_ISSUE_2, {"version": "96.00.5E.00.01", "until": "2025-12-12T23:58:03"}),
    ManifestCase(_ISSUE_3, {"version": "96.00.5E.00.01", "until": "2025-06-22T09:38:54"}),
    ManifestCase("1010_0205_862_96005E0004_PROD.swidtag", {"version": "96.00.5E.00.04", "until": "2025-09-05T08:39:09"}),
    ManifestCase("1010_0200_882_960074001A_PROD.swidtag", {"version": "96.00.74.00.1A", "until": "2025-09-05T08:35:22"}),
    ManifestCase("1010_0205_862_9600740020_PROD.swidtag", {"version": "96.00.74.00.20", "until": "2025-09-05T08:46:45"}),
    # X509Data of this one ends before the root; NVIDIA's own description of it is "incorrect certificate chain".
    ManifestCase("NEG_incorrect_cert_chain_driver_rim.xml", {"refused": "pki.chain.length"}),
    ManifestCase("NEG_incorrect_signature_driver_rim.xml", {"refused": "nvidia-gpu.rim-signature"}),
    ManifestCase("NEG_NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml", {"refused": "nvidia-gpu.rim-signature"}),
    ManifestCase("NEG_NV_GPU_DRIVER_GH100_570.124.03_expired.xml", {"refused": "nvidia-gpu.rim-signature"}),
    ManifestCase("NEG_NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml", {"refused": "nvidia-gpu.rim-signature"}),
    ManifestCase("NEG_NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml", {"refused": "nvidia-gpu.rim-signature"}),
)
