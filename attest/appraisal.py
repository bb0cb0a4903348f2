"""Appraisal of a whole session: topology, nonce, recipient binding, and the floor that no policy lowers.

The floor runs before any policy is asked and its findings cannot be waived (host rule H11). What it could not see it says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

from attest import limits
from attest.binding import Binding, boot_field, device_field, workload_field
from attest.bundle import Bundle
from attest.checks import Check, Checklist, CheckResult, Status
from attest.crypto import same
from attest.errors import Outcome, Reason
from attest.evidence import ClaimEnum, ClaimInfo, Claims, ClaimSet, Debug, Revocation, Scope, Tri, Verified
from attest.kinds import kind_named
from attest.recipient import Recipient
from attest.wire import format_time

_OURS: Final = "design, invariants 1, 4, 7"

TOPOLOGY: Final = Check(
    "floor.topology",
    "expected set of devices",
    _OURS,
    Outcome.REFUSED,
    "collect evidence of every device that the policy expects, and of no other",
)
CPU_TEE: Final = Check(
    "floor.cpu-tee",
    "CPU TEE among the devices",
    "RFC 9334 section 3.3 (composite device)",
    Outcome.REFUSED,
    "add the report of the confidential VM: without it nothing shows that the recipient key lives inside a TEE",
)
RESIDENT: Final = Check(
    "floor.resident",
    "recipient key inside the hardware",
    "TPM 2.0 Library part 3, TPM2_Certify",
    Outcome.REFUSED,
    "without a CPU TEE the recipient key must be one that the TPM certifies and never gives out: attest tpm quote",
)
DISTINCT: Final = Check(
    "floor.distinct-devices", "distinct devices", _OURS, Outcome.REFUSED, "remove the repeated evidence and collect from the missing device"
)
NONCE: Final = Check(
    "floor.nonce", "session nonce", "RFC 9334 section 10.2", Outcome.REFUSED, "ask the verifier for a challenge and collect evidence for it"
)
NONCE_ISSUED: Final = Check("floor.nonce-issued", "nonce issued by this verifier", "RFC 9334 section 10.2", limitation=True)
RECIPIENT: Final = Check(
    "floor.recipient",
    "recipient key in the bundle",
    "RFC 7800 (confirmation key)",
    Outcome.REFUSED,
    "create a key pair inside the TEE and collect evidence that binds its public half (docs/binding.md)",
)
BOUND: Final = Check(
    "floor.bound",
    "nonce, recipient and device set bound by hardware",
    "docs/binding.md",
    Outcome.REFUSED,
    "collect again: every report must be made for this session's nonce, this recipient key and this set of devices",
)
FRESH: Final = Check(
    "floor.fresh",
    "age of the evidence",
    "RFC 9334 section 10",
    Outcome.REFUSED,
    "collect evidence again, or judge a recording with --at TIME",
)
REVOCATION: Final = Check(
    "floor.revocation",
    "revocation of every chain",
    "RFC 5280 section 5, RFC 6960",
    Outcome.REFUSED,
    "fetch fresh revocation answers into the bundle: attest collateral fetch",
)
DEBUG: Final = Check(
    "floor.debug",
    "debugging off",
    _OURS,
    Outcome.REFUSED,
    "start the guest or GPU with debugging off, or use a key that is marked test-only",
)
GENUINE: Final = Check("floor.genuine", "real hardware", _OURS, Outcome.REFUSED, "use real hardware, or a key that is marked test-only")
COMPLETE: Final = Check("floor.complete", "every check of every device done", _OURS, Outcome.REFUSED)
ATTACHED: Final = Check("floor.attached", "GPU physically attached to this guest", "no evidence can show it before TDISP", limitation=True)

FLOOR: Final = (
    TOPOLOGY, CPU_TEE, DISTINCT, NONCE, NONCE_ISSUED, RECIPIENT, RESIDENT, BOUND, FRESH, REVOCATION, DEBUG, GENUINE, COMPLETE, ATTACHED,
)  # fmt: skip


class RecipientAlgorithm(ClaimEnum):
    """Kind of recipient key; ``none`` when the bundle has no recipient."""

    X25519 = "x25519"
    P384 = "p384"
    MLKEM768_X25519 = "mlkem768_x25519"
    RSA2048_OAEP = "rsa2048_oaep"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadClaims(ClaimSet):
    """Claims about the session as a whole, computed by the verifier; the principal of the ``release`` request."""

    device_count: Annotated[int, ClaimInfo("Devices that were verified", where="bundle")]
    gpu_count: Annotated[int, ClaimInfo("Accelerators among them", where="bundle")]
    cpu_count: Annotated[int, ClaimInfo("CPU TEEs among them", where="bundle")]
    tpm_count: Annotated[int, ClaimInfo("TPMs among them", where="bundle")]
    evidence_age: Annotated[
        int, ClaimInfo("Seconds between recording and judging; -1 when dated in the future or not at all", where="bundle recorded_at")
    ]
    recipient_algorithm: Annotated[RecipientAlgorithm, ClaimInfo("Kind of recipient key", where="bundle recipient")]
    recipient_bound: Annotated[bool, ClaimInfo("Every report binds nonce, recipient and device set", where="signed fields of all reports")]
    nonce_issued: Annotated[bool, ClaimInfo("The nonce was issued by this broker and is unused", where="broker")]
    same_firmware: Annotated[
        Tri, ClaimInfo("All accelerators run the same driver and VBIOS; unknown without any", where="accelerator claims")
    ]
    simulated: Annotated[bool, ClaimInfo("Made by the simulator", where="trust store")]


class KeyUse(StrEnum):
    """What a key may be released to."""

    PRODUCTION = "production"
    TEST_ONLY = "test-only"  # simulated or debuggable TEEs too; marked in every output


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the relying party expects of a session.

    topology     kind name to number of devices; None only when somebody asks for authenticity alone, which can never permit
    max_age      oldest acceptable evidence
    nonce        the nonce that this verifier issued; None when it issued none (replays of recordings), which is printed
    use          what the key in question may be released to
    """

    topology: Mapping[str, int] | None
    max_age: timedelta
    nonce: bytes | None
    use: KeyUse


_SEAL: Final = object()


class Appraisal:
    """The judged session. Immutable; made only by :func:`appraise`, from :class:`Verified` devices.

    ``findings`` are the floor's reasons against a release: empty means the floor is satisfied. ``checks`` has one result per floor check.
    """

    __slots__ = (
        "at", "bundle_digest", "checks", "devices", "findings", "nonce", "recipient", "simulated", "trust_digest", "use", "workload",
    )  # fmt: skip

    devices: tuple[Verified[Claims], ...]
    workload: WorkloadClaims
    findings: tuple[Reason, ...]
    checks: tuple[CheckResult, ...]
    bundle_digest: str
    trust_digest: str
    nonce: bytes
    recipient: Recipient | None
    simulated: bool
    use: KeyUse
    at: datetime

    def __init__(self, seal: object, members: Mapping[str, object]) -> None:
        if seal is not _SEAL:
            raise TypeError("Appraisal is made by appraise() only")
        for name in self.__slots__:
            object.__setattr__(self, name, members[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Appraisal is immutable")

    def __reduce__(self) -> str:
        raise TypeError("Appraisal cannot be copied or pickled: appraise again")

    def __repr__(self) -> str:
        return f"<Appraisal of {len(self.devices)} devices, {len(self.findings)} findings>"


def appraise(bundle: Bundle, devices: tuple[Verified[Claims], ...], *, expectation: Expectation, at: datetime) -> Appraisal:
    """Judge a session against the floor.

    ``devices`` are the verified devices of ``bundle``, in its order, all at time ``at`` and under one trust store; anything else is
    a bug of the caller and raises AssertionError.
    """
    if any(type(device) is not Verified for device in devices):
        raise TypeError("appraise() takes Verified devices")
    if [(item.label, item.kind, item.digest) for item in bundle.evidence] != [(d.subject, d.kind, d.evidence_digest) for d in devices]:
        raise AssertionError("devices are not those of the bundle")
    if {device.at for device in devices} != {at} or len({device.trust_digest for device in devices}) != 1:
        raise AssertionError("devices were judged at different times or under different trust stores")
    floor = _Floor(bundle, devices, expectation, at)
    checks = floor.run()
    return Appraisal(
        _SEAL,
        {
            "devices": devices,
            "workload": floor.workload(),
            "findings": tuple(floor.findings),
            "checks": checks,
            "bundle_digest": bundle.digest,
            "trust_digest": devices[0].trust_digest,
            "nonce": bundle.nonce or b"",
            "recipient": bundle.recipient,
            "simulated": any(device.claims.simulated for device in devices),
            "use": expectation.use,
            "at": at,
        },
    )


class _Floor:
    """One run of the floor checks. Findings are collected, not raised, so that a refusal names everything that is wrong."""

    def __init__(self, bundle: Bundle, devices: tuple[Verified[Claims], ...], expectation: Expectation, at: datetime) -> None:
        self.bundle = bundle
        self.devices = devices
        self.expectation = expectation
        self.at = at
        self.findings: list[Reason] = []
        self.unbound: list[Reason] = list(self._bound())
        self.scopes = {device.subject: _scope(device) for device in devices}

    def run(self) -> tuple[CheckResult, ...]:
        results = Checklist("workload", FLOOR)
        for check, reasons, detail in (
            (TOPOLOGY, self._topology(), "as the policy expects"),
            (CPU_TEE, self._cpu_tee(), ""),
            (DISTINCT, self._distinct(), f"{len(self.devices)} devices"),
            (NONCE, self._nonce(), ""),
            (RECIPIENT, self._recipient(), self.bundle.recipient.thumbprint if self.bundle.recipient else ""),
            (RESIDENT, self._resident(), self._home()),
            (BOUND, iter(self.unbound), self.bundle.binding.value),
            (FRESH, self._fresh(), f"recorded at {format_time(recorded)}" if (recorded := self.bundle.recorded_at) else ""),
            (REVOCATION, self._revocation(), ""),
            (DEBUG, self._debug(), ""),
            (GENUINE, self._genuine(), ""),
            (COMPLETE, self._complete(), ""),
        ):
            found = list(reasons)
            self.findings += found
            if check is TOPOLOGY and self.expectation.topology is None:
                results.not_checked(check, "no policy was given", fix="give a policy: attest verify --policy DIR")
            elif found:
                results.failed(check, found[0])
            else:
                results.passed(check, detail)
        if self.expectation.nonce is None:
            results.not_checked(NONCE_ISSUED, "the nonce is the bundle's own: a replay of this recording cannot be told from the original")
        else:
            results.passed(NONCE_ISSUED)
        results.not_checked(ATTACHED, "GPU evidence does not name its guest: a relayed report of another machine's GPU cannot be excluded")
        return results.close()

    # -- the checks ---------------------------------------------------------------------------------------------------

    def _topology(self) -> Iterator[Reason]:
        if self.expectation.topology is None:
            return
        found = Counter(device.kind for device in self.devices)
        for kind in sorted(set(found) | set(self.expectation.topology)):
            expected = self.expectation.topology.get(kind, 0)
            if found[kind] != expected:
                yield TOPOLOGY.reason(subject=kind, found=f"{found[kind]} of kind {kind}", expected=str(expected))

    def _count(self, scope: Scope) -> int:
        return sum(own is scope for own in self.scopes.values())

    def _cpu_tee(self) -> Iterator[Reason]:
        """One CPU TEE; or none and one TPM, whose weaker claim its kind states, and :meth:`_resident` makes up for what it can."""
        tees, tpms = self._count(Scope.WORKLOAD), self._count(Scope.BOOT)
        if tees > 1 or tpms > 1 or not (tees or tpms):
            yield CPU_TEE.reason(
                subject="workload", found=f"{tees} CPU TEEs, {tpms} TPMs", expected="exactly 1 CPU TEE, or without one exactly 1 TPM"
            )

    def _resident(self) -> Iterator[Reason]:
        if self._count(Scope.WORKLOAD) or self.bundle.recipient is None:
            return
        for device in self.devices:
            if self.scopes[device.subject] is Scope.BOOT and device.resident != self.bundle.recipient:
                found = f"key {device.resident.thumbprint}" if device.resident else "no key that the TPM certifies"
                yield RESIDENT.reason(subject=device.subject, found=found, expected=self.bundle.recipient.thumbprint)

    def _home(self) -> str:
        return "made inside the CPU TEE" if self._count(Scope.WORKLOAD) else "certified by the TPM"

    def _distinct(self) -> Iterator[Reason]:
        seen: dict[tuple[str, str], str] = {}
        for device in self.devices:
            identity = device.claims.device_id
            for key in ((device.kind, identity), ("statement", device.statement.hex())):
                if key[1] and key in seen:
                    yield DISTINCT.reason(
                        subject=device.subject, found=f"the same device as {seen[key]} ({key[1][:24]})", expected="another device"
                    )
                    break
                seen[key] = device.subject
            if not identity and sum(other.kind == device.kind for other in self.devices) > 1:
                yield DISTINCT.reason(
                    subject=device.subject, found="a device without identity", expected="an identity where there are several"
                )

    def _nonce(self) -> Iterator[Reason]:
        nonce, expected = self.bundle.nonce, self.expectation.nonce
        if nonce is None:
            yield NONCE.reason(subject="workload", found="no nonce", expected="the nonce of a challenge")
        elif not any(nonce):
            yield NONCE.reason(subject="workload", found="an all-zero nonce", expected="the nonce of a challenge")
        elif expected is not None and not same(nonce, expected):
            yield NONCE.reason(subject="workload", found=nonce.hex(), expected=expected.hex())

    def _recipient(self) -> Iterator[Reason]:
        if self.bundle.recipient is None:
            yield RECIPIENT.reason(subject="workload", found="no recipient key", expected="a public key from inside the TEE")

    def _bound(self) -> Iterator[Reason]:
        nonce, recipient = self.bundle.nonce, self.bundle.recipient
        for device in self.devices:
            if nonce is None:
                yield BOUND.reason(subject=device.subject, found="no nonce to compare with", expected="the nonce of a challenge")
                continue
            if self.bundle.binding is Binding.RAW_NONCE or recipient is None:
                if self.bundle.binding is Binding.RAW_NONCE and not same(device.freshness, nonce):
                    yield BOUND.reason(subject=device.subject, where="signed nonce", found=device.freshness.hex(), expected=nonce.hex())
                yield BOUND.reason(
                    subject=device.subject, found="a report that binds no recipient key", expected=f"binding {Binding.ATTEST_1}"
                )
                continue
            scope = _scope(device)
            if scope is Scope.DEVICE:
                expected = device_field(nonce, recipient)
            elif scope is Scope.BOOT:
                # The accelerators only: a CPU report covers this quote, and neither could be made first if each covered the other.
                expected = boot_field(nonce, recipient, [other.statement for other in self.devices if _scope(other) is Scope.DEVICE])
            else:
                expected = workload_field(nonce, recipient, [other.statement for other in self.devices if other is not device])
            if not same(device.freshness, expected):
                yield BOUND.reason(
                    subject=device.subject, where="signed nonce or report data", found=device.freshness.hex(), expected=expected.hex()
                )

    def _fresh(self) -> Iterator[Reason]:
        recorded = self.bundle.recorded_at
        if recorded is None:
            yield FRESH.reason(subject="workload", found="no time of recording", expected=f"at most {_span(self.expectation.max_age)} old")
            return
        age = self.at - recorded
        if age < -limits.MAX_CLOCK_SKEW:
            yield FRESH.reason(
                subject="workload",
                found=f"recorded at {format_time(recorded)}, in the future",
                expected=f"not after {format_time(self.at)}",
            )
        elif age > self.expectation.max_age:
            yield FRESH.reason(
                subject="workload",
                found=f"recorded {_span(age)} before {format_time(self.at)}",
                expected=f"at most {_span(self.expectation.max_age)}",
            )

    def _revocation(self) -> Iterator[Reason]:
        for device in self.devices:
            if device.claims.revocation is not Revocation.GOOD:
                yield Reason(
                    REVOCATION.id,
                    Outcome.CANNOT_DECIDE,
                    "nothing shows that the certificate chain is not revoked",
                    subject=device.subject,
                    found=device.claims.revocation.value,
                    expected=Revocation.GOOD.value,
                    fix=REVOCATION.fix,
                )

    def _debug(self) -> Iterator[Reason]:
        if self.expectation.use is KeyUse.TEST_ONLY:
            return
        for device in self.devices:
            if device.claims.debug is Debug.ON:
                yield DEBUG.reason(subject=device.subject, found=Debug.ON.value, expected=Debug.OFF.value)
            elif device.claims.debug is not Debug.OFF:
                yield Reason(
                    DEBUG.id,
                    Outcome.CANNOT_DECIDE,
                    "nothing shows that debugging is off",
                    subject=device.subject,
                    found=device.claims.debug.value,
                    expected=Debug.OFF.value,
                    fix="add what shows it: for a GPU the reference manifests of its driver and VBIOS",
                )

    def _genuine(self) -> Iterator[Reason]:
        if self.expectation.use is KeyUse.TEST_ONLY:
            return
        for device in self.devices:
            if device.claims.simulated is not False:
                yield GENUINE.reason(subject=device.subject, found="simulated", expected="real hardware")

    def _complete(self) -> Iterator[Reason]:
        for device in self.devices:
            for result in device.checks:
                if result.reason is not None:
                    yield result.reason
                elif result.status is not Status.PASSED and not result.check.limitation:
                    yield COMPLETE.reason(subject=device.subject, found=f"{result.check.id} {result.status}", expected="passed")

    # -- claims about the whole ---------------------------------------------------------------------------------------

    def workload(self) -> WorkloadClaims:
        accelerators = [device for device in self.devices if self.scopes[device.subject] is Scope.DEVICE]
        recorded = self.bundle.recorded_at
        age = int((self.at - recorded).total_seconds()) if recorded else -1
        return WorkloadClaims(
            device_count=len(self.devices),
            gpu_count=len(accelerators),
            cpu_count=self._count(Scope.WORKLOAD),
            tpm_count=self._count(Scope.BOOT),
            evidence_age=age if age >= 0 else -1,
            recipient_algorithm=RecipientAlgorithm(self.bundle.recipient.kem.value) if self.bundle.recipient else RecipientAlgorithm.NONE,
            recipient_bound=not self.unbound,
            nonce_issued=self.expectation.nonce is not None,
            same_firmware=_same_firmware(accelerators),
            simulated=any(device.claims.simulated for device in self.devices),
        )


def _scope(device: Verified[Claims]) -> Scope:
    kind = kind_named(device.kind)
    if kind is None:
        raise AssertionError(f"verified device of unknown kind {device.kind}")
    return kind.scope


def _same_firmware(accelerators: list[Verified[Claims]]) -> Tri:
    versions = set()
    for device in accelerators:
        values = device.claims.values()
        versions.add((device.kind, values.get("driver_version"), values.get("vbios_version")))
    if not versions or any(None in version for version in versions):
        return Tri.UNKNOWN
    return Tri.YES if len(versions) == 1 else Tri.NO


def _span(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
