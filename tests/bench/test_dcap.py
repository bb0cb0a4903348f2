"""Intel quotes beside dcap-qvl (Rust), on the same genuine quotes and collateral, in one run. `make bench` runs this.

What is timed is the same work: quote and collateral in, verified TCB status out. Ours is timed with nothing remembered, with the collateral
and the PCK chain remembered (a new attestation key), and with the platform remembered (a new quote by the same attestation key).
Windows, revocation and the signature of the quote are judged on every call. `claims` adds what policies read.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from attest.checks import Checklist
from attest.dcap import verify as core
from attest.dcap.cache import clear_caches
from attest.dcap.checks import DCAP_CHECKS, TDX_CHECKS
from attest.dcap.collateral import from_quote_collateral
from attest.dcap.quote import Tee, parse
from attest.evidence import Collateral, Evidence
from attest.kinds.sgx import SGX
from attest.kinds.tdx import TDX
from attest.pki import certificate, chain, crl
from attest.trust import TrustStore

pytestmark = pytest.mark.corpus
peer = pytest.importorskip("dcap_qvl")

CASES = {
    "tdx-v5": ("tdx_v5_90C06F000000_21a37a05.bin", "tdx_90C06F000000_eval18_2026-02-18.json", 1772707803),
    "tdx-v4": ("tdx_v4_00806F050000_5962c2e3.bin", "tdx_00806F050000_eval17_2025-05-27.json", 1749669835),
    "sgx-v3": ("sgx_v3_00906ED50000_02138800.bin", "sgx_00906ED50000_eval17_2025-05-27.json", 1749668926),
}
CHECKS = {Tee.TDX: (*DCAP_CHECKS, *TDX_CHECKS), Tee.SGX: DCAP_CHECKS}


@dataclass(frozen=True)
class Calls:
    ours: Callable[[], object]
    claims: Callable[[], object]
    theirs: Callable[[], object]


def calls(corpus: Path, name: str) -> Calls:
    quote_file, collateral_file, now = CASES[name]
    folder = corpus / "tdx-sgx"
    quote = (folder / "quotes" / quote_file).read_bytes()
    text = (folder / "collateral" / collateral_file).read_bytes()
    at, tee, trust = datetime.fromtimestamp(now, UTC), parse(quote).tee, TrustStore.production()
    collateral = Collateral(from_quote_collateral(text, at))
    kind = TDX if tee is Tee.TDX else SGX
    evidence = Evidence.of(kind.name, "cpu", {"quote": quote})
    other = peer.QuoteCollateralV3.from_json(text.decode())

    def ours() -> object:
        return core.verify_quote(
            quote, tee=tee, certificates=None, trust=trust, collateral=collateral, at=at, checklist=Checklist("cpu", CHECKS[tee])
        )

    return Calls(ours, lambda: kind.verify(evidence, trust=trust, collateral=collateral, at=at), lambda: peer.verify(quote, other, now))


def forget_all() -> None:
    clear_caches()
    for module in (certificate, chain, crl):
        for member in vars(module).values():
            if hasattr(member, "cache_clear"):
                member.cache_clear()


def forget_attestation_key() -> None:
    core._attestation_keys.clear()


def nothing() -> None:
    pass


STATES = {"cold": forget_all, "collateral": forget_attestation_key, "platform": nothing}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", CASES)
def test_ours(benchmark: BenchmarkFixture, corpus: Path, name: str, state: str) -> None:
    call = calls(corpus, name).ours
    call()
    benchmark.pedantic(call, setup=STATES[state], rounds=300, warmup_rounds=20)


@pytest.mark.parametrize("state", ["collateral", "platform"])
@pytest.mark.parametrize("name", CASES)
def test_claims(benchmark: BenchmarkFixture, corpus: Path, name: str, state: str) -> None:
    call = calls(corpus, name).claims
    call()
    benchmark.pedantic(call, setup=STATES[state], rounds=300, warmup_rounds=20)


@pytest.mark.parametrize("name", CASES)
def test_dcap_qvl(benchmark: BenchmarkFixture, corpus: Path, name: str) -> None:
    benchmark.pedantic(calls(corpus, name).theirs, setup=nothing, rounds=300, warmup_rounds=20)


def fastest(call: Callable[[], object], before: Callable[[], None], rounds: int = 150) -> float:
    """Seconds of processor time that one call takes, undisturbed: the lower quartile, because other work only ever adds."""
    times = []
    for _ in range(rounds):
        before()
        start = time.thread_time_ns()
        call()
        times.append(time.thread_time_ns() - start)
    times.sort()
    return times[len(times) // 4] / 1e9


@pytest.mark.parametrize("name", CASES)
def test_ratios(corpus: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At least 3 times as fast with the collateral remembered, at least 6 times with the platform."""
    found = calls(corpus, name)
    found.ours()
    found.claims()
    gc.collect()
    theirs = min(fastest(found.theirs, nothing) for _ in range(3))
    ratios = {state: theirs / min(fastest(found.ours, forget) for _ in range(3)) for state, forget in STATES.items()}
    ratios |= {f"{state} with claims": theirs / fastest(found.claims, STATES[state]) for state in ("collateral", "platform")}
    with capsys.disabled():
        print(f"\n{name}: dcap-qvl {theirs * 1e6:.0f} us; " + ", ".join(f"{state} {ratio:.2f}x as fast" for state, ratio in ratios.items()))
    assert ratios["collateral"] >= 3
    assert ratios["platform"] >= 6


def test_same_answer(corpus: Path) -> None:
    """The two agree on what is timed."""
    for name in CASES:
        found = calls(corpus, name)
        theirs = json.loads(found.theirs().to_json()) if hasattr(found.theirs(), "to_json") else {"status": found.theirs().status}
        ours = found.ours()
        assert isinstance(ours, core.VerifiedQuote)
        assert theirs["status"] == ours.tcb.status
