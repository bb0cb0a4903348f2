"""A simulated node: several GPUs and a confidential VM that answer one challenge, under throw-away roots.

For policy authors, for demonstrations and for tests. Nothing made here verifies against a production trust store, and every output
about it says SIMULATED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import x25519

from attest.appraisal import BOUND, CPU_TEE, DISTINCT, FRESH, NONCE, RECIPIENT, TOPOLOGY
from attest.binding import Binding, device_field, workload_field
from attest.bundle import Bundle, BundleOrigin
from attest.crypto import sha256, sha384
from attest.errors import AttestError, UsageError
from attest.evidence import ClaimEnum, Claims, ClaimValue, Collateral, CollateralItem, Evidence, declared
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.defects import DEFECTS as GPU_DEFECTS
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu, label_of
from attest.kinds.nvidia_gpu.simulate import simulate as simulate_gpu
from attest.kinds.nvidia_gpu.simulate_claims import with_claims as gpu_with_claims
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia
from attest.kinds.sev_snp.claims import SnpClaims
from attest.kinds.sev_snp.defects import DEFECTS as SNP_DEFECTS
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.simulate import LABEL as CPU
from attest.kinds.sev_snp.simulate import default_claims
from attest.kinds.sev_snp.simulate import simulate as simulate_guest
from attest.kinds.sev_snp.simulate import with_claims as guest_with_claims
from attest.kinds.sev_snp.simulate_pki import SimulatedAmd
from attest.recipient import Kem, Recipient
from attest.trust import Origin, TrustStore

NOTE: Final = "SIMULATED by attest: no hardware stands behind this evidence"
_AMD_FILE: Final = "amd.pem"
_NVIDIA_FOLDER: Final = "nvidia"


@dataclass(frozen=True, slots=True)
class SimulatedVendors:
    """The throw-away authorities of both vendors."""

    nvidia: SimulatedNvidia
    amd: SimulatedAmd

    @classmethod
    def create(cls, *, at: datetime, gpus: int = 8, product: AmdProduct = AmdProduct.GENOA) -> SimulatedVendors:
        """New authorities, valid from the day before ``at`` (aware). Takes seconds: the AMD keys are RSA-4096."""
        return cls(SimulatedNvidia.create(at=at, gpus=gpus), SimulatedAmd.create(product, at=at))

    def save(self, folder: Path) -> None:
        """Keep them for later sessions. The keys vouch for nothing; files are readable by the owner only all the same."""
        folder.mkdir(parents=True, exist_ok=True)
        self.nvidia.save(folder / _NVIDIA_FOLDER)
        target = folder / _AMD_FILE
        target.touch(mode=0o600)
        target.write_bytes(self.amd.to_pem())

    @classmethod
    def load(cls, folder: Path) -> SimulatedVendors:
        """Read what :meth:`save` wrote. Raises UsageError when there is nothing, MalformedError when it is spoilt."""
        if not (folder / _AMD_FILE).is_file():
            raise UsageError.of("there are no simulated authorities", found=str(folder), expected="a folder that a simulation made")
        return cls(SimulatedNvidia.load(folder / _NVIDIA_FOLDER), SimulatedAmd.from_pem((folder / _AMD_FILE).read_bytes()))

    def trust(self) -> TrustStore:
        """The trust store that this simulation verifies under."""
        return TrustStore.of("simulation", Origin.SIMULATED, (*self.nvidia.anchors(), *self.amd.anchors))


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """What stands in the node: GPUs in order, and the guest by its claims (None leaves the CPU report out)."""

    gpus: tuple[SimulatedGpu, ...]
    guest: SnpClaims | None

    @classmethod
    def of(cls, *, gpus: int = 8, product: AmdProduct = AmdProduct.GENOA) -> SimulatedNode:
        """A sound node with ``gpus`` distinct GPUs."""
        return cls(tuple(SimulatedGpu(gpu=number) for number in range(gpus)), default_claims(product))

    def with_claims(self, changes: Mapping[str, str]) -> SimulatedNode:
        """The node with claims set: ``{"gpu-3.driver_version": "570.00.01", "cpu.vmpl": "3", "gpu-*.mode": "ppcie"}``.

        Raises UsageError for an unknown device or claim, and for a value that the hardware cannot claim.
        """
        node = self
        for place, text in changes.items():
            label, _, name = place.partition(".")
            if label == CPU and node.guest is not None:
                node = replace(node, guest=guest_with_claims(node.guest, {name: typed(SnpClaims, name, text)}))
                continue
            chosen = [gpu for gpu in node.gpus if label in ("gpu-*", label_of(gpu))]
            if not chosen:
                raise UsageError.of("the simulated node has no such device", found=place, expected="cpu.CLAIM, gpu-0.CLAIM or gpu-*.CLAIM")
            node = replace(node, gpus=tuple(gpu_with_claims(gpu, {name: text}) if gpu in chosen else gpu for gpu in node.gpus))
        return node


def typed(claims: type[Claims], name: str, text: str) -> ClaimValue:
    """A claim's value from text, by the claim's declared type. Raises UsageError."""
    if name not in declared(claims):
        raise UsageError.of("there is no such claim", found=name, expected=", ".join(declared(claims)))
    kind = declared(claims)[name][0]
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        if kind is int:
            return int(text, 0)
        if kind is str:
            return text
        if isinstance(kind, type) and issubclass(kind, ClaimEnum):
            return kind(text)
    except (ValueError, KeyError):
        names = tuple(kind) if isinstance(kind, type) and issubclass(kind, ClaimEnum) else ()
        expected = ", ".join(names) or ("true or false" if kind is bool else "a number")
        raise UsageError.of("not a value of this claim", found=f"{name}={text}", expected=expected) from None
    return frozenset(part for part in text.split(",") if part)


# -- one session ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Session:
    """What one answer is made from; a session defect changes a member.

    ``sent`` is the recipient in the bundle, ``bound`` the one that reports bind; ``gpu_nonce`` replaces what single GPUs bind;
    ``covered`` changes the statements that the CPU report covers, and ``listed`` the evidence after all reports are made.
    """

    vendors: SimulatedVendors
    node: SimulatedNode
    nonce: bytes
    sent_nonce: bytes | None
    bound: Recipient
    sent: Recipient | None
    at: datetime
    recorded_at: datetime | None
    gpu_nonce: dict[int, bytes] = field(default_factory=dict)
    covered: Callable[[list[bytes]], list[bytes]] = list
    listed: Callable[[list[Evidence]], list[Evidence]] = list


def simulate_session(
    vendors: SimulatedVendors,
    node: SimulatedNode,
    *,
    nonce: bytes,
    recipient: Recipient,
    at: datetime,
    defect: str = "",
    device: str = "",
) -> Bundle:
    """The bundle that a node sends for a challenge: every report binds nonce, recipient and device set.

    ``defect`` is a name of :func:`defects`; a defect of a GPU is put into the first one, or into the one labelled ``device``.
    Raises UsageError for an unknown defect or device, and when the node has no device that could have the defect.
    """
    if defect and defect not in defects():
        raise UsageError.of("there is no such defect", found=defect, expected="one of: attest simulate defects")
    session = _Session(vendors, node, nonce, nonce, recipient, recipient, at, at)
    if defect in SESSION_DEFECTS:
        SESSION_DEFECTS[defect].apply(session)
    evidence, collateral = _gpus(session, defect, device)
    if node.guest is not None:
        made, items = _guest(session, evidence, defect)
        evidence.append(made)
        collateral += items
    elif defect in _SNP_CHANGES:
        raise UsageError.of("the simulated node has no CPU report that could have this defect", found=defect)
    return Bundle.of(
        nonce=session.sent_nonce,
        recipient=session.sent,
        binding=Binding.ATTEST_1,
        evidence=tuple(session.listed(evidence)),
        collateral=Collateral(tuple({(item.type, item.name): item for item in collateral}.values())),
        recorded_at=session.recorded_at,
        origin=BundleOrigin.SIMULATED,
        note=NOTE,
    )


def _gpus(session: _Session, defect: str, device: str) -> tuple[list[Evidence], list[CollateralItem]]:
    """Evidence and collateral of all GPUs. Pieces that devices share come from the spoilt one, so that its defect shows."""
    gpus = session.node.gpus
    change = _GPU_CHANGES.get(defect)
    spoilt = next((position for position, gpu in enumerate(gpus) if device in ("", label_of(gpu))), None) if change else None
    if change and spoilt is None:
        raise UsageError.of("the simulated node has no such GPU", found=device or "no GPU", expected=", ".join(map(label_of, gpus)))
    evidence: list[Evidence] = []
    collateral: dict[tuple[str, str], CollateralItem] = {}
    clean: set[tuple[str, str]] = set()
    own: tuple[CollateralItem, ...] = ()
    for position, gpu in enumerate(gpus):
        nonce = session.gpu_nonce.get(position, device_field(session.nonce, session.bound))
        made, items = simulate_gpu(session.vendors.nvidia, gpu, nonce=nonce, at=session.at)
        if position == spoilt:
            clean = {(item.type, item.name) for item in items}
            made, own = simulate_gpu(session.vendors.nvidia, gpu, nonce=nonce, at=session.at, change=change)
        else:
            collateral |= {(item.type, item.name): item for item in items}
        evidence.append(made)
    return evidence, [*own, *(item for name, item in collateral.items() if name not in clean)]


def _guest(session: _Session, evidence: Sequence[Evidence], defect: str) -> tuple[Evidence, tuple[CollateralItem, ...]]:
    if session.node.guest is None:
        raise AssertionError("no guest")
    wanted = SNP_DEFECTS.get(defect.removeprefix("cpu-")) if defect in _SNP_CHANGES else None
    claims = session.node.guest
    if wanted and (claims.product not in wanted.products or claims.signing_key is not wanted.key):
        raise UsageError.of(
            "the simulated guest cannot have this defect",
            found=f"{claims.product} guest with a {claims.signing_key}",
            expected=f"{' or '.join(sorted(wanted.products))} guest with a {wanted.key}",
        )
    statements = session.covered([_statement(item) for item in evidence])
    data = workload_field(session.nonce, session.bound, statements)
    return simulate_guest(session.vendors.amd, session.node.guest, report_data=data, at=session.at, change=_SNP_CHANGES.get(defect))


def _statement(evidence: Evidence) -> bytes:
    """The statement of a report that may be unreadable; then any value serves, because nobody gets as far as comparing it."""
    try:
        return NVIDIA_GPU.statement(evidence)
    except AttestError:
        return sha384(evidence.part("report"))


_GPU_CHANGES: Final = {f"gpu-{item.name}": item.apply for item in GPU_DEFECTS}
_SNP_CHANGES: Final = {f"cpu-{item.name}": item.apply for item in SNP_DEFECTS.values()}


# -- defects --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionDefect:
    """Something that is wrong with the session as a whole: the code that must come out, and the change that makes it."""

    code: str
    apply: Callable[[_Session], None]


def defects() -> Mapping[str, str]:
    """Every defect that can be put into a session: name to the reason code that must refuse it."""
    own = {name: defect.code for name, defect in SESSION_DEFECTS.items()}
    gpu = {f"gpu-{item.name}": item.code for item in GPU_DEFECTS}
    return MappingProxyType(own | gpu | {f"cpu-{item.name}": item.code for item in SNP_DEFECTS.values()})


def _change(**members: object) -> Callable[[_Session], None]:
    def apply(session: _Session) -> None:
        for name, value in members.items():
            setattr(session, name, value)

    return apply


def _first_gpu_nonce(make: Callable[[_Session], bytes]) -> Callable[[_Session], None]:
    def apply(session: _Session) -> None:
        session.gpu_nonce[0] = make(session)

    return apply


def _other_nonce(session: _Session) -> None:
    session.nonce = sha256(b"simulated other challenge" + session.nonce)
    session.sent_nonce = session.nonce


def _shift(**span: int) -> Callable[[_Session], None]:
    def apply(session: _Session) -> None:
        session.recorded_at = session.at + timedelta(**span)

    return apply


def _another_recipient() -> Recipient:
    key = x25519.X25519PrivateKey.from_private_bytes(sha256(b"simulated other recipient"))
    return Recipient(Kem.X25519, key.public_key().public_bytes_raw())


def _relabelled(evidence: list[Evidence]) -> list[Evidence]:
    """The first GPU's evidence a second time, under the second one's label."""
    first, second, *rest = evidence
    return [first, Evidence.of(first.kind, second.label, first.parts), *rest]


SESSION_DEFECTS: Final[Mapping[str, SessionDefect]] = MappingProxyType(
    {
        "session-gpu-missing": SessionDefect(TOPOLOGY.id, _change(listed=lambda evidence: evidence[1:], covered=lambda all_: all_[1:])),
        "session-gpu-dropped-after": SessionDefect(BOUND.id, _change(listed=lambda evidence: evidence[1:])),
        "session-gpu-twice": SessionDefect(DISTINCT.id, _change(listed=_relabelled)),
        "session-cpu-missing": SessionDefect(CPU_TEE.id, _change(listed=lambda evidence: evidence[:-1])),
        "session-gpu-not-covered": SessionDefect(BOUND.id, _change(covered=lambda statements: statements[1:])),
        "session-gpu-other-nonce": SessionDefect(BOUND.id, _first_gpu_nonce(lambda s: device_field(bytes(31) + b"\1", s.bound))),
        "session-gpu-relayed": SessionDefect(BOUND.id, _first_gpu_nonce(lambda s: device_field(s.nonce, _another_recipient()))),
        "session-gpu-raw-nonce": SessionDefect(BOUND.id, _first_gpu_nonce(lambda s: s.nonce)),
        "session-recipient-swapped": SessionDefect(BOUND.id, _change(sent=_another_recipient())),
        "session-recipient-missing": SessionDefect(RECIPIENT.id, _change(sent=None)),
        "session-other-challenge": SessionDefect(NONCE.id, _other_nonce),
        "session-nonce-missing": SessionDefect(NONCE.id, _change(sent_nonce=None)),
        "session-old": SessionDefect(FRESH.id, _shift(hours=-25)),
        "session-from-the-future": SessionDefect(FRESH.id, _shift(minutes=10)),
    }
)
