"""A simulated node of two GPUs and an SNP guest, a policy for it, an issuer and brokers: the whole way to a release, without fakes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attest.appraisal import KeyUse
from attest.binding import Binding, device_field, workload_field
from attest.bundle import Bundle, BundleOrigin
from attest.decision import Permit
from attest.ear import issue_ear
from attest.evidence import Collateral
from attest.jose import IssuerPrivateKey
from attest.kinds import kind_named
from attest.kinds.nvidia_gpu import simulate as nvidia
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia
from attest.kinds.sev_snp import simulate as snp
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.simulate_pki import SimulatedAmd
from attest.policy.bundle import Policy
from attest.recipient import Kem, Recipient
from attest.release.broker import Broker, Materials, Release
from attest.release.recipient_key import RecipientPrivateKey
from attest.release.token import issue
from attest.trust import Origin, TrustStore
from attest.verifier import Judgement, judge

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
KEY = "weights/model-a"
BROKER = "broker.example/eu-1"
ISSUER = "https://verifier.example"
ORIGIN = "example.com/attest/keyrelease/test"

RULES = """
@id("gpu")
@description("GPU is not in the approved state")
@owner("tests")
permit (principal is NvidiaGpu, action == Action::"accept", resource)
when { principal.driver_measurements == Measurements::"match" && principal.vbios_measurements == Measurements::"match" };

@id("cpu")
@description("guest is not the approved one")
@owner("tests")
permit (principal is SevSnpGuest, action == Action::"accept", resource)
when { principal.vmpl == 0 && resource.measurements.contains(principal.measurement) };

@id("release")
@description("the session is not bound as it must be")
@owner("tests")
permit (principal is Workload, action == Action::"release", resource)
when { principal.recipient_bound && principal.nonce_issued };
"""


def policy_files(gpus: int, measurement: str, *, serial: int = 1) -> dict[str, bytes]:
    """A policy of the form that loads; ``serial`` makes another policy of it."""
    manifest = {
        "format": "attest-policy/1",
        "name": "test-node",
        "serial": serial,
        "description": "simulated node",
        "owner": "tests",
    }
    reference = {
        "format": "attest-reference/1",
        "topology": {"nvidia-gpu": gpus, "sev-snp": 1},
        "max_evidence_age_seconds": 600,
        "values": {"measurements": {"type": "set", "value": [measurement], "why": "launch measurement of the simulated guest"}},
    }
    return {"policy.json": json.dumps(manifest).encode(), "rules.cedar": RULES.encode(), "reference.json": json.dumps(reference).encode()}


@dataclass(frozen=True)
class World:
    """Vendors, issuer and policy. ``policies`` are by number of GPUs."""

    amd: SimulatedAmd
    nvidia: SimulatedNvidia
    trust: TrustStore
    issuer: IssuerPrivateKey
    measurement: str
    policies: dict[int, Policy] = field(default_factory=dict)

    def policy(self, gpus: int = 2) -> Policy:
        if gpus not in self.policies:
            self.policies[gpus] = Policy.from_files(policy_files(gpus, self.measurement))
        return self.policies[gpus]

    def bundle(
        self, nonce: bytes, recipient: Recipient, *, gpus: int = 2, at: datetime = AT, gpu: Mapping[str, Any] | None = None
    ) -> Bundle:
        """Evidence of a sound node for one session; ``gpu`` is what every GPU has different."""
        evidence, collateral = nvidia.simulate_node(
            self.nvidia,
            [nvidia.SimulatedGpu(gpu=number, **(gpu or {})) for number in range(gpus)],
            nonce=device_field(nonce, recipient),
            at=at,
        )
        kind = kind_named("nvidia-gpu")
        assert kind is not None
        data = workload_field(nonce, recipient, [kind.statement(item) for item in evidence])
        guest, endorsements = snp.simulate(self.amd, snp.default_claims(AmdProduct.MILAN), report_data=data, at=at)
        return Bundle.of(
            nonce=nonce,
            recipient=recipient,
            binding=Binding.ATTEST_1,
            evidence=(*evidence, guest),
            collateral=Collateral((*collateral, *endorsements)),
            recorded_at=at,
            origin=BundleOrigin.SIMULATED,
        )


@pytest.fixture(scope="session")
def world() -> World:
    amd = SimulatedAmd.create(AmdProduct.MILAN, at=AT)
    gpus = SimulatedNvidia.create(at=AT, gpus=8)
    trust = TrustStore.of("simulation", Origin.SIMULATED, (*amd.anchors, *gpus.anchors()))
    return World(amd, gpus, trust, IssuerPrivateKey.generate(), snp.default_claims(AmdProduct.MILAN).measurement)


@dataclass(frozen=True)
class Session:
    """One request for a key, from the challenge to the token. Change a member with :func:`dataclasses.replace` and :meth:`release`."""

    broker: Broker
    private: RecipientPrivateKey
    nonce: bytes
    judgement: Judgement
    policy: Policy
    ear: str
    token: str
    at: datetime

    @property
    def permit(self) -> Permit:
        assert isinstance(self.judgement.decision, Permit), self.judgement.reasons
        return self.judgement.decision

    @property
    def materials(self) -> Materials:
        return Materials(self.permit, self.judgement.bundle, self.policy, self.ear)

    def release(self, *, at: datetime | None = None) -> Release:
        return self.broker.release(self.token, self.materials, at=self.at if at is None else at)


@dataclass(frozen=True)
class Maker:
    """Makes brokers and sessions."""

    world: World
    folder: Path

    def broker(
        self, name: str = "broker", *, broker: str = BROKER, use: KeyUse = KeyUse.TEST_ONLY, keys: tuple[str, ...] = (KEY,)
    ) -> Broker:
        made = Broker.create(
            self.folder / name, broker=broker, issuer=ISSUER, issuer_key=self.world.issuer.public, origin=f"{ORIGIN}/{name}"
        )
        for key in keys:
            made.keystore.add(key, use=use, policy=self.world.policy().identity.digest, at=AT)
        return made

    def session(
        self,
        broker: Broker,
        *,
        kem: Kem = Kem.X25519,
        key: str = KEY,
        at: datetime = AT,
        audience: str = BROKER,
        nonce: bytes | None = None,
        use: KeyUse = KeyUse.TEST_ONLY,
        gpus: int = 2,
        policy: Policy | None = None,
        version: int = 1,
        jti: bytes | None = None,
    ) -> Session:
        """Everything right, but for what the test says."""
        private = RecipientPrivateKey.generate(kem)
        nonce = broker.challenge(key, at=at) if nonce is None else nonce
        policy = self.world.policy(gpus) if policy is None else policy
        bundle = self.world.bundle(nonce, private.recipient, gpus=gpus, at=at)
        judgement = judge(bundle, trust=self.world.trust, at=at, policy=policy, key=key, use=use, nonce=nonce)
        assert isinstance(judgement.decision, Permit), judgement.reasons
        ear = issue_ear(judgement, signer=self.world.issuer, issued_at=at)
        token = issue(
            judgement.decision,
            signer=self.world.issuer,
            issuer=ISSUER,
            audience=audience,
            key_version=version,
            issued_at=at,
            jti=secrets.token_bytes(16) if jti is None else jti,
            ear=ear,
        )
        return Session(broker, private, nonce, judgement, policy, ear, token, at + timedelta(seconds=1))


@pytest.fixture
def make(world: World, tmp_path: Path) -> Maker:
    return Maker(world, tmp_path)


@pytest.fixture
def broker(make: Maker) -> Broker:
    return make.broker()


@pytest.fixture
def session(make: Maker, broker: Broker) -> Session:
    return make.session(broker)


@pytest.fixture(scope="session")
def shared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session for tests that spend nothing."""
    maker = Maker(world, tmp_path_factory.mktemp("shared"))
    return maker.session(maker.broker())


@pytest.fixture(scope="session")
def maker_type() -> type[Maker]:
    """For fixtures that live longer than one test."""
    return Maker
