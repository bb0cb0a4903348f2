"""Verification of one Hopper GPU: report, certificate chain, firmware identity, revocation and reference values.

Everything that speaks against the device's authenticity ends the verification with an error. What is missing or stale (revocation
answers, manifests) is recorded as not checked, and a measurement that differs as failed: the result then exists, its claims say so,
and nothing is released on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509

from attest import limits
from attest.checks import Check, Checklist
from attest.crypto import verify_p384
from attest.errors import AttestError, Outcome
from attest.evidence import Collateral, CollateralType, Debug, Evidence, Measurements, Revocation, Verified, conclude
from attest.kinds.nvidia_gpu import claims as derive
from attest.kinds.nvidia_gpu.certificates import (
    ARCHITECTURE,
    FWID,
    NAMES,
    SUPPORTED,
    device_identity,
    hardware_model,
    require_firmware,
    require_supported,
)
from attest.kinds.nvidia_gpu.claims import FirmwareIdentity, GpuArchitecture, NvidiaGpuClaims
from attest.kinds.nvidia_gpu.opaque import OPAQUE, GpuInfo, gpu_info
from attest.kinds.nvidia_gpu.reference import (
    RIM_AMBIGUOUS,
    RIM_CONFLICT,
    RIM_XML,
    Manifest,
    advice,
    compare,
    require_disjoint,
)
from attest.kinds.nvidia_gpu.report import REPORT_CHECKS, SIGNATURE_BYTES, Report, parse_report, signed_region, statement_digest
from attest.kinds.nvidia_gpu.revocation import Answers
from attest.pki import NVIDIA_DEVICE, VerifiedChain, load_certificates, verify_chain
from attest.trust import Role, TrustStore
from attest.wire import format_time

PARTS: Final = ("certificates", "report")
_OCSP_FIX: Final = "fetch the answers and judge within a day: attest collateral fetch"
_RIM_FIX: Final = "fetch the manifest of this version: attest collateral fetch"
_MATCH_SOURCE: Final = "TCG Reference Integrity Manifest Information Model 1.01"

EVIDENCE: Final = Check(
    "nvidia-gpu.evidence",
    "parts of the evidence",
    "NVIDIA attestation-sdk evidence format: report and certificate chain",
    Outcome.MALFORMED,
    "give the report and the PEM chain of the attestation key, and nothing else",
)
CHAIN: Final = Check(
    "nvidia-gpu.chain", "certificate chain of the attestation key to the pinned NVIDIA device root", "RFC 5280 section 6.1; 5 certificates"
)
SIGNATURE: Final = Check(
    "nvidia-gpu.signature",
    "signature of the report",
    "DMTF DSP0274 1.1, MEASUREMENTS signature; ECDSA P-384 with SHA-384 over request and response",
    fix="report and certificate chain do not belong together, or the report was altered: collect both again",
)
OCSP_CHAIN: Final = tuple(
    Check(f"nvidia-gpu.ocsp-{word}", f"revocation of the {title} certificate", "RFC 6960", fix=_OCSP_FIX)
    for word, title in (
        ("identity-key", "identity key (chain 1)"),
        ("provisioner", "provisioner (chain 2)"),
        ("product", "product (chain 3)"),
    )
)
ATTESTATION_KEY: Final = Check(
    "nvidia-gpu.ocsp-attestation-key",
    "revocation of the attestation key certificate (chain 0)",
    "NVIDIA's responder does not answer for it",
    limitation=True,
)


class _Source:
    """Driver or VBIOS: the checks of its manifest and of its measurements."""

    def __init__(self, word: str, title: str) -> None:
        self.word = word
        self.title = title
        self.rim = Check(f"nvidia-gpu.{word}-rim", f"reference manifest of the {title}", _MATCH_SOURCE, fix=_RIM_FIX)
        self.revocation = Check(
            f"nvidia-gpu.{word}-rim-revocation", f"revocation of the signers of the {title} manifest", "RFC 6960", fix=_OCSP_FIX
        )
        self.measurements = Check(
            f"nvidia-gpu.{word}-measurements", f"measurements of the {title}", _MATCH_SOURCE, Outcome.REFUSED, fix=_RIM_FIX
        )


_DRIVER: Final = _Source("driver", "driver")
_VBIOS: Final = _Source("vbios", "VBIOS")

CHECKS: Final = (
    EVIDENCE,
    CHAIN,
    ARCHITECTURE,
    NAMES,
    *REPORT_CHECKS,
    SIGNATURE,
    FWID,
    *OCSP_CHAIN,
    ATTESTATION_KEY,
    RIM_XML,
    _DRIVER.rim,
    _VBIOS.rim,
    _DRIVER.revocation,
    _VBIOS.revocation,
    RIM_CONFLICT,
    _DRIVER.measurements,
    _VBIOS.measurements,
)


def verify(evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[NvidiaGpuClaims]:
    """Verify one GPU at ``at`` (aware). See :meth:`attest.evidence.Kind.verify`."""
    run = _Run(evidence, trust, collateral, at)
    try:
        with run.checks:
            return run.result()
    except AttestError as error:
        raise error.about(evidence.label) from None


def read_report(evidence: Evidence) -> tuple[bytes, Report, GpuInfo]:
    """The unverified report: its bytes, its structure, and its decoded fields. Raises MalformedError."""
    data = evidence.part("report")
    report = parse_report(data)
    return data, report, gpu_info(report.opaque)


def read_certificates(evidence: Evidence) -> tuple[x509.Certificate, ...]:
    """The unverified certificates. Raises MalformedError."""
    return load_certificates(evidence.part("certificates"), "GPU certificate chain", most=limits.MAX_CHAIN_LENGTH)


@dataclass(frozen=True, slots=True)
class _Device:
    """The key that signed: its chain, the serial number of its chip, and whether its firmware is named in the report."""

    chain: VerifiedChain
    identity: str
    firmware_bound: bool


@dataclass(frozen=True, slots=True)
class _References:
    """The manifests that could be judged, whether their signers are known not to be revoked, and what the comparison said."""

    driver: Manifest | None
    vbios: Manifest | None
    good: bool
    driver_match: Measurements
    vbios_match: Measurements


def _claims(device: _Device, info: GpuInfo, revocation: Revocation, references: _References, *, simulated: bool) -> NvidiaGpuClaims:
    driver, vbios = references.driver, references.vbios
    matches = references.driver_match is references.vbios_match is Measurements.MATCH
    return NvidiaGpuClaims(
        debug=Debug.OFF if matches else Debug.UNKNOWN,
        simulated=simulated,
        revocation=revocation,
        device_id=device.identity,
        architecture=GpuArchitecture.HOPPER,
        hwmodel=hardware_model(device.chain.certificates),
        ueid=str(device.chain.leaf.serial_number),
        driver_version=info.driver_version,
        driver=derive.driver_number(info.driver),
        vbios_version=info.vbios_version,
        vbios=info.vbios,
        project=info.project,
        project_sku=info.project_sku,
        chip_sku=info.chip_sku,
        mode=derive.mode_of(info),
        nvdec=derive.decoder_of(info),
        nvlink_switches=frozenset(pdi.hex().upper() for pdi in info.switch_pdis or ()),
        opaque_version=info.opaque_version,
        firmware_identity=FirmwareIdentity.BOUND if device.firmware_bound else FirmwareIdentity.ABSENT,
        driver_measurements=references.driver_match,
        vbios_measurements=references.vbios_match,
        rim_revocation=Revocation.GOOD if references.good else Revocation.UNKNOWN,
        driver_rim=derive.driver_rim_id(info),
        driver_rim_digest=driver.digest if driver else "",
        vbios_rim=derive.vbios_rim_id(info),
        vbios_rim_digest=vbios.digest if vbios else "",
    )


class _Run:
    """One verification: the checklist, and what the result rests on."""

    def __init__(self, evidence: Evidence, trust: TrustStore, collateral: Collateral, at: datetime) -> None:
        self.evidence = evidence
        self.trust = trust
        self.collateral = collateral
        self.at = at
        self.checks = Checklist(evidence.label, CHECKS)
        self.used: list[str] = []
        self.ends: list[datetime] = []

    def result(self) -> Verified[NvidiaGpuClaims]:
        self.checks.require(
            EVIDENCE,
            tuple(sorted(self.evidence.parts)) == PARTS,
            found=", ".join(sorted(self.evidence.parts)) or "nothing",
            expected=", ".join(PARTS),
        )
        chain, identity = self._chain()
        data, report, info = read_report(self.evidence)
        for check in REPORT_CHECKS:
            self.checks.passed(check, f"unknown fields {info.unknown}" if check is OPAQUE and info.unknown else "")
        device = self._device(chain, identity, data, report, info)
        answers = Answers(self.collateral, self.at)
        revocation = self._revocation(device.chain, answers)
        references = self._references(report, info, answers)
        claims = _claims(device, info, revocation, references, simulated=self.trust.simulated)
        return conclude(
            self.evidence,
            claims,
            checklist=self.checks,
            statement=statement_digest(data),
            freshness=report.nonce,
            chain=device.chain.fingerprints,
            trust=self.trust,
            collateral=tuple(dict.fromkeys(self.used)),
            at=self.at,
            valid_until=min(self.ends),
        )

    # -- the device -----------------------------------------------------------------------------------------------------------

    def _chain(self) -> tuple[VerifiedChain, str]:
        """The chain, of an architecture whose reports can be read here, and the chip that it names."""
        certificates = read_certificates(self.evidence)
        anchors = self.trust.for_role(Role.NVIDIA_DEVICE)
        chain = verify_chain(certificates, profile=NVIDIA_DEVICE, anchors=anchors, at=self.at, name="GPU certificate chain")
        self.checks.passed(CHAIN, f"root {chain.anchor.name} {chain.anchor.spki_sha256[:16]}…")
        self.ends.append(chain.not_after)
        with self.checks.step(ARCHITECTURE, SUPPORTED):
            require_supported(chain.certificates)
        identity = device_identity(chain.certificates)
        self.checks.passed(NAMES, f"chip {identity}")
        return chain, identity

    def _device(self, chain: VerifiedChain, identity: str, data: bytes, report: Report, info: GpuInfo) -> _Device:
        """Whether the chain's key signed this report, for the firmware that the key was issued for."""
        verify_p384(
            chain.leaf.public_key(), report.signature, signed_region(data), SIGNATURE, where=f"last {SIGNATURE_BYTES} bytes of the report"
        )
        self.checks.passed(SIGNATURE, f"key of certificate {chain.fingerprints[0][:16]}…")
        bound = require_firmware(chain.certificates, info.fwid, info.driver)
        self.checks.passed(FWID, "" if bound else f"driver {info.driver_version} reports none")
        return _Device(chain, identity, bound)

    def _revocation(self, chain: VerifiedChain, answers: Answers) -> Revocation:
        """Certificates 1 to 3; the root is pinned, and nobody answers for the attestation key."""
        missing = False
        for index, check in enumerate(OCSP_CHAIN, 1):
            answer, problem = answers.judge(chain, index, f"certificate {index}")
            if answer is None:
                self.checks.not_checked(check, problem)
                missing = True
                continue
            self.checks.passed(check, f"good until {format_time(answer.next_update)}, by {answer.responder}")
            self.used.append(answer.digest)
            self.ends.append(answer.next_update)
        self.checks.not_checked(ATTESTATION_KEY, "NVIDIA's responder does not answer for the leaf: nobody can show that it is not revoked")
        return Revocation.UNKNOWN if missing else Revocation.GOOD

    # -- the manifests --------------------------------------------------------------------------------------------------------

    def _references(self, report: Report, info: GpuInfo, answers: Answers) -> _References:
        with self.checks.step(RIM_XML):
            manifests = self._manifests()
        driver = self._manifest(_DRIVER, info.driver_version, derive.driver_rim_id(info), manifests)
        vbios = self._manifest(_VBIOS, info.vbios_version, derive.vbios_rim_id(info), manifests)
        good = [self._rim_revocation(_DRIVER, driver, answers), self._rim_revocation(_VBIOS, vbios, answers)]
        self._conflict(driver, vbios)
        return _References(driver, vbios, all(good), self._compare(_DRIVER, report, driver), self._compare(_VBIOS, report, vbios))

    def _manifests(self) -> list[tuple[str, str, bytes]]:
        """Chip, version and bytes of every manifest in the collateral, by what each claims; byte-identical ones once."""
        items = self.collateral.of_type(CollateralType.RIM)
        if not items:
            return []
        from attest.kinds.nvidia_gpu import rim

        found = []
        for data in dict.fromkeys(item.data for item in items):
            claimed = rim.read(data)
            found.append((claimed.chip, claimed.version, data))
        return found

    def _manifest(self, source: _Source, version: str, name: str, manifests: list[tuple[str, str, bytes]]) -> Manifest | None:
        """The manifest of this version, when there is exactly one that is authentic and valid now."""
        matching = [data for chip, claimed, data in manifests if (chip, claimed) == (SUPPORTED, version)]
        if len(matching) > 1:
            raise RIM_AMBIGUOUS.failure(
                found=f"{len(matching)} different manifests of {source.title} {version}", expected="one", where=name
            )
        if not matching:
            present = ", ".join(f"{chip} {claimed}" for chip, claimed, _ in manifests) or "none"
            self.checks.not_checked(
                source.rim, f"no manifest of {source.title} {version} (there are: {present})", fix=f"fetch {name}: attest collateral fetch"
            )
            return None
        from attest.kinds.nvidia_gpu import rim

        manifest = rim.judge(matching[0], self.trust.for_role(Role.NVIDIA_RIM))
        chain = manifest.chain
        if not chain.not_before <= self.at <= chain.not_after:
            window = f"{format_time(chain.not_before)} to {format_time(chain.not_after)}"
            self.checks.not_checked(
                source.rim,
                f"the signers of {name} are valid from {window}, not at {format_time(self.at)}",
                fix="fetch a newer issue of the manifest, or judge a recording at the time it was made: --at TIME",
            )
            return None
        self.checks.passed(source.rim, f"{name}, sha256 {manifest.digest[:16]}…")
        self.used.append(manifest.digest)
        self.ends.append(chain.not_after)
        return manifest

    def _rim_revocation(self, source: _Source, manifest: Manifest | None, answers: Answers) -> bool:
        """Certificates 0 to 2 of the manifest's chain."""
        if manifest is None:
            self.checks.not_checked(source.revocation, "no manifest that could be judged")
            return False
        problems: list[str] = []
        until = manifest.chain.not_after
        for index in range(len(manifest.chain.certificates) - 1):
            answer, problem = answers.judge(manifest.chain, index, f"{source.title} manifest certificate {index}")
            if answer is None:
                problems.append(problem)
                continue
            self.used.append(answer.digest)
            self.ends.append(answer.next_update)
            until = min(until, answer.next_update)
        if problems:
            self.checks.not_checked(source.revocation, "; ".join(problems))
            return False
        self.checks.passed(source.revocation, f"good until {format_time(until)}")
        return True

    def _conflict(self, driver: Manifest | None, vbios: Manifest | None) -> None:
        if driver is None or vbios is None:
            self.checks.not_checked(RIM_CONFLICT, "needs both manifests")
            return
        with self.checks.step(RIM_CONFLICT):
            require_disjoint(driver, vbios)

    def _compare(self, source: _Source, report: Report, manifest: Manifest | None) -> Measurements:
        if manifest is None:
            self.checks.not_checked(source.measurements, "no manifest that could be judged")
            return Measurements.UNKNOWN
        mismatches = compare(report.measurements, manifest)
        if mismatches:
            reason = source.measurements.reason(
                found="; ".join(mismatch.found for mismatch in mismatches),
                expected="; ".join(mismatch.expected for mismatch in mismatches),
                where=f"{len(mismatches)} of {len(manifest.golden)} compared measurements",
                fix=advice(mismatches),
            )
            self.checks.failed(source.measurements, reason)
            return Measurements.MISMATCH
        self.checks.passed(source.measurements, f"{len(manifest.golden)} of {len(manifest.golden)} measurements")
        return Measurements.MATCH
